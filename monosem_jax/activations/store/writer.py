"""Writes a store bucket by bucket, from one process or several; `rows_written` in store.json is the commit point."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np

from monosem_jax.activations.rows import DTYPES
from monosem_jax.activations.store.store import FORMAT, checksum, create_array, hash_array, read_manifest
from monosem_jax.activations.stream.order import BLOCK_ROWS
from monosem_jax.runtime.ambient import pool
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.kvstore import Location

PARTS = ".parts/"  # records of buckets on disk that are not committed: their additions to the manifest


def check_sizes(bucket_rows: int, shard_rows: int) -> None:
    """Raises BadInput unless buckets are a whole number of shards, and shards a whole number of blocks."""
    if shard_rows % BLOCK_ROWS or bucket_rows % shard_rows:
        raise BadInput(
            f"harvest.bucket_rows {bucket_rows} must be a multiple of harvest.shard_rows {shard_rows}, "
            f"and that of {BLOCK_ROWS}"
        )


class StoreWriter:
    """Writes buckets, each in whole shards, on its own thread. An unfinished store is resumed after its last commit.

    Process p of N makes the buckets g with g mod N = p. When a bucket's data is on disk, its process writes a record;
    the first process commits buckets in order, so the manifest depends only on the rows. A kill loses at most the
    bucket being filled and the one being written; both are then recomputed with the same bytes.
    """

    def __init__(
        self,
        location: Location,
        manifest: dict[str, Any],
        *,
        shard_rows: int,
        bucket_rows: int,
        process: tuple[int, int] = (0, 1),
        prepare: Callable[[StoreWriter], Any] = lambda writer: None,
        barrier: Callable[[str], Any] = lambda name: None,
    ):
        """`manifest` has the entries that do not depend on the rows: n_rows, width, dtype, site, the parents' hashes.

        Args:
          process: (number of this process, number of processes).
          prepare: writes arrays that must be whole before the first row; called in every process of a new store.
          barrier: waits for the other processes.
        """
        check_sizes(bucket_rows, shard_rows)
        self.location, self.process = location, process
        self._shard_rows, self._bucket_rows = shard_rows, bucket_rows
        zero = {"rows_written": 0, "mean_norm": 0.0, "mean_square": 0.0, "zero_rows": 0}
        self.manifest = {"format": FORMAT, "complete": False, **manifest, **zero}
        fresh = location.read("store.json") is None
        if not fresh:
            self.manifest = read_manifest(location)
            if self.manifest["format"] < FORMAT and not self.manifest["complete"]:
                raise BadInput(
                    f"store {location} was begun by an earlier monosem_jax (format {self.manifest['format']}), which "
                    "drew other random numbers: finish it with that version, or harvest into a new --workdir"
                )
        n, m = manifest["n_rows"], manifest["width"]
        #: (bucket, first row, row after the last) of the buckets that this process has to make, in order.
        self.todo = list(self._missing())
        barrier("store: seen")  # no process changes the store before all have looked at it
        if fresh:  # fails if the storage bucket does not exist; create_array would retry forever
            location.write(f"{PARTS}begun-{process[0]}", b"")
        self._activations = create_array(location, "activations", (n, m), manifest["dtype"], shard_rows)
        self._origin = create_array(location, "origin", (n, 2), "uint32", shard_rows)
        if fresh:
            prepare(self)
            barrier("store: prepared")
            if not process[0]:
                hashes = {name: hash_array(location, name) for name in ("activations", "origin", "tokens")}
                self._save({**self.manifest, "arrays": hashes})
        self._thread = pool(1, "store")
        self._pending: Future | None = None
        self._in_flight: tuple[np.ndarray, np.ndarray] | None = None
        self._turns: list[tuple[np.ndarray, np.ndarray]] = []

    def _missing(self) -> Iterator[tuple[int, int, int]]:
        number, count = self.process
        for g in range(-(-self.manifest["n_rows"] // self._bucket_rows)):
            start = g * self._bucket_rows
            if g % count == number and start >= self.manifest["rows_written"] and self._record(g) is None:
                yield g, start, min(start + self._bucket_rows, self.manifest["n_rows"])

    def buffers(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Where to put the n rows and origins of the next bucket to be written: [n,M] and [n,2].

        Two pairs are used in turn, since fresh memory takes more time than writing does. Stores in memory:// keep the
        arrays, so they get new ones.
        """
        if not self._turns or self.location.spec["driver"] == "memory":
            width, dtype = self.manifest["width"], DTYPES[self.manifest["dtype"]]
            most = min(self._bucket_rows, self.manifest["n_rows"])
            return np.empty((most, width), dtype)[:n], np.empty((most, 2), np.uint32)[:n]
        rows, origin = self._turns.pop(0)
        return rows[:n], origin[:n]

    def write(
        self,
        bucket: int,
        rows: np.ndarray,
        origin: np.ndarray,
        *,
        norm_sum: float,
        square_sum: float,
        zero_rows: int = 0,
    ) -> None:
        """Starts writing a bucket, [n,M] and [n,2] in `buffers`, once the previous one is on disk.

        Args:
          norm_sum: sum of the rows' norms; square_sum: sum of their squared elements; zero_rows: rows of zeros.
        """
        self.wait()
        record = {"rows": len(rows), "norm_sum": norm_sum, "square_sum": square_sum, "zero_rows": zero_rows}
        self._pending = self._thread.submit(self._write, bucket, rows, origin, record)
        if self._in_flight is not None:
            self._turns.append(self._in_flight)  # on disk now
        self._in_flight = (rows, origin)

    def _write(self, bucket: int, rows: np.ndarray, origin: np.ndarray, record: dict[str, Any]) -> None:
        start = bucket * self._bucket_rows
        for a in range(0, len(rows), self._shard_rows):  # a shard at a time, since encoding needs memory
            z = min(a + self._shard_rows, len(rows))
            span = slice(start + a, start + z)
            writes = [
                self._activations[span].write(rows[a:z], can_reference_source_data_indefinitely=True),
                self._origin[span].write(origin[a:z], can_reference_source_data_indefinitely=True),
            ]
            for w in writes:
                w.result()
        self.location.write_json(_part(bucket), record)
        self.commit()

    def commit(self) -> None:
        """Makes the leading buckets that are on disk without a gap visible. Only the first process does this."""
        if self.process[0]:
            return
        manifest = self.manifest
        while manifest["rows_written"] < manifest["n_rows"]:
            record = self._record(manifest["rows_written"] // self._bucket_rows)
            if record is None:
                break
            manifest = _add(manifest, record)
        if manifest is self.manifest:
            return
        self._save(manifest)
        if manifest["complete"]:
            self.location.delete(PARTS)

    def _save(self, manifest: dict[str, Any]) -> None:
        manifest = {**manifest, "checksum": checksum(manifest)}
        self.location.write_json("store.json", manifest)
        self.manifest = manifest

    def wait(self) -> None:
        """Waits until the last bucket is on disk; raises the error if writing it failed."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def finish(self, idle: Callable[[], Any]) -> dict[str, Any]:
        """Waits until all processes' buckets are committed, and returns the manifest; `idle` is called meanwhile."""
        self.wait()
        while not self.manifest["complete"]:
            self.commit()
            if self.process[0]:
                self.manifest = read_manifest(self.location)
            if not self.manifest["complete"]:
                idle()
        if not self.process[0]:
            self.location.delete(PARTS)  # left over from a kill right after the last commit
        return self.manifest

    def close(self) -> None:
        """Ends the thread once it has written the current bucket."""
        self._thread.shutdown()

    def _record(self, bucket: int) -> dict[str, Any] | None:
        content = self.location.read(_part(bucket))  # written as a whole, or not at all
        return None if content is None else json.loads(content)


def _part(bucket: int) -> str:
    return f"{PARTS}{bucket:08d}.json"


def _add(manifest: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    start, n = manifest["rows_written"], record["rows"]
    new = {**manifest, "rows_written": start + n}
    new["mean_norm"] = (manifest["mean_norm"] * start + record["norm_sum"]) / (start + n)
    mean = record["square_sum"] / manifest["width"]
    new["mean_square"] = (manifest["mean_square"] * start + mean) / (start + n)
    if "zero_rows" in manifest:  # an earlier version, which may have begun the store, did not count them
        new["zero_rows"] = manifest["zero_rows"] + record.get("zero_rows", 0)
    new["complete"] = new["rows_written"] == new["n_rows"]
    return new
