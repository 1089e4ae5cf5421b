"""Rows of activations of which only what is not zero is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class SparseRows:
    """n rows of `width` numbers: row i has `value[start[i]:start[i+1]]` in the columns `column[…]`, 0 elsewhere."""

    start: np.ndarray
    column: np.ndarray
    value: np.ndarray
    width: int

    @classmethod
    def of(cls, rows: np.ndarray) -> SparseRows:
        """Of an array [n,width]."""
        row, column = np.nonzero(rows)
        start = np.searchsorted(row, np.arange(len(rows) + 1))
        return cls(start, column.astype(np.int32), rows[row, column].astype(np.float32), rows.shape[1])

    @classmethod
    def joined(cls, parts: Sequence[SparseRows], width: int) -> SparseRows:
        """One after the other."""
        offsets = np.cumsum([0, *(len(p.value) for p in parts)])
        start = np.concatenate([[0], *(p.start[1:] + o for p, o in zip(parts, offsets, strict=False))]).astype(np.int64)
        column = np.concatenate([np.zeros(0, np.int32), *(p.column for p in parts)])
        value = np.concatenate([np.zeros(0, np.float32), *(p.value for p in parts)])
        return cls(start, column, value, width)

    def __len__(self) -> int:
        return len(self.start) - 1

    def _entries(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(for each entry of the rows, the place of its row in `rows`; the entry)."""
        low, high = self.start[rows], self.start[np.asarray(rows) + 1]
        place = np.repeat(np.arange(len(rows)), high - low)
        first = np.repeat(low - np.concatenate([[0], np.cumsum(high - low)[:-1]]), high - low)
        return place, first + np.arange(len(place))

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """[width] the mean of some rows, float64."""
        _, entry = self._entries(rows)
        total = np.bincount(self.column[entry], weights=self.value[entry].astype(np.float64), minlength=self.width)
        return total / max(len(rows), 1)

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """[width] in how many of some rows a column is not zero."""
        _, entry = self._entries(rows)
        return np.bincount(self.column[entry], minlength=self.width)

    def dense(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """[len(rows),len(columns)] as an array, fp32."""
        where = np.full(self.width, -1)
        where[columns] = np.arange(len(columns))
        place, entry = self._entries(rows)
        at = where[self.column[entry]]
        found = np.zeros((len(rows), len(columns)), np.float32)
        found[place[at >= 0], at[at >= 0]] = self.value[entry][at >= 0]
        return found
