"""One scan of a text for all features of a set at once: everything that `SetScan` holds, in at most two passes."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from monosem_jax.analysis.feature_sets import FeatureSet, check_comparable
from monosem_jax.analysis.scan.batch import Accumulator
from monosem_jax.analysis.scan.checkpoints import Checkpoints, identity
from monosem_jax.analysis.scan.config import ScanConfig
from monosem_jax.analysis.scan.contexts import TopContexts
from monosem_jax.analysis.scan.encoding import Encoding
from monosem_jax.analysis.scan.intervals import Intervals
from monosem_jax.analysis.scan.labels import LabelSums
from monosem_jax.analysis.scan.moments import Moments
from monosem_jax.analysis.scan.neighbours import Comparison
from monosem_jax.analysis.scan.pairs import AllPairs, Sketch, SomePairs
from monosem_jax.analysis.scan.passes import run_pass
from monosem_jax.analysis.scan.proxy_sums import Proxies, ProxyHits, ProxySums
from monosem_jax.analysis.scan.reader import Input, Reader
from monosem_jax.analysis.scan.result import Neighbours, SetScan
from monosem_jax.analysis.scan.results import label_statistics, proxy_moments, set_scan
from monosem_jax.analysis.scan.text_counts import TextCounts, count_text
from monosem_jax.analysis.scan.top_tokens import CandidateTokens, TokenSample, TokenTable, TopTokens
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_mesh_axes, check_shape, token_ids
from monosem_jax.runtime.config import typed
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import local_path
from monosem_jax.runtime.mesh import device_get_global


@pinned()
def scan(
    features: FeatureSet,
    tokens: np.ndarray,
    token_labels: np.ndarray | None = None,
    *,
    labels: Sequence[str] = (),
    config: ScanConfig | None = None,
    proxies: Proxies | None = None,
    against: Sequence[FeatureSet] = (),
    mesh: Mesh | None = None,
    folder: str | os.PathLike[str] | None = None,
    advance: Callable[[int], Any] = lambda n: None,
) -> SetScan:
    """Scans contexts [C,T] (BOS is left out) for every feature of a set.

    Args:
      token_labels: [C,T] the number of each token's label in `labels`, -1 for none.
      proxies: numbers per token that features are compared with.
      against: other sets, of the same text, in which the most similar features are looked for. Those of the same
        transformer and site share its forward pass.
      mesh: contexts are divided over its `data` axis, and a dictionary over its `model` axis.
      folder: where the state is saved, every `config.checkpoint_every` batches and after each pass. A scan that was
        killed continues from there, with the same results bit for bit; a finished one is not computed again.
      advance: called with the number of contexts done, in all `config.passes` times C.

    Raises BadInput on an impossible configuration, on tokens that the model does not have, on arrays of other shapes,
    on no tokens but BOS, on sets of other tokenizers, on activations or proxies that are not finite, and when `folder`
    has the state of another scan.
    """
    config = typed(config or ScanConfig(), ScanConfig, "scan")
    config.check()
    job = _Job.of(features, tokens, token_labels, tuple(labels), config, proxies, tuple(against), mesh)
    checkpoints = None
    if folder is not None:
        what = job.identity()
        checkpoints = Checkpoints(pathlib.Path(local_path(folder, "folder")), what, config.checkpoint_every)
    return job.run(checkpoints, advance)


@dataclasses.dataclass(frozen=True)
class _Job:
    """A scan with its arguments checked."""

    sets: tuple[FeatureSet, ...]
    given: Input
    labels: tuple[str, ...]
    config: ScanConfig
    counts: TextCounts
    mesh: Mesh | None
    signed: bool

    @classmethod
    def of(
        cls,
        features: FeatureSet,
        tokens: Any,
        token_labels: Any,
        labels: tuple[str, ...],
        config: ScanConfig,
        proxies: Proxies | None,
        against: tuple[FeatureSet, ...],
        mesh: Mesh | None,
    ) -> _Job:
        tapped = features.tapped
        vocab_size = tapped.model.config.vocab_size
        tokens = _checked(tokens, vocab_size)
        of = np.broadcast_to(np.int32(-1), tokens.shape) if token_labels is None else np.asarray(token_labels)
        check_shape("scan", of.shape, *tokens.shape)
        if of.size and int(of.max()) >= len(labels):
            raise BadInput(f"scan was given label {int(of.max())}, but {len(labels)} labels: expected their numbers")
        names = [s.name for s in (features, *against)]
        if len(set(names)) < len(names):
            raise BadInput(f"scan: the sets are named {', '.join(names)}: expected different names")
        for other in against:
            check_comparable(features, other)
        if mesh is not None:
            check_mesh_axes("scan", mesh)
        counts = count_text(
            tokens,
            of,
            bos=tapped.bos,
            vocab_size=vocab_size,
            n_labels=len(labels),
            n_random=config.random_tokens,
            seed=config.seed,
        )
        if not counts.tokens:
            raise BadInput(f"scan was given no tokens but BOS ({tapped.bos}): expected others, at which features fire")
        chosen = _evenly_spaced(len(tokens), min(1.0, config.correlation_tokens / counts.tokens))
        given = Input(tokens, of, proxies, chosen)
        signed = bool(np.asarray(features.encoder.active(jnp.full((1,), -1.0)))[0])
        return cls((features, *against), given, labels, config, counts, mesh, signed)

    def identity(self) -> str:
        """A hash of what decides the result: the text, the sets with their parameters, the settings."""
        leaves = {
            f"{s.name}{i}": device_get_global(x)
            for s in self.sets
            for i, x in enumerate(jax.tree.leaves((s.encoder, s.tapped.content)))
        }
        sets = [(s.name, s.n_features, s.tapped.site, type(s.encoder).__name__) for s in self.sets]
        proxies = self.given.proxies.names if self.given.proxies else ()
        rest = {"tokens": self.given.tokens, "labels": self.given.labels, "sets": sets, "names": self.labels}
        return identity({**leaves, **rest, "proxies": proxies, "config": self._settings()})

    def _settings(self) -> dict[str, Any]:
        free = ("checkpoint_every", "cache_megabytes")
        return {k: v for k, v in dataclasses.asdict(self.config).items() if k not in free}

    def run(self, checkpoints: Checkpoints | None, advance: Callable[[int], Any]) -> SetScan:
        config, reader = self.config, self._reader()
        first = self._first_pass()
        run_pass(1, reader, first, self._compared()[1:], checkpoints, advance)
        second: dict[str, Accumulator] = {}
        candidates = {}
        if config.passes > 1:
            candidates = {i: self._comparison(i).candidates(s) for i in self._compared() if (s := _sketch(first, i))}
            second = self._second_pass(first, candidates)
            run_pass(2, reader, second, [i for i in candidates if i], checkpoints, advance)
        return set_scan(
            name=self.sets[0].name,
            counts=self.counts,
            contexts=len(self.given.tokens),
            length=self.given.length,
            moments=first["moments"].state,
            top=first["contexts"].state,
            intervals=second.get("intervals"),
            tokens=self._top_tokens(first, second),
            tokens_exact=isinstance(first.get("tokens"), TokenTable),
            labels=label_statistics(self.labels, first["labels"].state, first["moments"].state, self.counts),
            proxies=proxy_moments(self.given.proxies, first, second, self.counts.tokens),
            neighbours=self._neighbours(first, second, candidates),
        )

    def _reader(self) -> Reader:
        config = self.config
        return Reader(
            self.given,
            self.sets,
            Encoding(self.sets, self.mesh),
            batch=config.batch_contexts,
            cache_bytes=config.cache_megabytes << 20 if config.passes > 1 else 0,
            signed=self.signed,
        )

    @property
    def _vocab_size(self) -> int:
        return len(self.counts.occurrences)

    def _compared(self) -> range:
        """The numbers of the sets with which the first is compared, itself among them."""
        return range(len(self.sets) if self.config.passes > 1 and self.config.neighbours else 0)

    def _first_pass(self) -> dict[str, Accumulator]:
        config, n = self.config, self.sets[0].n_features
        found: dict[str, Accumulator] = {
            "moments": Moments(n),
            "contexts": TopContexts(n, config.top_contexts),
            "labels": LabelSums(len(self.labels), n),
        }
        if self.given.proxies:
            found["proxies"] = ProxySums(len(self.given.proxies.names), n)
        if config.passes == 1:
            return found
        exact = n * self._vocab_size <= config.token_pairs
        found["tokens"] = TokenTable(n, self._vocab_size) if exact else TokenSample(n, config.token_sample, config.seed)
        for i in self._compared():
            m, name = self.sets[i].n_features, self.sets[i].name if i else ""
            all_pairs = n * m <= config.pairs
            found[f"pairs{i}"] = (
                AllPairs(n, m, name) if all_pairs else Sketch(n, m, name, config.sketch_columns, config.seed)
            )
        return found

    def _second_pass(
        self, first: Mapping[str, Accumulator], candidates: Mapping[int, np.ndarray]
    ) -> dict[str, Accumulator]:
        maximum = first["moments"].state["maximum"]
        found: dict[str, Accumulator] = {"intervals": Intervals(maximum, self.config.per_interval, self.config.seed)}
        if self.given.proxies:
            found["proxies"] = ProxyHits(len(self.given.proxies.names), maximum)
        if isinstance(sample := first["tokens"], TokenSample):
            found["tokens"] = CandidateTokens(sample.candidates(self.given.tokens), self._vocab_size)
        for i, of in candidates.items():
            found[f"pairs{i}"] = SomePairs(of, self.sets[i].name if i else "")
        return found

    def _top_tokens(self, first: Mapping[str, Accumulator], second: Mapping[str, Accumulator]) -> TopTokens | None:
        found = second.get("tokens", first.get("tokens"))
        return found.top(self.config.top_tokens) if isinstance(found, (TokenTable, CandidateTokens)) else None

    def _comparison(self, i: int) -> Comparison:
        tokens = sum(
            int(np.sum(self.given.tokens[c] != self.sets[0].tapped.bos)) for c in np.flatnonzero(self.given.compared)
        )
        return Comparison(self.sets[0], self.sets[i], self.config.neighbours, tokens)

    def _neighbours(
        self, first: Mapping[str, Accumulator], second: Mapping[str, Accumulator], candidates: Mapping[int, np.ndarray]
    ) -> dict[str, Neighbours]:
        found = {}
        for i in self._compared():
            comparison, sums, some = self._comparison(i), first[f"pairs{i}"], second.get(f"pairs{i}")
            if isinstance(sums, AllPairs):
                found[self.sets[i].name] = comparison.of_all(sums)
            elif isinstance(sums, Sketch) and isinstance(some, SomePairs):
                found[self.sets[i].name] = comparison.of_some(some, sums, candidates[i])
        return found


def _checked(tokens: Any, vocab_size: int) -> np.ndarray:
    """Contexts [C,T] that the model has, as they are: an array in a file is read a few contexts at a time."""
    found = np.asarray(tokens)
    token_ids("scan", found[:1], vocab_size)
    if not len(found):
        raise BadInput("scan was given no contexts: expected 1 or more")
    block = max(1, (1 << 22) // found.shape[1])
    for c in range(0, len(found), block):
        token_ids("scan", found[c : c + block], vocab_size)
    return found


def _sketch(first: Mapping[str, Accumulator], i: int) -> Sketch | None:
    found = first[f"pairs{i}"]
    return found if isinstance(found, Sketch) else None


def _evenly_spaced(n: int, share: float) -> np.ndarray:
    """[n] marks this share of n contexts, evenly spaced; at least one."""
    chosen = max(1, round(n * share))
    marks = (np.arange(n + 1, dtype=np.int64) * chosen) // n
    return marks[1:] > marks[:-1]
