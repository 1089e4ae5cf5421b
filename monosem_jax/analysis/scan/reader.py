"""The text of a scan, batch by batch, with what fires in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.scan.batch import Batch
from monosem_jax.analysis.scan.encoding import Block, Encoding, Started
from monosem_jax.analysis.scan.proxy_sums import Proxies, read_proxies
from monosem_jax.text.batches import context_batches


@dataclasses.dataclass(frozen=True)
class Input:
    """What is scanned: contexts [C,T] and the labels of their tokens [C,T], proxies, and the contexts [C] on whose
    tokens features are compared."""

    tokens: np.ndarray
    labels: np.ndarray
    proxies: Proxies | None
    compared: np.ndarray

    @property
    def length(self) -> int:
        return self.tokens.shape[1]


class Reader:
    """Reads the text as often as it is asked to. The next batch is begun before this one is handed out, so the device
    works while the host accumulates."""

    def __init__(
        self,
        given: Input,
        sets: Sequence[FeatureSet],
        encoding: Encoding,
        *,
        batch: int,
        cache_bytes: int,
        signed: bool,
    ):
        self._given, self._encoding, self._signed = given, encoding, signed
        self._bos = sets[0].tapped.bos
        self._names = [s.name for s in sets]
        self.batch = encoding.batch_size(batch)
        self._left = cache_bytes
        self._cache: dict[int, list[Block]] = {}

    @property
    def n_batches(self) -> int:
        return -(-len(self._given.tokens) // self.batch)

    def contexts_in(self, i: int) -> int:
        """The number of contexts in batch i."""
        return min(self.batch, len(self._given.tokens) - i * self.batch)

    def batches(self, start: int, others: Sequence[int]) -> Iterator[list[Batch]]:
        """Batches from the number `start` on, in parts of consecutive contexts. `others`: numbers of the sets besides
        the first whose activations are needed, where features are compared."""
        waiting = self._begin(start, others) if start < self.n_batches else None
        for i in range(start, self.n_batches):
            now, waiting = waiting, self._begin(i + 1, others) if i + 1 < self.n_batches else None
            blocks = self._cache[i] if now is None else self._encoding.collect(now)
            self._keep(i, blocks)
            yield [self._batch(i, block, others) for block in blocks if i * self.batch + block.first < self._end(i)]

    def _end(self, i: int) -> int:
        return min((i + 1) * self.batch, len(self._given.tokens))

    def _which(self, i: int, others: Sequence[int]) -> list[int]:
        return [0, *(others if self._given.compared[i * self.batch : self._end(i)].any() else ())]

    def _begin(self, i: int, others: Sequence[int]) -> Started | None:
        """A batch that is being computed; None if its firings are kept."""
        which = self._which(i, others)
        if i in self._cache and len(which) == 1:
            return None
        tokens = self._given.tokens[i * self.batch : self._end(i)]
        t, weight = next(context_batches(tokens, self.batch))
        return self._encoding.start(t, weight, which)

    def _keep(self, i: int, blocks: list[Block]) -> None:
        if i in self._cache:
            return
        size = sum(b.firings.n_bytes for b in blocks)
        if size <= self._left:
            self._left -= size
            self._cache[i] = [Block(b.first, b.firings, ()) for b in blocks]
        else:
            self._left = 0  # those that are kept are the first ones

    def _batch(self, i: int, block: Block, others: Sequence[int]) -> Batch:
        first, given, length = i * self.batch + block.first, self._given, self._given.length
        stop = min(first + block.firings.n_rows // length, self._end(i))
        n = stop - first
        tokens = np.asarray(given.tokens[first:stop], np.int32)
        return Batch(
            first=first,
            tokens=tokens,
            labels=np.asarray(given.labels[first:stop]),
            real=tokens.reshape(-1) != self._bos,
            compared=np.repeat(given.compared[first:stop], length),
            firings=block.firings.first_rows(n * length),
            proxies=read_proxies(given.proxies, first, stop, length),
            others={self._names[j]: f.first_rows(n * length) for j, f in zip(others, block.others, strict=False)},
            signed=self._signed,
        )
