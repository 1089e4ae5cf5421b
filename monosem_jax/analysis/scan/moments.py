"""How often and how strongly every feature fires."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Int

from monosem_jax.analysis.scan.batch import Batch
from monosem_jax.analysis.scan.result import LOG_EDGES

_LOWEST = int(np.log2(LOG_EDGES[0]))
_HALF = 0x3504F3  # the mantissa of the largest fp32 number that is not above √2


class Moments:
    """Counts of firings, sums, maxima, and the logarithmic histogram."""

    def __init__(self, n_features: int):
        self.state: dict[str, np.ndarray] = {
            "fired": np.zeros(n_features, np.int64),
            "fired_total": np.zeros(n_features),
            "total": np.zeros(n_features),
            "square": np.zeros(n_features),
            "maximum": np.zeros(n_features, np.float32),
            "log_counts": np.zeros((n_features, len(LOG_EDGES) + 1), np.int64),
        }

    def add(self, batch: Batch) -> None:
        s, f, fires, above = self.state, batch.firings, batch.fires, batch.firings.positive
        value = f.value.astype(np.float64)
        s["fired"] += np.diff(fires.starts)
        s["fired_total"] += fires.sums(fires.value)
        s["total"] += f.sums(value)
        s["square"] += f.sums(value * value)
        np.maximum.at(s["maximum"], above.feature, above.value)
        bins = above.feature.astype(np.int64) * (len(LOG_EDGES) + 1) + log_bins(above.value)
        np.add.at(s["log_counts"].reshape(-1), bins, 1)

    def merge(self, other: Mapping[str, np.ndarray]) -> None:
        for name, x in self.state.items():
            combine = np.maximum if name == "maximum" else np.add
            combine(x, other[name], out=x)


def log_bins(value: Float32[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The bin of the logarithmic histogram in which each positive value lies: the number of edges below it.

    Read from the bits of the value, which is exact and several times as fast as a search.
    """
    bits = value.view(np.int32)
    mantissa = bits & 0x7FFFFF
    halves = (mantissa > 0).astype(np.int32) + (mantissa > _HALF)
    return np.clip(2 * ((bits >> 23) - 127 - _LOWEST) + halves, 0, len(LOG_EDGES))
