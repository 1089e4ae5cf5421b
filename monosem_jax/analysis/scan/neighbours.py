"""The most similar features of a set for each feature of another, or of the same."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.scan.cosines import largest_products, unit
from monosem_jax.analysis.scan.pairs import AllPairs, PairMoments, Sketch, SomePairs, mean_and_deviation
from monosem_jax.analysis.scan.result import Neighbours

BLOCK = 1 << 22  # pairs at a time


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two sets whose features are compared; `other` is the set itself for its nearest features."""

    features: FeatureSet
    other: FeatureSet
    m: int
    tokens: int

    @property
    def same(self) -> bool:
        return self.other is self.features

    @functools.cached_property
    def directions(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Unit directions of both sets; None if they lie in different spaces."""
        sites = {(s.effect_site[0], s.directions.shape[1]) for s in (self.features, self.other)}
        if len(sites) > 1:
            return None
        return unit(self.features.directions), unit(self.other.directions)

    def nearest(self) -> np.ndarray:
        """[F,m] the features with the largest cosines, -1: none."""
        if self.directions is None:
            return np.full((self.features.n_features, self.m), -1, np.int32)
        return largest_products(*self.directions, self.m, same=self.same)[1]

    def candidates(self, sketch: Sketch) -> np.ndarray:
        """[F,4m] features whose correlation is computed: the 3m best by the sketch, and the m best by cosine."""
        by_sketch = largest_products(*sketch.centred(self.tokens), 3 * self.m, same=self.same)[1]
        return np.concatenate([by_sketch, self.nearest()], axis=1)

    def of_all(self, pairs: AllPairs) -> Neighbours:
        """From the products of all pairs."""
        n, g = pairs.state["product"].shape
        nearest = self.nearest()
        parts = []
        for rows in np.array_split(np.arange(n), max(1, n * g // BLOCK)):
            r = self._correlation(pairs, rows, np.arange(g), pairs.state["product"][rows])
            if self.same:
                r[np.arange(len(rows)), rows] = -np.inf
            parts.append((*_largest(r, np.broadcast_to(np.arange(g), r.shape), self.m), _picked(r, nearest[rows])))
        index, r, r_nearest = (np.concatenate(x) for x in zip(*parts, strict=True))
        return self._result(index, r, nearest, r_nearest, exact=True, error=0.0)

    def of_some(self, pairs: SomePairs, sketch: Sketch, candidates: np.ndarray) -> Neighbours:
        """From the products of candidates."""
        r = self._correlation(sketch, np.arange(len(candidates)), candidates, pairs.state["product"])
        r[candidates < 0] = -np.inf
        nearest = candidates[:, -self.m :]
        r_nearest = _defined(r[:, -self.m :])
        again = (candidates[:, :, None] == candidates[:, None, :]) & np.tri(candidates.shape[1], k=-1, dtype=bool)
        r[again.any(axis=2)] = -np.inf
        index, r = _largest(r, candidates, self.m)
        error = float(1 / np.sqrt(len(sketch.state["signs"])))
        return self._result(index, r, nearest, r_nearest, exact=False, error=error)

    def _correlation(self, sums: PairMoments, rows: np.ndarray, columns: np.ndarray, product: np.ndarray) -> np.ndarray:
        """Pearson correlations of features `rows` with features `columns` [G] or [F,c]; -inf where one never varies."""
        mean, deviation = mean_and_deviation(sums.state["total"], sums.state["square"], self.tokens)
        other_mean, other_deviation = mean_and_deviation(
            sums.state["other_total"], sums.state["other_square"], self.tokens
        )
        r = product / self.tokens
        r -= mean[rows][:, None] * other_mean[columns]
        r *= (1 / np.where(deviation > 0, deviation, 1))[rows][:, None]
        r *= (1 / np.where(other_deviation > 0, other_deviation, 1))[columns]
        r[deviation[rows] == 0] = -np.inf
        constant = other_deviation[columns] == 0
        r[np.broadcast_to(constant, r.shape) if columns.ndim > 1 else (slice(None), constant)] = -np.inf
        return r

    def _result(
        self,
        index: np.ndarray,
        correlation: np.ndarray,
        nearest: np.ndarray,
        nearest_correlation: np.ndarray,
        *,
        exact: bool,
        error: float,
    ) -> Neighbours:
        return Neighbours(
            of=self.other.name,
            index=index,
            correlation=correlation,
            cosine=self._cosines(index),
            tokens=self.tokens,
            exact=exact,
            error=error,
            nearest=nearest,
            nearest_correlation=nearest_correlation,
            nearest_cosine=self._cosines(nearest),
        )

    def _cosines(self, index: np.ndarray) -> np.ndarray:
        """[F,m] the cosines with the features `index`."""
        found = np.full(index.shape, np.nan)
        if self.directions is None:
            return found
        a, b = self.directions
        size = max(1, BLOCK // (index.shape[1] * a.shape[1]))
        for i in range(0, len(index), size):
            there = b[index[i : i + size]].astype(np.float64)
            found[i : i + size] = np.einsum("fm,fkm->fk", a[i : i + size].astype(np.float64), there)
        return np.where(index < 0, np.nan, found)


def _defined(r: np.ndarray) -> np.ndarray:
    return np.where(r == -np.inf, np.nan, r)


def _picked(r: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.where(index < 0, np.nan, _defined(np.take_along_axis(r, np.maximum(index, 0), axis=1)))


def _largest(r: np.ndarray, names: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """(names, r) [F,m] of the `m` largest r [F,c] in each row; -1 and NaN where fewer are above -inf."""
    c = r.shape[1]
    k = min(m, c)
    at = np.sort(np.argpartition(r, c - k, axis=1)[:, c - k :], axis=1)
    at = np.take_along_axis(at, np.argsort(-np.take_along_axis(r, at, 1), axis=1, kind="stable"), 1)
    value = _defined(np.take_along_axis(r, at, 1))
    index = np.where(np.isnan(value), -1, np.take_along_axis(names, at, 1)).astype(np.int32)
    pad = ((0, 0), (0, m - k))
    return np.pad(index, pad, constant_values=-1), np.pad(value, pad, constant_values=np.nan)
