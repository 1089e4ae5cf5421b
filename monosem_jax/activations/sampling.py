"""Chooses the contexts to take activations from, their order, and the positions in them, computed as needed."""

from __future__ import annotations

import numpy as np

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.input_summary import InputSummary, plural
from monosem_jax.runtime.rng import stream

SAMPLING_CONTEXTS = 1024  # contexts whose positions are drawn from the same random generator
_SCAN = 65_536  # contexts that are read together


def sample_positions(eligible: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """[C,k] positions drawn without replacement from the eligible ones [C,T] of each context, in random order.

    C is at most SAMPLING_CONTEXTS; every context must have at least k eligible positions. A context's draw depends only
    on the generator's state and the context's row.
    """
    order = np.where(eligible, rng.random((SAMPLING_CONTEXTS, eligible.shape[1]))[: len(eligible)], 2.0)
    return np.argsort(order, axis=1, kind="stable")[:, :k].astype(np.int32)


class ContextSampler:
    """The usable contexts of a text, those with at least k tokens besides BOS, as an endless sequence: each pass over
    them has a random order of its own.

    Context i of the sequence does not depend on earlier calls. Memory: 4 bytes per context, and 4 more for each of the
    last two passes. Raises BadInput if no context is usable.
    """

    def __init__(self, tokens: np.ndarray, bos: int, k: int, seed: int):
        self._tokens, self._bos, self._k, self._seed = tokens, bos, k, seed
        parts = [
            (i + np.flatnonzero((np.asarray(tokens[i : i + _SCAN]) != bos).sum(axis=1) >= k)).astype(np.uint32)
            for i in range(0, len(tokens), _SCAN)
        ]
        self._usable = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
        self.length, self.total = tokens.shape[1], len(tokens)
        if not len(self._usable):
            raise BadInput(f"rows_per_context is {k}: no context of {self.length} has that many tokens besides BOS")
        self._passes: dict[int, np.ndarray] = {}
        self._drawn: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """The number of contexts in one pass."""
        return len(self._usable)

    def report(self, summary: InputSummary) -> None:
        """Adds to `summary` how many contexts there are, and how many are left out because they are too short."""
        short = self.total - len(self)
        summary.add("contexts", self.total, "")
        line = f"{short:,} of {plural(self.total, 'context')} left out: less than {self._k} tokens besides BOS"
        summary.add("contexts_too_short", short, line)

    def tokens(self, which: np.ndarray) -> np.ndarray:
        """[C,T] int32, the contexts with these numbers in the sequence."""
        return np.asarray(self._tokens[self._numbers(which)], np.int32)

    def positions(self, which: np.ndarray) -> np.ndarray:
        """[C,k] the sampled positions in these contexts, drawn anew in each pass; never BOS."""
        found = np.empty((len(which), self._k), np.int32)
        for chunk in np.unique(which // SAMPLING_CONTEXTS):
            mine = which // SAMPLING_CONTEXTS == chunk
            found[mine] = self._draw(int(chunk))[which[mine] % SAMPLING_CONTEXTS]
        return found

    def _numbers(self, which: np.ndarray) -> np.ndarray:
        numbers = np.empty(len(which), np.int64)
        for p in np.unique(which // len(self)):
            mine = which // len(self) == p
            numbers[mine] = self._pass(int(p))[which[mine] % len(self)]
        return numbers

    def _pass(self, p: int) -> np.ndarray:
        if p not in self._passes:
            self._passes = {q: v for q, v in self._passes.items() if q == p - 1}
            self._passes[p] = stream("sampling.contexts", self._seed, p).permutation(self._usable)
        return self._passes[p]

    def _draw(self, chunk: int) -> np.ndarray:
        if chunk not in self._drawn:
            which = np.arange(chunk * SAMPLING_CONTEXTS, (chunk + 1) * SAMPLING_CONTEXTS)
            eligible = self.tokens(which) != self._bos
            while len(self._drawn) > 3:
                self._drawn.pop(next(iter(self._drawn)))
            self._drawn[chunk] = sample_positions(eligible, self._k, stream("sampling.positions", self._seed, chunk))
        return self._drawn[chunk]
