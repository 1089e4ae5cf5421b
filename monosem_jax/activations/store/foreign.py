"""Arrays of activations [n,M] from other programs: `.npy` files, zarr v2 and v3, `.safetensors` files."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable

import ml_dtypes
import numpy as np
import tensorstore as ts

from monosem_jax.activations.rows import DTYPES, Rows
from monosem_jax.runtime import forks
from monosem_jax.runtime.ambient import pool
from monosem_jax.runtime.errors import BadInput, short_error
from monosem_jax.runtime.files import SAFETENSORS_DTYPES, TensorEntry, read_array, read_safetensors_header
from monosem_jax.runtime.kvstore import Location, context
from monosem_jax.runtime.locations import is_url, split_tensor

ZARR_DRIVERS = {"zarr.json": "zarr3", ".zarray": "zarr"}  # by the name of the array's metadata file
MIB = 1 << 20
SCAN_THREADS = 4  # also the number of blocks in memory at once
SHOWN_TENSORS = 8  # tensors listed in an error message


class NpyRows:
    """A memory-mapped `.npy` array [n,M] of fp32, fp16 or bf16 (raw 2-byte items), in C or Fortran order."""

    def __init__(self, path: str | os.PathLike[str]):
        self._array = read_array(pathlib.Path(path))
        if self._array.dtype == np.dtype("V2"):  # NumPy writes ml_dtypes.bfloat16 without its name
            self._array = self._array.view(ml_dtypes.bfloat16)
        self.dtype = _check(str(path), self._array.shape, str(self._array.dtype))
        self.n_rows, self.width = self._array.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.asarray(self._array[start:stop])


class SafetensorsRows:
    """A memory-mapped tensor [n,M] of a `.safetensors` file; `tensor` may be omitted if only one qualifies."""

    def __init__(self, path: str | os.PathLike[str], tensor: str | None = None):
        tensors = read_safetensors_header(pathlib.Path(path))
        self.tensor = _choose(str(path), tensors) if tensor is None else tensor
        if self.tensor not in tensors:
            raise BadInput(f"{path} has no tensor {self.tensor!r}: it has {_listed(tensors)}")
        found = tensors[self.tensor]
        self.dtype = _check(f"{path}: {self.tensor!r}", found.shape, SAFETENSORS_DTYPES.get(found.dtype, found.dtype))
        self.n_rows, self.width = found.shape
        # Not read through the library: it holds the interpreter's lock while it waits for the disk.
        self._array = np.memmap(path, self.dtype, "r", found.offset, found.shape)

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.asarray(self._array[start:stop])


class ZarrRows:
    """A zarr array [n,M], v3 or v2 depending on `file` (a key of ZARR_DRIVERS); missing chunks hold the fill value."""

    def __init__(self, location: Location, file: str):
        self.location, self.file = location, file
        spec = {
            "driver": ZARR_DRIVERS[file],
            "kvstore": location.spec,
            "recheck_cached_data": False,
            "recheck_cached_metadata": False,
        }
        try:
            self._array = ts.open(spec, read=True, context=context()).result()
        except (ValueError, OSError, RuntimeError) as e:
            reason = short_error(e, after=f'{file}": ')  # the text before it repeats the long file name
            raise BadInput(f"{location} is not a readable zarr array: {file}: {reason}") from None
        self.dtype = _check(str(location), self._array.shape, self._array.dtype.name)
        self.n_rows, self.width = self._array.shape

    @functools.cached_property
    def missing_rows(self) -> int:
        """The number of rows that lie, in part or as a whole, in chunks that were never written."""
        try:
            if self._stored(0, self.n_rows):
                return 0
            step = (self._array.chunk_layout.read_chunk.shape or (0,))[0] or self.n_rows
            cuts = [(a, min(a + step, self.n_rows)) for a in range(0, self.n_rows, step)]
            return sum(z - a for a, z in cuts if not self._stored(a, z))
        except NotImplementedError:  # a driver or a codec that cannot tell
            return 0

    def _stored(self, start: int, stop: int) -> bool:
        try:
            return bool(self._array[start:stop].storage_statistics(query_fully_stored=True).result().fully_stored)
        except (ValueError, OSError, RuntimeError) as e:
            if isinstance(e, NotImplementedError):
                raise
            raise BadInput(f"{self.location}: its chunks cannot be listed: {short_error(e)}") from None

    def refuse_missing(self) -> None:
        """Raises BadInput when rows lie in chunks that do not exist."""
        if n := self.missing_rows:
            raise BadInput(
                f"{self.location}: {n} of {self.n_rows} rows lie in chunks that do not exist and would be read as the "
                "fill value: copy the array again, or allow it with stream.allow_missing_chunks=True "
                "(harvest.allow_missing_chunks=True in a harvest)"
            )

    def read(self, start: int, stop: int) -> np.ndarray:
        forks.enter()
        stop = min(stop, self.n_rows)
        try:
            return self._array[min(start, stop) : stop].read().result()
        except (ValueError, OSError, RuntimeError) as e:
            raise BadInput(f"{self.location}: rows {start} to {stop} cannot be read: {short_error(e)}") from None


def open_foreign(source: str | os.PathLike[str]) -> Rows | None:
    """Opens the array that `source` names; None when no array is there.

    Args:
      source: a `.npy` file; a `.safetensors` file, with `:name` to choose one of its tensors; a directory or URL of a
        zarr array.

    Raises BadInput when something else than an array [n,M] of a known type is there.
    """
    name = os.fspath(source)
    path, tensor = split_tensor(name)
    suffix = os.path.splitext(path)[1]
    if suffix in (".npy", ".safetensors") and not os.path.isdir(path):  # a zarr array may have any name
        if is_url(name):
            raise BadInput(f"{name} is a {suffix} file at a URL: only zarr arrays are read over URLs")
        if not os.path.exists(path):
            raise BadInput(f"{path} does not exist")
        return NpyRows(path) if suffix == ".npy" else SafetensorsRows(path, tensor)
    if not is_url(name) and not os.path.isdir(name):
        return None
    location = Location(name)
    file = next((file for file in ZARR_DRIVERS if location.read(file) is not None), None)
    return ZarrRows(location, file) if file else None


def identity(source: str | os.PathLike[str]) -> dict[str, str]:
    """The record of an array as a run's parent: its location, and a hash that does not depend on the location.

    The hash covers the size, beginning and end of a file, or the metadata of a zarr array. For a zarr array and for a
    tensor (which may lie in the middle of its file) it also covers the first and the last row.
    """
    name = os.fspath(source)
    rows = open_foreign(name)
    if rows is None:
        raise BadInput(f"{name} is not an array: expected a .npy or .safetensors file, or a zarr array")
    h = hashlib.sha256()
    if isinstance(rows, ZarrRows):
        h.update(rows.location.read(rows.file) or b"")
    else:
        _add_file(h, split_tensor(name)[0])
    if isinstance(rows, SafetensorsRows):
        h.update(rows.tensor.encode())
    if not isinstance(rows, NpyRows):
        for i in (0, rows.n_rows - 1):
            h.update(rows.read(i, i + 1).tobytes())
    return {"path": name, "sha256": h.hexdigest()}


@dataclasses.dataclass(frozen=True, eq=False)
class FiniteCheck:
    """The result of `check_rows_finite`. Means are over rows without NaN or Inf, and NaN if there are no such rows.

    first_nonfinite: (row, column) of the first NaN or Inf, row by row.
    mean_square: the mean of the squared elements. mean_norm: the mean norm of the rows.
    nonfinite: the rows that hold NaN or Inf, int64, in order.
    n_zero: rows of nothing but zeros. n_zero_at_end: those among them after which no other row comes.
    """

    n_rows: int
    n_nonfinite: int
    first_nonfinite: tuple[int, int] | None
    mean_square: float
    mean_norm: float
    nonfinite: np.ndarray
    n_zero: int = 0
    n_zero_at_end: int = 0


def check_rows_finite(
    rows: Rows, block_rows: int = 8192, advance: Callable[[int], object] = lambda n: None
) -> FiniteCheck:
    """Reads all rows once. `advance` is called with the number of rows of each finished block, in order."""
    starts = range(0, rows.n_rows, block_rows)
    square_sum = norm_sum = 0.0
    nonfinite, first = [np.zeros(0, np.int64)], None
    n_zero, content = 0, 0  # `content`: the row after the last one that is not all zero
    with pool(min(SCAN_THREADS, os.cpu_count() or 1), "scan") as threads:
        for i in range(0, len(starts), 64):  # so that the queue stays short
            blocks = starts[i : i + 64]
            results = threads.map(lambda start: _scan_block(rows, start, start + block_rows), blocks)
            for start, found in zip(blocks, results, strict=True):
                square_sum, norm_sum = square_sum + found.square_sum, norm_sum + found.norm_sum
                nonfinite.append(start + found.nonfinite)
                n_zero += found.n_zero
                content = start + found.content if found.content else content
                if first is None and found.column is not None:
                    first = int(nonfinite[-1][0]), found.column
                advance(found.n_rows)
    bad = np.concatenate(nonfinite)
    n = rows.n_rows - len(bad)
    return FiniteCheck(
        n_rows=rows.n_rows,
        n_nonfinite=len(bad),
        first_nonfinite=first,
        mean_square=square_sum / (n * rows.width) if n else float("nan"),
        mean_norm=norm_sum / n if n else float("nan"),
        nonfinite=bad,
        n_zero=n_zero,
        n_zero_at_end=rows.n_rows - content,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Block:
    """Sums over the finite rows of a block, the indices of the other rows in it, and the first of these rows' first bad
    column; the number of rows that are all zero, and of the rows up to the last one that is not."""

    n_rows: int
    square_sum: float
    norm_sum: float
    nonfinite: np.ndarray
    column: int | None
    n_zero: int
    content: int


def _scan_block(rows: Rows, start: int, stop: int) -> _Block:
    x = rows.read(start, stop)
    with np.errstate(invalid="ignore"):  # raised by converting a signalling NaN
        squares = np.einsum("ij,ij->i", x, x, dtype=np.float64)  # converts piecewise, without the interpreter's lock
        finite = np.isfinite(squares)  # fp64 can hold any sum of fp32 squares, so it is finite exactly where the row is
        bad = np.flatnonzero(~finite)
        column = int(np.flatnonzero(~np.isfinite(x[bad[0]].astype(np.float64)))[0]) if len(bad) else None
    some = np.flatnonzero(squares != 0)  # as numbers: squares of fp32 do not vanish in fp64
    content = int(some[-1]) + 1 if len(some) else 0
    n_zero = len(x) - len(some)
    squares = squares[finite]
    return _Block(len(x), float(squares.sum()), float(np.sqrt(squares).sum()), bad, column, n_zero, content)


def _check(name: str, shape: tuple[int, ...], dtype: str) -> np.dtype:
    """The type called `dtype`; raises BadInput when an array of that shape and type cannot hold activations."""
    if len(shape) != 2 or not all(shape):
        raise BadInput(f"{name} has shape {shape}: expected [n, M] with at least one row")
    if dtype not in DTYPES:
        raise BadInput(f"{name} has dtype {dtype}: expected {', '.join(DTYPES)}")
    return np.dtype(DTYPES[dtype])


def _choose(path: str, tensors: dict[str, TensorEntry]) -> str:
    """The only tensor of a file, or the only one that could hold activations."""
    fitting = {n: t for n, t in tensors.items() if t.dtype in SAFETENSORS_DTYPES and len(t.shape) == 2}
    among = fitting or tensors
    if len(among) == 1:
        return next(iter(among))
    if fitting:
        raise BadInput(f"{path} holds several arrays: expected {path}:NAME with a NAME among {_listed(fitting)}")
    raise BadInput(f"{path} holds no 2-D tensor of {', '.join(DTYPES)}: it has {_listed(tensors)}")


def _listed(tensors: dict[str, TensorEntry]) -> str:
    """Tensor names (quoted, since they may contain anything) with types and shapes."""
    shown = [f"{n!r} ({t.dtype} {list(t.shape)})" for n, t in sorted(tensors.items())]
    rest = f" and {len(shown) - SHOWN_TENSORS} more" if len(shown) > SHOWN_TENSORS else ""
    return (", ".join(shown[:SHOWN_TENSORS]) or "none") + rest


def _add_file(h: hashlib._Hash, path: str) -> None:
    """Adds a file's size, first and last MiB to a hash."""
    size = os.stat(path).st_size
    h.update(str(size).encode())
    with open(path, "rb") as f:
        h.update(f.read(MIB))
        f.seek(max(size - MIB, 0))
        h.update(f.read())
