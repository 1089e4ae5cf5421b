"""Rows of activations [n,M] behind one interface, `read(start, stop)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from monosem_jax.runtime.files import DTYPES as DTYPES  # of rows


class Rows(Protocol):
    """Rows that can be read in any order; several threads may read at the same time."""

    n_rows: int
    width: int
    dtype: np.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop-1, [stop-start, M]; fewer when `stop` lies beyond the last row."""
        ...


class RowRange:
    """The rows start … stop-1 of another source."""

    def __init__(self, source: Rows, start: int, stop: int):
        self._source, self._start = source, start
        self.n_rows, self.width, self.dtype = stop - start, source.width, source.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._source.read(self._start + start, self._start + min(stop, self.n_rows))


class ConcatRows:
    """Rows of several sources with equal n, concatenated along M; in their common dtype, or fp32 if dtypes differ."""

    def __init__(self, sources: Sequence[Rows]):
        self.sources = sources
        self.n_rows, self.widths = sources[0].n_rows, tuple(s.width for s in sources)
        self.width = sum(self.widths)
        self.dtype = sources[0].dtype if len({s.dtype for s in sources}) == 1 else np.dtype(np.float32)

    def read(self, start: int, stop: int) -> np.ndarray:
        found = [s.read(start, stop).astype(self.dtype, copy=False) for s in self.sources]
        return np.concatenate(found, axis=1)


def as_integers(x: np.ndarray) -> np.ndarray:
    """The same bytes as integers. NumPy moves bfloat16 element by element, and holds the interpreter's lock."""
    return x.view(f"u{x.dtype.itemsize}")
