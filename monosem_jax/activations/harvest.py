"""Writes rows made on demand to a store, decorrelated at write time.

Rows are permuted within buckets of consecutive rows. So the rows of one context are spread over their bucket, and any
process can recompute a bucket by itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from monosem_jax.activations.buckets import fill_bucket, skip_nonfinite, whole_units, write_tokens
from monosem_jax.activations.producers import RowProducer
from monosem_jax.activations.rows import DTYPES
from monosem_jax.activations.store.store import SITES_APART, read_manifest
from monosem_jax.activations.store.writer import StoreWriter, check_sizes
from monosem_jax.activations.stream.order import BLOCK_ROWS
from monosem_jax.models.base import SITES_BETWEEN, named_site
from monosem_jax.runtime.config import difference, field
from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.runtime.kvstore import Location
from monosem_jax.runtime.processes import barrier
from monosem_jax.runtime.signals import SignalFlag

EACH_LAYER = "*"  # in the place of a layer: all of them
COMPUTE_DTYPES = ("float32", "bfloat16")
LEAST_BUCKET = 1_000_000  # rows; in smaller buckets the rows of a context stay near each other (Gemma Scope's size)


@dataclasses.dataclass(frozen=True)
class HarvestConfig:
    """Which activations are harvested, and how they are shuffled: rows are permuted within buckets, and two buckets are
    in memory at a time."""

    site: str = "mlp_hidden.0"
    """Where the model is read, such as mlp_hidden.0. Sites with "," between get a store each, WORKDIR/SITE, from one
    pass over the text ("mlp_out.*": that of every layer); with "+" between they are side by side in one store."""
    rows_per_context: int = 250
    """Positions sampled from each context (the paper: 250)."""
    n_rows: int = 0
    """Rows to harvest; 0: all there are."""
    dtype: str = "bfloat16"
    """Type of the stored rows: bfloat16, float32 or float16."""
    compute_dtype: str = "float32"
    """Type of the numbers that the model multiplies: float32 or bfloat16. Sums are float32."""
    batch_contexts: int = 64
    """Contexts per forward pass."""
    model_parallel: int = field(1, identity=False, at_least=1)
    """Devices of this process over which a model is divided that does not fit one; 1: every device has all of it."""
    memory_gb: float = 4.0
    """Memory for the buckets of all stores together, in GB, when bucket_rows is 0."""
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
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise BadInput(f"harvest.compute_dtype is {self.compute_dtype!r}: expected {', '.join(COMPUTE_DTYPES)}")
        self.sites_in(1)
        if not 0 < self.memory_gb < math.inf:
            raise BadInput(f"harvest.memory_gb is {self.memory_gb}: expected a positive number")

    def sites_in(self, n_layers: int) -> tuple[str, ...]:
        """The site of every store, in a model of `n_layers`; raises BadInput on an impossible list of sites."""
        names = [name.strip() for name in self.site.split(SITES_APART)]
        layers = [range(n_layers) if EACH_LAYER in name else range(1) for name in names]
        each = zip(names, layers, strict=True)
        sites = [named_site(name.replace(EACH_LAYER, str(layer))) for name, several in each for layer in several]
        if len(sites) > 1 and SITES_BETWEEN in self.site:
            raise BadInput(
                f"harvest.site is {self.site!r}: expected either {SITES_APART!r} (a store for each site) or "
                f"{SITES_BETWEEN!r} (sites side by side in one store) between the sites, not both"
            )
        twice = [name for name in sites if sites.count(name) > 1]
        if twice or (len(sites) > 1 and "" in sites):
            told = "has a site without a name" if "" in sites else f"has {twice[0]!r} twice"
            raise BadInput(f"harvest.site {self.site!r} {told}: expected different sites with commas between")
        return tuple(sites)

    def buckets(self, n_rows: int, *widths: int) -> tuple[int, int]:
        """(rows per bucket, rows per shard) of stores whose rows have these widths: the same in all.

        Raises BadInput when memory allows only small buckets, or a bucket is not a whole number of shards and blocks.
        """
        bucket, shard = self._buckets(n_rows, *widths)
        check_sizes(bucket, shard)
        return bucket, shard

    def _buckets(self, n_rows: int, *widths: int) -> tuple[int, int]:
        if self.bucket_rows:
            return self.bucket_rows, min(self.shard_rows, self.bucket_rows)
        row = sum(bucket_bytes(1, width, self.dtype) for width in widths)
        shard = min(self.shard_rows, whole_units(n_rows, BLOCK_ROWS))
        rows = int((self.memory_gb * 1e9 - 4 * shard * row) // (2 * row)) // shard * shard
        if rows >= n_rows:
            return whole_units(n_rows, shard), shard
        least = min(LEAST_BUCKET, n_rows)
        if rows < least:
            needed = math.ceil((2 * whole_units(least, shard) + 4 * shard) * row / 1e7) / 100
            raise BadInput(
                f"harvest.memory_gb {self.memory_gb} holds buckets of {max(rows, 0)} rows of width "
                f"{'+'.join(map(str, widths))}: at least "
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


def fill(location: Location, made: RowProducer, manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
    """`fill_stores` of a single store: fills the one at `location` and returns its manifest."""
    return fill_stores([(location, manifest)], made, **options)[0]


def fill_stores(
    outputs: Sequence[tuple[Location, dict[str, Any]]],
    made: RowProducer,
    *,
    config: HarvestConfig,
    seed: int,
    stop: SignalFlag,
    tokens: Callable[[int, int], np.ndarray] | None = None,
    n_contexts: int = 0,
    total: Callable[[int], Any] = lambda n: None,
    advance: Callable[[int], Any] = lambda n: None,
) -> list[dict[str, Any]]:
    """Fills aligned stores, one for each part of the rows, each after its last commit; returns their manifests.

    Row i of all stores is of the same token: they have the same buckets, and a bucket has one permutation.

    Args:
      outputs: (location, the manifest's entries about the parents: site, context_length, model, tokenizer_sha256,
        corpus_sha256, …) of each store.
      tokens: (start, stop) -> the harvested contexts [C,T], n_contexts in all; None for rows without contexts. Every
        store has them, so that each can be moved and read without the others.
      total: called once with the number of rows to write.
      advance: called with numbers of finished rows, first with those of earlier runs.

    Raises Stopped at the next commit after a signal, BadInput on an impossible configuration, rows that are not finite,
    a disk that cannot hold the stores, or a different store at one of the locations.
    """
    config.check()
    process = (jax.process_index(), jax.process_count())
    config.buckets(made.n_rows, *made.widths)  # refuses impossible sizes before all rows are read
    if config.skip_nonfinite:
        made = skip_nonfinite(outputs[0][0], made, process, stop)
    bucket_rows, shard_rows = config.buckets(made.n_rows, *made.widths)
    own = [
        {
            "n_rows": made.n_rows,
            "width": width,
            "dtype": config.dtype,
            **given,
            "seed": seed,
            "bucket_rows": bucket_rows,
        }
        for width, (_, given) in zip(made.widths, outputs, strict=True)
    ]
    length = own[0]["context_length"]
    for (location, _), manifest in zip(outputs, own, strict=True):
        refuse_other(location, manifest)
    locations = [location for location, _ in outputs]
    check_room(locations, [store_bytes(made.n_rows, width, config.dtype, n_contexts, length) for width in made.widths])

    def prepare(writer: StoreWriter) -> None:
        if tokens is not None:
            write_tokens(writer, tokens, n_contexts, length)

    with contextlib.ExitStack() as stack:
        writers: list[StoreWriter] = []
        for location, manifest in zip(locations, own, strict=True):
            sizes = (shard_rows, bucket_rows)
            writers.append(_open_writer(location, manifest, sizes, process, prepare))
            stack.callback(writers[-1].close)
        barrier("harvest: begun")  # from here on every process finds store.json
        _fill_buckets(writers, made, seed, stop, total, advance, process[1] == 1)

        def wait() -> None:
            time.sleep(0.1)
            stop.check()

        return [writer.finish(wait) for writer in writers]


def _open_writer(
    location: Location,
    manifest: dict[str, Any],
    sizes: tuple[int, int],
    process: tuple[int, int],
    prepare: Callable[[StoreWriter], Any],
) -> StoreWriter:
    shard, bucket = sizes
    return StoreWriter(
        location, manifest, shard_rows=shard, bucket_rows=bucket, process=process, prepare=prepare, barrier=barrier
    )


def _fill_buckets(
    writers: Sequence[StoreWriter],
    made: RowProducer,
    seed: int,
    stop: SignalFlag,
    total: Callable[[int], Any],
    advance: Callable[[int], Any],
    alone: bool,
) -> None:
    """Makes every bucket that a store lacks, once for all stores that lack it. `alone`: there is one process."""
    missing: dict[tuple[int, int, int], list[int]] = {}
    for part, writer in enumerate(writers):
        for lacks in writer.todo:
            missing.setdefault(lacks, []).append(part)
    mine = sum(z - a for _, a, z in missing)
    done = made.n_rows - mine if alone else 0
    total(mine + done)
    advance(done)
    for (bucket, start, end), parts in sorted(missing.items()):
        if stop.requested:
            for writer in writers:
                writer.wait()
            stop.check()
        buffers = {part: writers[part].buffers(end - start) for part in parts}
        names = [writer.manifest["site"] for writer in writers]
        sums = fill_bucket(made, bucket, start, buffers, seed, advance, names)
        for part, (rows, origin) in buffers.items():
            writers[part].write(bucket, rows, origin, **sums[part])


def bucket_bytes(n_rows: int, width: int, dtype: str) -> int:
    """Memory of a bucket: its rows, their origins and sums of squares."""
    return n_rows * (width * np.dtype(DTYPES[dtype]).itemsize + 8 + 8)


def store_bytes(n_rows: int, width: int, dtype: str, n_contexts: int, length: int) -> int:
    """The size of a store on disk, without its indices and manifests: every array in whole blocks."""
    row = width * np.dtype(DTYPES[dtype]).itemsize + 8
    return whole_units(n_rows, BLOCK_ROWS) * row + whole_units(n_contexts, BLOCK_ROWS) * length * 4


def refuse_other(location: Location, manifest: dict[str, Any]) -> None:
    """Raises BadInput when the store at `location` is not the one that `manifest` describes."""
    if location.read("store.json") is None:
        return
    old = read_manifest(location)
    told = manifest.keys() - {"input"}  # counts of the rows, which follow from the rest
    changes = difference({k: old.get(k) for k in told}, {k: manifest[k] for k in told}, prefix="store.json")
    if changes:
        raise BadInput(f"{location} holds another store ({'; '.join(changes)})")


def check_room(locations: Sequence[Location], sizes: Sequence[int]) -> None:
    """Raises BadInput when the disk cannot hold the missing part of stores of `sizes` bytes that lie side by side."""
    free = locations[0].free_bytes()
    if free is None or any(location.local is None for location in locations):
        return
    arrays = (pathlib.Path(str(p.local)) / name for p in locations for name in ("activations", "origin", "tokens"))
    more = sum(sizes) - sum(p.stat().st_size for a in arrays for p in a.rglob("*") if p.is_file())
    if more > free:
        what = "the store takes" if len(locations) == 1 else f"the {len(locations)} stores take"
        raise BadInput(f"{what} {more / 1e9:.4g} GB more, but the disk of {locations[0]} has {free / 1e9:.4g} GB")
