"""Arrays of activations [n,M], wherever they come from: one interface with `read(start, stop)`."""

from __future__ import annotations

import hashlib
import pathlib
from typing import Any, Protocol

import ml_dtypes
import numpy as np
import tensorstore as ts

from monosem_jax.errors import BadInput
from monosem_jax.run import file_hash, read_json

FORMAT = 1
BLOCK_ROWS = 1024  # rows of an inner chunk: the unit of reading
DTYPES = {"bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float16": np.float16}


class Rows(Protocol):
    """Anything that activations stream from."""

    n_rows: int
    width: int
    dtype: np.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop-1, [stop-start, M]."""
        ...


class NpyRows:
    """A memory-mapped `.npy` array [n,M] of fp32, fp16 or (as raw 2-byte `bfloat16`) bf16."""

    def __init__(self, path: pathlib.Path):
        try:
            self._array = np.lib.format.open_memmap(path, mode="r")  # unlike np.load, takes nothing but .npy
        except Exception as e:  # a damaged header raises many kinds
            raise BadInput(f"{path} is not a readable .npy array: {' '.join(str(e).split())}") from None
        if self._array.dtype == np.dtype("V2"):  # NumPy writes ml_dtypes.bfloat16 without its name
            self._array = self._array.view(ml_dtypes.bfloat16)
        if self._array.ndim != 2 or not self._array.size:
            raise BadInput(f"{path} has shape {self._array.shape}: expected [n, M] with at least one row")
        if self._array.dtype not in [np.dtype(d) for d in DTYPES.values()]:
            raise BadInput(f"{path} has dtype {self._array.dtype}: expected {', '.join(DTYPES)}")
        self.n_rows, self.width = self._array.shape
        self.dtype = self._array.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.asarray(self._array[start:stop])


class Store:
    """An activation store: only its committed rows are visible."""

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        self.manifest: dict[str, Any] = read_json(self.path / "store.json")
        if self.manifest.get("format") != FORMAT:
            raise BadInput(f"{path} has store format {self.manifest.get('format')}: this version reads {FORMAT}")
        self.n_rows: int = self.manifest["rows_written"]
        self.width: int = self.manifest["width"]
        self.dtype = np.dtype(DTYPES[self.manifest["dtype"]])
        if not self.n_rows:
            raise BadInput(f"{path} is empty: no rows have been committed yet")
        self._activations = open_array(self.path / "activations")
        self._origin = open_array(self.path / "origin")

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._activations[start : min(stop, self.n_rows)].read().result()

    def origin(self, start: int, stop: int) -> np.ndarray:
        """[stop-start, 2]: context index into `tokens()`, position."""
        return self._origin[start : min(stop, self.n_rows)].read().result()

    def tokens(self) -> np.ndarray:
        """[C,T] the harvested contexts."""
        return open_array(self.path / "tokens").read().result()


def open_rows(source: str | pathlib.Path) -> Rows:
    """Opens a store directory or a `.npy` array; raises BadInput on anything else."""
    path = pathlib.Path(source)
    if (path / "store.json").exists():
        return Store(path)
    if path.suffix == ".npy" and path.is_file():
        return NpyRows(path)
    if not path.exists():
        raise BadInput(f"source {source} does not exist")
    raise BadInput(f"source {source} is neither a store directory (with store.json) nor a .npy array")


def create_array(path: pathlib.Path, shape: tuple[int, ...], dtype: str, shard_rows: int) -> ts.TensorStore:
    """Creates or opens a zarr v3 array: shards of `shard_rows`, checksummed inner chunks of BLOCK_ROWS."""
    tail = list(shape[1:])
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path.absolute()) + "/"},
        "metadata": {
            "shape": list(shape),
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [shard_rows, *tail]}},
            "codecs": [
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": [BLOCK_ROWS, *tail],
                        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
                    },
                }
            ],
        },
    }
    return ts.open(spec, create=True, open=True).result()


def open_array(path: pathlib.Path) -> ts.TensorStore:
    """Opens a zarr v3 array for reading; missing data is an error, not zeros."""
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path.absolute()) + "/"},
        "fill_missing_data_reads": False,
        "recheck_cached_data": False,
        "recheck_cached_metadata": False,
    }
    try:
        return ts.open(spec, read=True).result()
    except ValueError as e:
        raise BadInput(f"{path} is not a zarr v3 array: {str(e).splitlines()[0][:160]}") from None


class RowRange:
    """The rows start … stop-1 of another source."""

    def __init__(self, source: Rows, start: int, stop: int):
        self._source, self._start = source, start
        self.n_rows, self.width, self.dtype = stop - start, source.width, source.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._source.read(self._start + start, self._start + min(stop, self.n_rows))


def source_identity(source: str | pathlib.Path) -> dict[str, str]:
    """The record of a source as a run's parent: a store by its manifest, an array by its size, beginning and end."""
    path = pathlib.Path(source)
    if (path / "store.json").exists():
        return {"path": str(path), "file": "store.json", "sha256": file_hash(path / "store.json")}
    size = path.stat().st_size
    h = hashlib.sha256(str(size).encode())
    with open(path, "rb") as f:
        h.update(f.read(1 << 20))
        f.seek(max(size - (1 << 20), 0))
        h.update(f.read())
    return {"path": str(path), "sha256": h.hexdigest()}
