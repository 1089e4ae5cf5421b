"""Writes rows made on demand to a store, decorrelated at write time.

Rows are permuted within buckets of consecutive rows. So the rows of one context are spread over their bucket, and any
process can recompute a bucket by itself.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from monosem_jax.activations.producers import DropRows, RowProducer
from monosem_jax.activations.rows import DTYPES, as_integers
from monosem_jax.activations.store.store import create_array, read_manifest
from monosem_jax.activations.store.writer import PARTS, StoreWriter, check_sizes
from monosem_jax.activations.stream.order import BLOCK_ROWS
from monosem_jax.runtime.config import difference, field
from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.runtime.kvstore import Location
from monosem_jax.runtime.processes import barrier
from monosem_jax.runtime.progress import SHORT, progress
from monosem_jax.runtime.rng import stream
from monosem_jax.runtime.signals import SignalFlag

LEAST_BUCKET = 1_000_000  # rows; in smaller buckets the rows of a context stay near each other (Gemma Scope's size)


@dataclasses.dataclass(frozen=True)
class HarvestConfig:
    """Which activations are harvested, and how they are shuffled: rows are permuted within buckets, and two buckets are
    in memory at a time."""

    site: str = "mlp_hidden.0"
    """Where the model is read, such as mlp_hidden.0; several sites side by side with "+"."""
    rows_per_context: int = 250
    """Positions sampled from each context (the paper: 250)."""
    n_rows: int = 0
    """Rows to harvest; 0: all there are."""
    dtype: str = "bfloat16"
    """Type of the stored rows: bfloat16, float32 or float16."""
    batch_contexts: int = 64
    """Contexts per forward pass."""
    memory_gb: float = 4.0
    """Memory for buckets, in GB, when bucket_rows is 0."""
    bucket_rows: int = 0
    """Rows of a bucket; 0: the whole store if it fits into memory_gb, else as many as fit, at least a million."""
    shard_rows: int = 1 << 16
    """Rows per file of the store."""
    skip_nonfinite: bool = False
    """Leave out rows with NaN or infinity; otherwise such a row is an error."""
    allow_missing_chunks: bool = field(False, identity=False)
    """Read rows of a zarr array whose chunks do not exist as the fill value; otherwise such an array is refused."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_counts(self, "harvest.", "rows_per_context", "batch_contexts", "shard_rows")
        if self.bucket_rows < 0 or self.n_rows < 0:
            raise BadInput(f"harvest: bucket_rows {self.bucket_rows} and n_rows {self.n_rows} must not be negative")
        if self.dtype not in DTYPES:
            raise BadInput(f"harvest.dtype is {self.dtype!r}: expected {', '.join(DTYPES)}")
        if not 0 < self.memory_gb < math.inf:
            raise BadInput(f"harvest.memory_gb is {self.memory_gb}: expected a positive number")

    def buckets(self, n_rows: int, width: int) -> tuple[int, int]:
        """(rows per bucket, rows per shard).

        Raises BadInput when memory allows only small buckets, or a bucket is not a whole number of shards and blocks.
        """
        bucket, shard = self._buckets(n_rows, width)
        check_sizes(bucket, shard)
        return bucket, shard

    def _buckets(self, n_rows: int, width: int) -> tuple[int, int]:
        if self.bucket_rows:
            return self.bucket_rows, min(self.shard_rows, self.bucket_rows)
        row = bucket_bytes(1, width, self.dtype)
        shard = min(self.shard_rows, _up(n_rows, BLOCK_ROWS))
        rows = int((self.memory_gb * 1e9 - 4 * shard * row) // (2 * row)) // shard * shard
        if rows >= n_rows:
            return _up(n_rows, shard), shard
        least = min(LEAST_BUCKET, n_rows)
        if rows < least:
            needed = math.ceil((2 * _up(least, shard) + 4 * shard) * row / 1e7) / 100
            raise BadInput(
                f"harvest.memory_gb {self.memory_gb} holds buckets of {max(rows, 0)} rows of width {width}: at least "
                f"{least} are needed to mix rows, which take {needed} GB (or give bucket_rows)"
            )
        return rows, shard

    def count_contexts(self, usable: int) -> int:
        """The number of contexts to harvest; raises BadInput when the `usable` contexts cannot give n_rows."""
        k = self.rows_per_context
        wanted = self.n_rows // k if self.n_rows else usable
        if not 1 <= wanted <= usable:
            raise BadInput(
                f"harvest.n_rows is {self.n_rows}: expected {k} to {usable * k}, that is rows_per_context {k} from "
                f"each of {usable} usable contexts"
            )
        return wanted


def fill(
    location: Location,
    made: RowProducer,
    manifest: dict[str, Any],
    *,
    config: HarvestConfig,
    seed: int,
    stop: SignalFlag,
    tokens: Callable[[int, int], np.ndarray] | None = None,
    n_contexts: int = 0,
    total: Callable[[int], Any] = lambda n: None,
    advance: Callable[[int], Any] = lambda n: None,
) -> dict[str, Any]:
    """Fills the store at `location`, resuming after its last commit, and returns its manifest.

    Args:
      manifest: its entries about the parents: site, context_length, model, tokenizer_sha256, corpus_sha256, ….
      tokens: (start, stop) -> the harvested contexts [C,T], n_contexts in all; None for rows without contexts.
      total: called once with the number of rows to write.
      advance: called with numbers of finished rows, first with those of earlier runs.

    Raises Stopped at the next commit after a signal, BadInput on an impossible configuration, rows that are not finite,
    a disk that cannot hold the store, or a different store at `location`.
    """
    config.check()
    process = (jax.process_index(), jax.process_count())
    config.buckets(made.n_rows, made.width)  # refuses impossible sizes before all rows are read
    if config.skip_nonfinite:
        made = skip_nonfinite(location, made, process, stop)
    bucket_rows, shard_rows = config.buckets(made.n_rows, made.width)
    manifest = {"n_rows": made.n_rows, "width": made.width, "dtype": config.dtype, **manifest, "seed": seed}
    manifest["bucket_rows"] = bucket_rows
    length = manifest["context_length"]
    refuse_other(location, manifest)
    check_room(location, store_bytes(made.n_rows, made.width, config.dtype, n_contexts, length))

    def prepare(writer: StoreWriter) -> None:
        if tokens is not None:
            write_tokens(writer, tokens, n_contexts, length)

    writer = StoreWriter(
        location,
        manifest,
        shard_rows=shard_rows,
        bucket_rows=bucket_rows,
        process=process,
        prepare=prepare,
        barrier=barrier,
    )
    barrier("harvest: begun")  # from here on every process finds store.json
    try:
        mine = sum(z - a for _, a, z in writer.todo)
        done = made.n_rows - mine if process[1] == 1 else 0
        total(mine + done)
        advance(done)
        for bucket, start, end in writer.todo:
            if stop.requested:
                writer.wait()
                stop.check()
            rows, origin = writer.buffers(end - start)
            sums = fill_bucket(made, bucket, start, rows, origin, seed, advance, manifest["site"])
            writer.write(bucket, rows, origin, **sums)

        def wait() -> None:
            time.sleep(0.1)
            stop.check()

        return writer.finish(wait)
    finally:
        writer.close()


def fill_bucket(
    made: RowProducer, bucket: int, start: int, rows: np.ndarray, origin: np.ndarray, seed: int, advance: Any, what: str
) -> dict[str, Any]:
    """Writes the permuted rows [n,M] and origins [n,2] of a bucket into the given arrays; returns the bucket's sums and
    counts for the manifest. `what` names the site in messages."""
    end = start + len(rows)
    where = stream("harvest.bucket", seed, bucket).permutation(end - start)
    squares = np.empty(end - start, np.float64)
    for first, values, square in made.batches(start, end):
        at = where[first - start : first - start + len(values)]
        as_integers(rows)[at] = as_integers(values)
        squares[at], origin[at] = square, made.origin(first, first + len(values))
        advance(len(values))
    bad = np.flatnonzero(~np.isfinite(squares[where]))
    if len(bad):
        raise BadInput(
            f"activations{what and f' at {what}'} are not finite: {len(bad)} of rows {start} to {end - 1}, first at "
            f"{made.place(origin[where[bad[0]]])} (in a fresh --workdir, --skip_nonfinite leaves them out)"
        )
    small = rows[squares == 0]  # the squares of small numbers vanish in fp32
    zero = int(np.count_nonzero(~(small != 0).any(axis=1)))
    return {"norm_sum": float(np.sqrt(squares).sum()), "square_sum": float(squares.sum()), "zero_rows": zero}


def skip_nonfinite(location: Location, made: RowProducer, process: tuple[int, int], stop: SignalFlag) -> RowProducer:
    """The producer without the rows that are not finite. To find them, each process makes its share of rows once."""
    number, count = process
    low, high = number * made.n_rows // count, (number + 1) * made.n_rows // count
    found = [np.zeros(0, np.int64)]
    with progress(high - low, "check", "rows", delay=SHORT) as bar:
        for first, _, squares in made.batches(low, high) if low < high else ():
            found.append(first + np.flatnonzero(~np.isfinite(squares)))
            bar.update(len(squares))
            stop.check()
    left_out = np.concatenate(found)
    if count > 1:
        location.write(f"{PARTS}nonfinite-{number}-of-{count}", left_out.astype("<i8").tobytes())
        barrier("harvest: looked for rows that are not finite")
        parts = [location.read(f"{PARTS}nonfinite-{p}-of-{count}") or b"" for p in range(count)]
        left_out = np.frombuffer(b"".join(parts), "<i8")
    if len(left_out) == made.n_rows:
        raise BadInput(f"all {made.n_rows} rows are not finite: nothing is left to harvest")
    if len(left_out) and not number:
        g = int(left_out[0])
        print(f"{len(left_out)} rows are not finite, first at {made.place(made.origin(g, g + 1)[0])}: left out")
    return DropRows(made, left_out) if len(left_out) else made


def write_tokens(writer: StoreWriter, tokens: Callable[[int, int], np.ndarray], n: int, length: int) -> None:
    """Writes the harvested contexts, a shard at a time; each process writes its share."""
    shard = min(_up(n, BLOCK_ROWS), 16 * BLOCK_ROWS)
    array = create_array(writer.location, "tokens", (n, length), "int32", shard)
    for i, a in enumerate(range(0, n, shard)):
        if i % writer.process[1] == writer.process[0]:
            array[a : min(a + shard, n)].write(tokens(a, min(a + shard, n)).astype(np.int32)).result()


def bucket_bytes(n_rows: int, width: int, dtype: str) -> int:
    """Memory of a bucket: its rows, their origins and sums of squares."""
    return n_rows * (width * np.dtype(DTYPES[dtype]).itemsize + 8 + 8)


def store_bytes(n_rows: int, width: int, dtype: str, n_contexts: int, length: int) -> int:
    """The size of a store on disk, without its indices and manifests: every array in whole blocks."""
    row = width * np.dtype(DTYPES[dtype]).itemsize + 8
    return _up(n_rows, BLOCK_ROWS) * row + _up(n_contexts, BLOCK_ROWS) * length * 4


def refuse_other(location: Location, manifest: dict[str, Any]) -> None:
    """Raises BadInput when the store at `location` is not the one that `manifest` describes."""
    if location.read("store.json") is None:
        return
    old = read_manifest(location)
    told = manifest.keys() - {"input"}  # counts of the rows, which follow from the rest
    changes = difference({k: old.get(k) for k in told}, {k: manifest[k] for k in told}, prefix="store.json")
    if changes:
        raise BadInput(f"{location} holds another store ({'; '.join(changes)})")


def check_room(location: Location, size: int) -> None:
    """Raises BadInput when the disk cannot hold the missing part of a store of `size` bytes."""
    free = location.free_bytes()
    if free is None or location.local is None:
        return
    arrays = (location.local / name for name in ("activations", "origin", "tokens"))
    more = size - sum(p.stat().st_size for a in arrays for p in a.rglob("*") if p.is_file())
    if more > free:
        raise BadInput(f"the store takes {more / 1e9:.4g} GB more, but the disk of {location} has {free / 1e9:.4g} GB")


def _up(n: int, unit: int) -> int:
    return -(-n // unit) * unit
