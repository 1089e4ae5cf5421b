"""A transformer's activations on its training contexts, or an array of activations → a store."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from monosem_jax.activations.harvest import HarvestConfig, bucket_bytes, check_room, fill, store_bytes
from monosem_jax.activations.producers import ArrayProducer, ModelActivations, RowProducer
from monosem_jax.activations.rows import RowRange
from monosem_jax.activations.sampling import ContextSampler
from monosem_jax.activations.sources.stored import report_missing_rows, report_zero_rows
from monosem_jax.activations.store.foreign import ZarrRows
from monosem_jax.activations.store.store import find_store, open_rows, source_identity
from monosem_jax.activations.store.verify import verify_store
from monosem_jax.models.base import site_widths
from monosem_jax.models.run import open_transformer
from monosem_jax.runtime.config import check_seed, field
from monosem_jax.runtime.edge import stage, stage_anywhere
from monosem_jax.runtime.errors import BadInput, disk_full
from monosem_jax.runtime.files import lock
from monosem_jax.runtime.input_summary import InputSummary, plural
from monosem_jax.runtime.kvstore import Location
from monosem_jax.runtime.locations import Place
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.signals import signal_flag
from monosem_jax.runtime.workdir import RunDir, parent


@dataclasses.dataclass(frozen=True)
class HarvestRunConfig:
    """What is harvested, and where the store goes: activations of a transformer, or an array."""

    seed: int = 0
    """Decides which positions are sampled and how the rows are shuffled."""
    transformer: str = field("", place=Place())
    """Run directory of a finished train_transformer run."""
    harvest: HarvestConfig = HarvestConfig()
    """Which activations."""
    source: str = field("", place=Place(remote=True, tensor=True))
    """An array [n, M] to convert instead, as --from."""
    store: str = field("", place=Place(remote=True))
    """Where the store goes: a path or a URL such as s3://bucket/path; empty: into the run directory."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        self.harvest.check()
        if self.source and self.transformer:
            raise BadInput("config.transformer and config.source (--from) are both given: expected one of them")


@dataclasses.dataclass(frozen=True)
class HarvestJob:
    """The rows to harvest; `manifest` describes where they come from. `tokens` (start, stop) -> the contexts [C,T] that
    rows are taken from, `n_contexts` in all; None for an array. `summary`: what is left out."""

    made: RowProducer
    manifest: dict[str, Any]
    parents: dict[str, Any]
    summary: InputSummary
    tokens: Callable[[int, int], np.ndarray] | None = None
    n_contexts: int = 0


def open_harvest_job(config: HarvestRunConfig) -> HarvestJob:
    """Opens the transformer or the array; raises BadInput on an impossible configuration."""
    config.check()
    h, summary = config.harvest, InputSummary()
    if config.source:
        rows = open_rows(config.source, h.allow_missing_chunks)
        if isinstance(rows, ZarrRows):
            report_missing_rows(summary, config.source, rows)
        if h.n_rows > rows.n_rows:
            raise BadInput(f"harvest.n_rows is {h.n_rows}: {config.source} has {rows.n_rows}")
        _report_rest(summary, h, rows.n_rows, h.n_rows or rows.n_rows)
        rows = RowRange(rows, 0, h.n_rows) if h.n_rows else rows
        parents = {"source": source_identity(config.source)}
        manifest = {
            "site": "",
            "context_length": 0,
            "rows_per_context": 0,
            "model": "",
            "tokenizer_sha256": "",
            "corpus_sha256": parents["source"]["sha256"],
            "input": summary.record(),
        }
        return HarvestJob(ArrayProducer(rows, h.dtype), manifest, parents, summary)
    run = open_transformer(config.transformer)
    contexts = ContextSampler(run.text.tokens("train"), run.text.bos, h.rows_per_context, config.seed)
    n = h.count_contexts(len(contexts))
    contexts.report(summary)
    summary.add("contexts_used", n, f"{n:,} of {plural(contexts.total, 'context')} used")
    _report_rest(summary, h, h.n_rows or n * h.rows_per_context, n * h.rows_per_context)
    made = ModelActivations(
        run.model,
        run.params,
        h.site,
        contexts,
        k=h.rows_per_context,
        n_contexts=n,
        dtype=h.dtype,
        batch_contexts=h.batch_contexts,
    )
    manifest = {
        "site": h.site,
        "context_length": int(contexts.length),
        "rows_per_context": h.rows_per_context,
        "model": (run.summary or {})["params_sha256"],
        "tokenizer_sha256": run.text.manifest["tokenizer_sha256"],
        "corpus_sha256": run.text.manifest["corpus_sha256"],
        "input": summary.record(),
    }
    if len(widths := site_widths(run.model, h.site)) > 1:
        manifest["widths"] = list(widths)
    parents = {"transformer": parent(config.transformer, "summary.json")}
    return HarvestJob(made, manifest, parents, summary, lambda start, stop: contexts.tokens(np.arange(start, stop)), n)


def _report_rest(summary: InputSummary, config: HarvestConfig, wanted: int, taken: int) -> None:
    """Adds to `summary` the rows that n_rows leaves out, at the end of an array or of the last context."""
    rest = wanted - taken
    line = f"{rest:,} of {plural(wanted, 'row')} left out: harvest.n_rows {config.n_rows} takes {taken:,}"
    summary.add("rows_left_out", rest, line)


@stage
def harvest(workdir: str | pathlib.Path, config: HarvestRunConfig) -> dict[str, Any]:
    """Harvests into `workdir`, or resumes there, and returns the summary."""
    begin = time.perf_counter()
    job = open_harvest_job(config)
    identity = dataclasses.replace(config, transformer="", source="")
    with RunDir(workdir, "harvest", identity, job.parents, HarvestRunConfig()) as rundir:
        return rundir.once(lambda: _fill_store(rundir.path, job, config, begin))


def _fill_store(path: pathlib.Path, job: HarvestJob, config: HarvestRunConfig, begin: float) -> dict[str, Any]:
    """Writes the store of a run directory and returns the summary."""
    location = Location(config.store or path)
    job.summary.tell()
    with lock_store(location, path), signal_flag() as stop, progress(0, "harvest", "rows") as bar:
        done = fill(
            location, job.made, job.manifest, config=config.harvest, seed=config.seed,
            stop=stop, tokens=job.tokens, n_contexts=job.n_contexts,
            advance=bar.update, total=lambda n: bar.reset(total=n),
        )  # fmt: skip
    seconds = time.perf_counter() - begin
    if zero := done.get("zero_rows", 0):
        report_zero_rows(job.summary, str(location), zero, done["n_rows"])
        job.summary.tell()
    summary = {k: done[k] for k in ("n_rows", "width", "site", "mean_norm", "mean_square")}
    summary |= {"zero_rows": done["zero_rows"]} if "zero_rows" in done else {}
    summary["skipped_nonfinite"] = job.made.n_rows - done["n_rows"]
    return {**summary, "rows_per_second": done["n_rows"] / seconds, "wall_seconds": seconds}


def lock_store(location: Location, path: pathlib.Path) -> contextlib.AbstractContextManager:
    """The lock of a store that lies outside its run directory `path`; a store behind a URL has none.

    Raises BadInput when another run holds it, or it cannot be made.
    """
    if location.local is None or location.local == path:
        return contextlib.nullcontext()
    try:
        location.local.mkdir(parents=True, exist_ok=True)
        return lock(location.local, "store")
    except OSError as e:
        if disk_full(e):
            raise
        raise BadInput(f"config.store {location} cannot be written: {e.strerror}") from None


@stage
def dry_run(workdir: str | pathlib.Path, config: HarvestRunConfig) -> dict[str, Any]:
    """Prints the resources that a harvest would need, and returns them; raises BadInput when the disk is too small."""
    job = open_harvest_job(config)
    made, h = job.made, config.harvest
    location = Location(config.store or workdir)
    bucket, shard = h.buckets(made.n_rows, made.width)
    size = store_bytes(made.n_rows, made.width, h.dtype, job.n_contexts, job.manifest["context_length"])
    shards = -(-made.n_rows // shard)
    job.summary.tell()
    rate = measure_rate(made) * jax.process_count()
    found = {
        "rows": made.n_rows, "width": made.width, "dtype": h.dtype, "contexts": job.n_contexts, "bytes": size,
        "files": 2 * shards + 3 + -(-job.n_contexts // 16_384) + bool(job.n_contexts), "bucket_rows": bucket,
        "memory_bytes": 2 * bucket_bytes(min(bucket, made.n_rows), made.width, h.dtype),
        "free_bytes": location.free_bytes(), "rows_per_second": rate, "seconds": made.n_rows / rate,
    }  # fmt: skip
    free = found["free_bytes"]
    print(f"store    {location}\nrows     {made.n_rows:,} of width {made.width}, {h.dtype}")
    print(f"contexts {job.n_contexts:,} of {job.summary.record().get('contexts', 0):,}")
    print(f"buckets  {-(-made.n_rows // bucket):,} of {bucket:,} rows, permuted each")
    print(f"disk     {size / 1e9:.4g} GB in about {found['files']:,} files; free: ", end="")
    print("not known" if free is None else f"{free / 1e9:.4g} GB")
    print(f"memory   {found['memory_bytes'] / 1e9:.3g} GB for buckets, in each process")
    print(f"time     {found['seconds']:.3g} s at {rate:,.0f} rows/s, measured here on a few batches without writing")
    check_room(location, size)
    return found


def measure_rate(made: RowProducer, seconds: float = 3.0) -> float:
    """Rows made per second on this machine, without compilation time."""
    next(made.batches(0, made.n_rows))
    begin, rows = time.perf_counter(), 0
    for _, values, _ in made.batches(0, made.n_rows):
        rows += len(values)
        if time.perf_counter() - begin > seconds:
            break
    return rows / (time.perf_counter() - begin)


@stage_anywhere
def verify(workdir: str, config: HarvestRunConfig) -> dict[str, Any]:
    """Reads a whole store back and prints what is damaged; raises BadInput when anything is."""
    location = find_store(workdir) or Location(config.store or workdir)
    with progress(0, "verify", "rows") as bar:
        damages, checked = verify_store(location, total=lambda n: bar.reset(total=n), advance=bar.update)
    for line in damages:
        print(f"damaged: {line}", file=sys.stderr)
    if damages:
        raise BadInput(f"{location}: {len(damages)} damaged, listed above")
    print(f"{location}: {checked:,} committed rows are whole")
    return {"rows": checked, "damages": damages}
