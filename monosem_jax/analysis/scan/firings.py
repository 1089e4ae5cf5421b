"""The activations of a batch of tokens that are not zero."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import scipy.sparse
from jaxtyping import Float, Float32, Int32


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
