"""Activation stores, and arrays with the same interface: rows [n,M] with `read(start, stop)`."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
from typing import Any

import numpy as np
import tensorstore as ts

from monosem_jax.activations.rows import DTYPES, Rows
from monosem_jax.activations.store import foreign
from monosem_jax.activations.stream.order import BLOCK_ROWS
from monosem_jax.activations.stream.stream import open_stream
from monosem_jax.runtime import forks
from monosem_jax.runtime.arguments import whole_number
from monosem_jax.runtime.errors import BadInput, short_error
from monosem_jax.runtime.files import finite
from monosem_jax.runtime.kvstore import Location, context, last_part
from monosem_jax.runtime.locations import ANYWHERE

SITES_APART = ","  # separates the sites of a harvest that get a store each
FORMAT = 3  # 2 was never used; 1 is read like 3: they differ only in the random streams that drew the rows
KEYS = ("format", "complete", "n_rows", "rows_written", "width", "dtype", "site", "model")


class Store:
    """An activation store. Only its committed rows are visible.

    `path` is its path or URL, `run` the harvest's run directory if there is one, `location` the place of the data.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = ANYWHERE.locate(path, "path")
        self.location = find_store(path) or Location(path)
        self.manifest: dict[str, Any] = read_manifest(self.location)
        self.n_rows: int = self.manifest["rows_written"]
        self.width: int = self.manifest["width"]
        self.dtype = np.dtype(DTYPES[self.manifest["dtype"]])
        if not self.n_rows:
            raise BadInput(f"{path} is empty: no rows have been committed yet")

    @property
    def run(self) -> pathlib.Path | None:
        local = Location(self.path).local
        return local if local and (local / "config.json").exists() else None

    @functools.cached_property
    def _activations(self) -> ts.TensorStore:
        return open_array(self.location, "activations")

    @functools.cached_property
    def _origin(self) -> ts.TensorStore:
        return open_array(self.location, "origin")

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop-1, [stop-start, M]; those beyond the last row are left out. Raises BadInput on a negative
        row, and on a range that ends before it begins."""
        return self._read(self._activations, start, stop)

    def origin(self, start: int, stop: int) -> np.ndarray:
        """[stop-start, 2]: for each row the context's index in `tokens()` and the position; for a converted array the
        row number and 0. Raises BadInput like `read`."""
        return self._read(self._origin, start, stop)

    def _read(self, array: ts.TensorStore, start: int, stop: int) -> np.ndarray:
        forks.enter()
        start = whole_number(f"{self.path}: read from row {start!r}", start, 0)
        stop = min(whole_number(f"{self.path}: read up to row {stop!r}", stop, start), self.n_rows)
        try:
            return array[min(start, stop) : stop].read().result()
        except (ValueError, OSError, RuntimeError) as e:
            raise BadInput(f"{self.path}: rows {start} to {stop - 1} cannot be read: {last_part(e)}") from None

    def tokens(self) -> np.ndarray:
        """[C,T] the harvested contexts; raises BadInput if the store was made from an array."""
        if not self.manifest["model"]:
            raise BadInput(f"{self.path} was converted from an array: it has no tokens")
        return open_array(self.location, "tokens").read().result()

    def stream(self, batch_size: int, seed: int, mesh: Any = None, **options: Any) -> Any:
        """Shuffled batches, see `activations.stream.stream.open_stream`; `mesh` None takes every device for `data`."""
        return open_stream(self, batch_size, seed, mesh, **options)


def read_manifest(location: Location) -> dict[str, Any]:
    """store.json; raises BadInput if it is missing, damaged, or of another format."""
    manifest = location.read_json("store.json")
    if not isinstance(manifest, dict):
        raise BadInput(f"{location}: store.json is not a manifest")
    number = manifest.get("format")
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise BadInput(f"{location} has store format {number}: this version reads 1 to {FORMAT}")
    missing = [k for k in KEYS if k not in manifest]
    if missing:
        raise BadInput(f"{location}: store.json lacks {', '.join(missing)}")
    if manifest["dtype"] not in [*DTYPES]:
        raise BadInput(f"{location}: store.json has dtype {manifest['dtype']}: expected {', '.join(DTYPES)}")
    for key in ("n_rows", "rows_written", "width"):
        if type(manifest[key]) is not int or manifest[key] < 0:
            raise BadInput(f"{location}: store.json has {key} {manifest[key]!r}: expected a count")
    return manifest


def checksum(manifest: dict[str, Any]) -> str:
    """The hash of a manifest's other keys."""
    rest = finite({k: v for k, v in manifest.items() if k != "checksum"})  # as it is written
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def hash_array(location: Location, name: str) -> str:
    """The hash of the metadata of one of a store's arrays; "" if it has no such array."""
    content = location.read(f"{name}/zarr.json")
    return "" if content is None else hashlib.sha256(content).hexdigest()


def find_store(path: str | os.PathLike[str]) -> Location | None:
    """The store that `path` names: `path` itself, or the store of the harvest's run directory at `path`; None if there
    is none."""
    location = Location(path)
    if location.read("store.json") is not None:
        return location
    if location.read("config.json") is None:
        return None
    config = location.read_json("config.json")
    config = config.get("config") if isinstance(config, dict) else None
    elsewhere = config.get("store") if isinstance(config, dict) else None
    return Location(elsewhere) if elsewhere and Location(elsewhere).read("store.json") is not None else None


def find_stores(path: str | os.PathLike[str]) -> dict[str, Location]:
    """site -> the store of each site that a harvest of several in the run directory `path` has begun; {} if `path` is
    something else."""
    location = Location(path)
    if location.local is None or location.read("config.json") is None:
        return {}
    record = location.read_json("config.json")
    values = record.get("config") if isinstance(record, dict) else None
    harvest = values.get("harvest") if isinstance(values, dict) else None
    text = harvest.get("site") if isinstance(harvest, dict) else None
    sites = text.split(SITES_APART) if isinstance(text, str) and SITES_APART in text else []
    found = {site: find_store(location.local / site) for site in sites if site and "/" not in site}
    return {site: store for site, store in found.items() if store is not None}


def open_rows(source: str | os.PathLike[str], allow_missing_chunks: bool = False) -> Rows:
    """Opens a store, a zarr array, a `.npy` file or a safetensors tensor; raises BadInput on anything else, and on an
    array with chunks that do not exist unless these are allowed (their rows hold the fill value)."""
    if find_store(source):
        return Store(source)
    found = foreign.open_foreign(source)
    if isinstance(found, foreign.ZarrRows) and not allow_missing_chunks:
        found.refuse_missing()
    if found is not None:
        return found
    location = Location(source)
    if stores := find_stores(source):
        several = f"source {source} holds a store for each of several sites: expected one of them, as {source}/"
        raise BadInput(several + next(iter(stores)) + ", or several with commas between")
    if location.local is not None and not location.local.exists():
        raise BadInput(f"source {source} does not exist")
    if location.local is None:
        location.list("store.json")  # raises if the location cannot be reached
    raise BadInput(
        f"source {source} is neither a store directory (with store.json) nor a zarr array, nor a .npy array or a "
        ".safetensors file"
    )


def array_spec(location: Location, name: str, shape: tuple[int, ...], dtype: str, shard_rows: int) -> dict[str, Any]:
    """A zarr v3 array: shards of `shard_rows`, checksummed inner chunks of BLOCK_ROWS."""
    tail = list(shape[1:])
    return {
        "driver": "zarr3",
        "kvstore": location.sub(name),
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
        # Rows of zeros are data: without this they would not be written, and would look like missing ones.
        "store_data_equal_to_fill_value": True,
    }


def create_array(location: Location, name: str, shape: tuple[int, ...], dtype: str, shard_rows: int) -> ts.TensorStore:
    """Creates or opens an array of a store for writing."""
    spec = array_spec(location, name, shape, dtype, shard_rows)
    try:
        return ts.open(spec, create=True, open=True, context=context()).result()
    except ValueError as e:
        if "No space left on device" in str(e):
            raise
        raise BadInput(f"{location}/{name} cannot be made: {short_error(e)}") from None


def open_array(location: Location, name: str) -> ts.TensorStore:
    """Opens an array of a store for reading; missing data is an error, not zeros."""
    spec = {
        "driver": "zarr3",
        "kvstore": location.sub(name),
        "fill_missing_data_reads": False,
        "recheck_cached_data": False,
        "recheck_cached_metadata": False,
    }
    try:
        return ts.open(spec, read=True, context=context()).result()
    except (ValueError, OSError) as e:
        raise BadInput(f"{location}/{name} is not a zarr v3 array: {short_error(e)}") from None


def source_identity(source: str | os.PathLike[str]) -> dict[str, str]:
    """The record of a source as a run's parent: a store by its manifest, an array by its size, beginning and end."""
    found = find_store(source)
    if found is None:
        return foreign.identity(source)
    record = {"path": str(source), "sha256": hashlib.sha256(found.read("store.json") or b"").hexdigest()}
    return record if found.local is None else {**record, "file": "store.json"}
