"""What is kept of many attributions: sums by the distance of the source and by head, and the strongest sources."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.records import Source, Sources
from monosem_jax.analysis.sources.attribution import Ints, attributions
from monosem_jax.runtime.ambient import pinned

KEPT = 10  # sources in a record
# Tokens by their distance from the token on which the feature fires, in classes up to and including each of these.
FARTHEST = (0, 1, 2, 4, 8, 16)
DISTANCES = ("itself", "1", "2", "3-4", "5-8", "9-16", "17+", "BOS")


@dataclasses.dataclass(frozen=True)
class SourceSums:
    """Of n pairs, in their order: `bias`, `direct` [n]; `by_distance` [n,8] (see DISTANCES) what attention brings from
    tokens at each distance, `by_distance_size` [n,8] the same with all contributions taken as positive, a head and a
    token at a time, `by_head_size` [n,H] likewise. The strongest tokens, strongest first: `position` [n,KEPT] (-1:
    fewer), `brought` [n,KEPT] through attention, `head` [n,KEPT] the one that brings most of it."""

    bias: np.ndarray
    direct: np.ndarray
    by_distance: np.ndarray
    by_distance_size: np.ndarray
    by_head_size: np.ndarray
    position: np.ndarray
    brought: np.ndarray
    head: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """[n] the activations."""
        return self.bias + self.direct + self.by_distance.sum(axis=1)

    def record(self, i: int, at: int, tokens: np.ndarray, strings: Any) -> Sources:
        """The record of pair `i`, at position `at` of the context `tokens` [T]."""
        real = self.position[i] >= 0
        sources = tuple(
            Source(
                position=int(p),
                token=strings[int(tokens[p])],
                direct=_digits(self.direct[i]) if p == at else 0.0,
                attention=_digits(b),
                head=int(h),
            )
            for p, b, h in zip(self.position[i][real], self.brought[i][real], self.head[i][real], strict=True)
        )
        attention = self.by_distance[i].sum()
        return Sources(
            _digits(self.total[i]), _digits(self.bias[i]), _digits(self.direct[i]), _digits(attention), sources
        )


@pinned()
def source_sums(
    of: FeatureSet,
    tokens: np.ndarray,
    features: Ints,
    contexts: Ints,
    positions: Ints,
    *,
    batch: int,
    advance: Callable[[int], Any] = lambda n: None,
) -> SourceSums:
    """The sums of n pairs (see `attribute`). Raises BadInput like `attribute`."""
    n, at, context = len(np.asarray(features)), np.asarray(positions), np.asarray(contexts)
    found: dict[str, np.ndarray] = {}
    for part in attributions(of, tokens, features, contexts, positions, batch=batch, advance=advance):
        bos = np.asarray(tokens)[context[part.pair]] == of.tapped.bos
        sums = _sums(part.attention, part.direct, at[part.pair], bos)
        for name, values in {"bias": part.bias, "direct": part.direct, **sums}.items():
            if name not in found:
                found[name] = np.zeros((n, *values.shape[1:]), values.dtype)
            found[name][part.pair] = values
    return SourceSums(**found) if found else _nothing()


def _sums(attention: np.ndarray, direct: np.ndarray, at: np.ndarray, bos: np.ndarray) -> dict[str, np.ndarray]:
    """The sums over attention [n,H,T], for tokens at positions `at` [n] of contexts that have BOS where `bos` [n,T]."""
    length = attention.shape[2]
    brought, size = attention.sum(axis=1), np.abs(attention)
    distance = at[:, None] - np.arange(length)  # negative after the token
    kind = np.searchsorted(FARTHEST, np.maximum(distance, 0))
    kind[bos] = len(DISTANCES) - 1  # at whatever distance
    classes = kind[:, :, None] == np.arange(len(DISTANCES))
    strength = np.where(distance < 0, -1, np.abs(brought + np.where(distance == 0, direct[:, None], 0)))
    k = min(KEPT, length)
    order = np.argsort(-strength, axis=1, kind="stable")[:, :k]
    real = np.take_along_axis(strength, order, axis=1) > 0
    pad = ((0, 0), (0, KEPT - k))
    head = np.take_along_axis(size.argmax(axis=1), order, axis=1)
    return {
        "by_distance": np.einsum("ns,nsb->nb", brought, classes),
        "by_distance_size": np.einsum("ns,nsb->nb", size.sum(axis=1), classes),
        "by_head_size": size.sum(axis=2),
        "position": np.pad(np.where(real, order, -1), pad, constant_values=-1).astype(np.int32),
        "brought": np.pad(np.take_along_axis(brought, order, axis=1), pad),
        "head": np.pad(head, pad).astype(np.int32),
    }


def _nothing() -> SourceSums:
    """The sums of no pairs."""
    wide = np.zeros((0, len(DISTANCES)), np.float32)
    some, none = np.zeros((0, KEPT), np.int32), np.zeros(0, np.float32)
    return SourceSums(none, none, wide, wide, wide[:, :0], some, some.astype(np.float32), some)


def _digits(x: Any) -> float:
    """4 significant digits: what a page shows."""
    return float(f"{float(x):.4g}")
