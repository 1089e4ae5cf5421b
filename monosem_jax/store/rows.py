"""What activations stream from: rows [n,M] behind one interface with `read(start, stop)`."""

from __future__ import annotations

from typing import Protocol

import ml_dtypes
import numpy as np

DTYPES = {"bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float16": np.float16}


class Rows(Protocol):
    """Anything that activations stream from; threads may read at the same time."""

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


def as_integers(x: np.ndarray) -> np.ndarray:
    """The same bytes as integers: bfloat16 NumPy moves element by element and under the interpreter's lock."""
    return x.view(f"u{x.dtype.itemsize}")
