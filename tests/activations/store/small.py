"""Stores and sources small enough to compare byte by byte."""

from __future__ import annotations

import itertools
import json
import pathlib
import threading
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from monosem_jax.activations.store.store import checksum, create_array
from monosem_jax.activations.store.verify import verify_store
from monosem_jax.activations.store.writer import StoreWriter
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.kvstore import Location

ROWS, WIDTH, SHARD, BUCKET = 9000, 4, 2048, 4096  # three buckets of two, two and one shard; the last block is short
PER_CONTEXT = 9
MANIFEST = {
    "n_rows": ROWS, "width": WIDTH, "dtype": "float32", "site": "mlp_hidden.0", "context_length": 12,
    "rows_per_context": PER_CONTEXT, "model": "m", "tokenizer_sha256": "t", "corpus_sha256": "c", "seed": 0,
}  # fmt: skip
CONVERTED = MANIFEST | {"site": "", "model": "", "context_length": 0, "rows_per_context": 0}
TOKENS = np.random.default_rng(1).integers(0, 50, (ROWS // PER_CONTEXT, 12)).astype(np.int32)
NAMES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def values(dtype: str = "float32", rows: int = ROWS, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, width)).astype(NAMES[dtype])


def any_bits(dtype: str, shape: tuple[int, int]) -> np.ndarray:
    """Values of every kind: NaN with payloads, infinities, both zeros, subnormals."""
    raw = np.random.default_rng(0).integers(0, 256, (*shape, np.dtype(NAMES[dtype]).itemsize), dtype=np.uint8)
    return raw.view(NAMES[dtype])[..., 0]


def bits(x: Any) -> np.ndarray:
    x = np.ascontiguousarray(x)
    return x.view(f"u{x.dtype.itemsize}")


def places() -> np.ndarray:
    """[ROWS,2] context and position of every row."""
    i = np.arange(ROWS)
    return np.stack([i // PER_CONTEXT, i % PER_CONTEXT], axis=1).astype(np.uint32)


def numbers() -> np.ndarray:
    """[ROWS,2] what stands for a place in a converted store."""
    return np.stack([np.arange(ROWS), np.zeros(ROWS)], axis=1).astype(np.uint32)


def sums(rows: np.ndarray) -> dict[str, float]:
    squares = np.square(rows.astype(np.float64)).sum(axis=1)
    return {"norm_sum": float(np.sqrt(squares).sum()), "square_sum": float(squares.sum())}


def write_tokens(writer: StoreWriter) -> None:
    array = create_array(writer.location, "tokens", TOKENS.shape, "int32", 1024)
    array.write(TOKENS).result()


def open_writer(location: Any, manifest: dict[str, Any] = MANIFEST, **options: Any) -> StoreWriter:
    usual = {"shard_rows": SHARD, "bucket_rows": BUCKET} | ({"prepare": write_tokens} if manifest["model"] else {})
    location = location if isinstance(location, Location) else Location(location)
    return StoreWriter(location, manifest, **usual | options)


def write_store(
    location: Any,
    rows: np.ndarray | None = None,
    manifest: dict[str, Any] = MANIFEST,
    *,
    buckets: int | None = None,
    origin: np.ndarray | None = None,
    begun: Callable[[], Any] = lambda: None,
    **options: Any,
) -> StoreWriter:
    """Writes what is missing of a store, at most so many buckets, as `fill` does."""
    rows = values(manifest["dtype"]) if rows is None else rows
    origin = (places() if manifest["model"] else numbers()) if origin is None else origin
    writer = open_writer(location, manifest, **options)
    begun()
    try:
        for bucket, a, z in writer.todo[:buckets]:
            writer.write(bucket, rows[a:z].copy(), origin[a:z].copy(), **sums(rows[a:z]))
        if buckets is None:
            writer.finish(lambda: threading.Event().wait(0.005))
        else:
            writer.wait()
    finally:
        writer.close()
    return writer


def write_together(path: Any, n: int) -> None:
    """Writes a store by n processes, each a thread here."""
    barrier = threading.Barrier(n, timeout=30)
    failed = []

    def one(p: int) -> None:
        try:
            write_store(path, process=(p, n), barrier=lambda name: barrier.wait(), begun=barrier.wait)
        except BaseException as e:
            failed.append(e)
            barrier.abort()

    threads = [threading.Thread(target=one, args=(p,)) for p in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]


def content(path: pathlib.Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


class Died(BaseException):
    """What a `Mortal` raises."""


class Mortal(Location):
    """Notes what becomes of its files, and dies at one of these moments: before or after it happens."""

    def __init__(self, path, at: int = -1, *, after: bool = False):
        super().__init__(path)
        self.moments, self._at, self._after = [], at, after

    def _happen(self, name, action):
        self.moments.append(name)
        last = len(self.moments) - 1 == self._at
        if not last or self._after:
            action()
        if last:
            raise Died

    def write(self, file, content):
        self._happen(file, lambda: super(Mortal, self).write(file, content))

    def delete(self, folder):
        self._happen(f"delete {folder}", lambda: super(Mortal, self).delete(folder))


MOMENTS = [
    ".parts/begun-0", "store.json", *itertools.chain(*((f".parts/0000000{g}.json", "store.json") for g in range(3))),
    "delete .parts/", "delete .parts/",
]  # fmt: skip


class Source:
    """An array in memory as a source; remembers the ranges that are read."""

    def __init__(self, data: np.ndarray):
        self.data, self.reads = data, []
        self.n_rows, self.width, self.dtype = *data.shape, data.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        assert 0 <= start < stop
        self.reads.append((start, min(stop, self.n_rows)))
        return self.data[start:stop]


def numbered(n_rows: int) -> Source:
    """A source whose row i is [i, -i]."""
    i = np.arange(n_rows, dtype=np.float32)
    return Source(np.stack([i, -i], axis=1))


def damages(path) -> list[str]:
    """What is reported, each in one line."""
    try:
        found = verify_store(Location(path))[0]
    except BadInput as e:
        found = [str(e)]
    assert all(len(line.splitlines()) == 1 for line in found)
    return found


def forge(path: pathlib.Path, change: dict, *, seal: bool = True) -> None:
    """Changes the manifest, with a fitting checksum, or as an earlier version would have written it."""
    manifest = json.loads((path / "store.json").read_text()) | change
    manifest = {k: v for k, v in manifest.items() if v is not None and k != "checksum"}
    (path / "store.json").write_text(json.dumps(manifest | ({"checksum": checksum(manifest)} if seal else {})))
