"""The activations of a batch of tokens that are not zero."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import scipy.sparse
from jaxtyping import Float, Float32, Int, Int32


@dataclasses.dataclass(frozen=True)
class Firings:
    """Entries of f [B,F] that are not zero, by feature and then by row: entries starts[i] to starts[i+1] are those of
    feature i. They include negative activations, if a set has any."""

    starts: Int32[np.ndarray, " F+1"]
    row: Int32[np.ndarray, " n"]
    value: Float32[np.ndarray, " n"]
    n_rows: int

    @classmethod
    def of_rows(
        cls,
        starts: Int32[np.ndarray, " B+1"],
        feature: Int32[np.ndarray, " n"],
        value: Float32[np.ndarray, " n"],
        n_features: int,
    ) -> Firings:
        """From entries that are sorted by row."""
        rows = scipy.sparse.csr_array((value, feature, starts), shape=(len(starts) - 1, n_features))
        by_feature = rows.tocsc()
        return cls(by_feature.indptr, by_feature.indices, by_feature.data, len(starts) - 1)

    @classmethod
    def of_dense(cls, f: Float32[np.ndarray, "B F"]) -> Firings:
        """From all activations."""
        b, n = f.shape
        flat = f.reshape(-1)
        at = np.flatnonzero(flat != 0)
        starts = np.searchsorted(at, np.arange(b + 1) * n).astype(np.int32)
        return cls.of_rows(starts, (at % n).astype(np.int32), flat[at], n)

    @property
    def n_features(self) -> int:
        return len(self.starts) - 1

    @property
    def n_bytes(self) -> int:
        return self.starts.nbytes + self.row.nbytes + self.value.nbytes

    @functools.cached_property
    def feature(self) -> Int32[np.ndarray, " n"]:
        """The feature of every entry."""
        return np.repeat(np.arange(self.n_features, dtype=np.int32), np.diff(self.starts))

    @functools.cached_property
    def positive(self) -> Firings:
        """The entries above zero."""
        return self.where(self.value > 0)

    def where(self, kept: np.ndarray) -> Firings:
        """The entries for which `kept` [n] holds."""
        if kept.all():
            return self
        starts = np.concatenate([[0], np.cumsum(kept)])[self.starts].astype(np.int32)
        return Firings(starts, self.row[kept], self.value[kept], self.n_rows)

    def on_rows(self, kept: np.ndarray) -> Firings:
        """The entries in rows for which `kept` [B] holds."""
        return self.where(kept[self.row])

    def first_rows(self, n: int) -> Firings:
        """The first `n` rows; the others must be empty, as those of padding are."""
        return self if n == self.n_rows else dataclasses.replace(self, n_rows=n)

    @property
    def of_row(self) -> Int[np.ndarray, " B"]:
        """[B] the number of entries of every row."""
        return np.bincount(self.row, minlength=self.n_rows)

    def moments(self) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, " F"]]:
        """(Σ f, Σ f²) of each feature in float64."""
        value = self.value.astype(np.float64)
        return self.sums(value), self.sums(value * value)

    def sums(self, weights: np.ndarray) -> Float[np.ndarray, " F"]:
        """[F] float64 sums over each feature's entries of `weights` [n]."""
        return np.bincount(self.feature, weights, minlength=self.n_features)

    def matrix(self, dtype: type = np.float64) -> scipy.sparse.csr_array:
        """f transposed, [F,B]."""
        return scipy.sparse.csr_array(
            (self.value.astype(dtype), self.row, self.starts), shape=(self.n_features, self.n_rows)
        )

    def dense(self, dtype: type = np.float32) -> np.ndarray:
        """f [B,F]."""
        return np.ascontiguousarray(self.matrix(dtype).toarray().T)


@dataclasses.dataclass(frozen=True)
class Dense:
    """Activations [B,F] many of which are not zero, such as those of neurons: what `Firings` would take longer for."""

    f: Float32[np.ndarray, "B F"]

    @property
    def n_rows(self) -> int:
        return len(self.f)

    @property
    def n_features(self) -> int:
        return self.f.shape[1]

    def on_rows(self, kept: np.ndarray) -> Dense:
        """With zeros in the rows for which `kept` [B] does not hold."""
        return self if kept.all() else Dense(self.f * kept[:, None])

    def first_rows(self, n: int) -> Dense:
        """The first `n` rows."""
        return Dense(self.f[:n])

    @property
    def of_row(self) -> Int[np.ndarray, " B"]:
        """[B] the number of entries of every row, at most."""
        return np.full(self.n_rows, self.n_features)

    def moments(self) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, " F"]]:
        """(Σ f, Σ f²) of each feature in float64."""
        f = self.f.astype(np.float64)
        return f.sum(axis=0), np.square(f).sum(axis=0)

    def matrix(self, dtype: type = np.float64) -> scipy.sparse.csr_array:
        """f transposed, [F,B]."""
        return scipy.sparse.csr_array(self.f.T.astype(dtype))

    def dense(self, dtype: type = np.float32) -> np.ndarray:
        """f [B,F]."""
        return self.f.astype(dtype, copy=False)


DENSE_SHARE = 1 / 16  # with more entries than this, other sets stay dense


def activations_of(f: Float32[np.ndarray, "B F"]) -> Firings | Dense:
    """In the form that takes less time to compare with."""
    return Dense(f) if np.count_nonzero(f) > DENSE_SHARE * f.size else Firings.of_dense(f)
