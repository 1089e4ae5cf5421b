"""Firings by how strong they are: the linear histogram, and samples from equal intervals of (0, max]."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Int

from monosem_jax.analysis.scan.batch import Batch
from monosem_jax.analysis.scan.bottom import Bottom
from monosem_jax.analysis.scan.hashes import Keys
from monosem_jax.analysis.scan.result import INTERVALS, N_LINEAR, Reservoir


def interval_of(value: Float32[np.ndarray, " n"], maximum: Float32[np.ndarray, " n"], n: int) -> Int[np.ndarray, " n"]:
    """The number i of the interval (max · i/n, max · (i+1)/n] in which each positive value lies.

    float64 holds value · n exactly, and the quotient of fp32 numbers so well that no value falls on the wrong side.
    """
    found = np.ceil(value.astype(np.float64) * n / maximum).astype(np.int64) - 1
    return np.clip(found, 0, n - 1)


class Intervals:
    """Counts of firings in equal intervals of (0, max], and a uniform sample of k from each interval."""

    def __init__(self, maximum: np.ndarray, k: int, seed: int):
        n_features = len(maximum)
        self._maximum, self._keys = maximum, Keys("reservoir", seed, n_features)
        self._samples = {n: Bottom(n_features * n, k) for n in INTERVALS}
        self._counts = {n: np.zeros((n_features, n), np.int64) for n in (*INTERVALS, N_LINEAR)}
        self.state: dict[str, np.ndarray] = {f"count_{n}": x for n, x in self._counts.items()}
        for n, sample in self._samples.items():
            self.state |= {f"{name}_{n}": x for name, x in sample.state.items()}

    def add(self, batch: Batch) -> None:
        f = batch.firings.positive
        maximum = self._maximum[f.feature]
        place = batch.first_token + f.row.astype(np.int64)
        key = self._keys.of_firings(f.feature, place)
        for n, counts in self._counts.items():
            group = f.feature.astype(np.int64) * n + interval_of(f.value, maximum, n)
            np.add.at(counts.reshape(-1), group, 1)
            if n in self._samples:
                self._samples[n].offer(group, key, place, f.value)

    def merge(self, other: Mapping[str, np.ndarray]) -> None:
        for n, counts in self._counts.items():
            counts += other[f"count_{n}"]
        for n, sample in self._samples.items():
            sample.merge({name: other[f"{name}_{n}"] for name in sample.state})

    @property
    def linear_counts(self) -> np.ndarray:
        """[F,N_LINEAR]"""
        return self._counts[N_LINEAR]

    def reservoirs(self, length: int) -> dict[int, Reservoir]:
        """The samples, by the number of intervals; `length` tokens make a context."""
        found = {}
        for n, sample in self._samples.items():
            place, value = (sample.state[name].reshape(len(self._maximum), n, -1) for name in ("place", "value"))
            found[n] = Reservoir(*split_place(place, length), value.copy(), self._counts[n].copy())
        return found


def split_place(place: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(context, position), int32, of tokens by their number in the text; -1 stays -1."""
    none = place < 0
    context, position = np.divmod(place, length)
    return np.where(none, -1, context).astype(np.int32), np.where(none, -1, position).astype(np.int32)
