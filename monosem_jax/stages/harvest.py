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
import jax.numpy as jnp
import numpy as np

from monosem_jax.activations.harvest import HarvestConfig, bucket_bytes, check_room, fill_stores, store_bytes
from monosem_jax.activations.producers import ArrayProducer, ModelActivations, RowProducer
from monosem_jax.activations.rows import RowRange
from monosem_jax.activations.sampling import ContextSampler
from monosem_jax.activations.sources.stored import report_missing_rows, report_zero_rows
from monosem_jax.activations.store.foreign import ZarrRows
from monosem_jax.activations.store.store import SITES_APART, find_store, find_stores, open_rows, source_identity
from monosem_jax.activations.store.verify import verify_store
from monosem_jax.models.base import SITES_BETWEEN, LanguageModel, site_widths
from monosem_jax.models.pretrained import MODEL
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
from monosem_jax.stages.adopted import adopted
from monosem_jax.text.corpus import EMBEDDED


@dataclasses.dataclass(frozen=True)
class HarvestRunConfig:
    """What is harvested, and where the store goes: activations of a transformer, or an array."""

    seed: int = 0
    """Decides which positions are sampled and how the rows are shuffled."""
    transformer: str = field("", place=MODEL)
    """Run directory of a finished train_transformer or import_model run, or a pretrained model."""
    harvest: HarvestConfig = HarvestConfig()
    """Which activations."""
    source: str = field("", place=Place(remote=True, tensor=True))
    """An array [n, M] to convert instead, as --from."""
    store: str = field("", place=Place(remote=True))
    """Where the store goes: a path or a URL such as s3://bucket/path; empty: into the run directory."""
    model_text: str = field(EMBEDDED, identity=False, place=Place(words=(EMBEDDED,)))
    """With a pretrained model as transformer: the text that it reads, as text.corpus of import_model."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        self.harvest.check()
        if self.source and self.transformer:
            raise BadInput("config.transformer and config.source (--from) are both given: expected one of them")


@dataclasses.dataclass(frozen=True)
class HarvestJob:
    """The rows to harvest. `manifests` describe where they come from: "" -> that of a single store, or site -> that of
    each of several. `tokens` (start, stop) -> the contexts [C,T] that rows are taken from, `n_contexts` in all; None
    for an array. `summary`: what is left out. `sites`: HarvestConfig.site with the names of all sites."""

    made: RowProducer
    manifests: dict[str, dict[str, Any]]
    parents: dict[str, Any]
    summary: InputSummary
    tokens: Callable[[int, int], np.ndarray] | None = None
    n_contexts: int = 0
    sites: str = ""

    def places(self, path: str | pathlib.Path, store: str) -> dict[str, Location]:
        """Where each store goes: to `store` or, if that is "", into the run directory `path`."""
        root = Location(store or path)
        return {site: root.inside(site) if site else root for site in self.manifests}


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
        return HarvestJob(ArrayProducer(rows, h.dtype), {"": manifest}, parents, summary)
    run = open_transformer(config.transformer)
    sites = h.sites_in(run.model.config.n_layers)
    contexts = ContextSampler(run.text.tokens("train"), run.text.bos, h.rows_per_context, config.seed)
    n = h.count_contexts(len(contexts))
    contexts.report(summary)
    summary.add("contexts_used", n, f"{n:,} of {plural(contexts.total, 'context')} used")
    _report_rest(summary, h, h.n_rows or n * h.rows_per_context, n * h.rows_per_context)
    made = ModelActivations(
        run.model.clone(dtype=jnp.dtype(h.compute_dtype)),
        run.weights,
        SITES_BETWEEN.join(sites),
        contexts,
        k=h.rows_per_context,
        n_contexts=n,
        dtype=h.dtype,
        batch_contexts=h.batch_contexts,
        apart=len(sites) > 1,
        model_parallel=h.model_parallel,
    )
    shared = {
        "context_length": int(contexts.length),
        "rows_per_context": h.rows_per_context,
        "model": (run.summary or {})["params_sha256"],
        "tokenizer_sha256": run.text.manifest["tokenizer_sha256"],
        "corpus_sha256": run.text.manifest["corpus_sha256"],
        "input": summary.record(),
    }
    if h.compute_dtype != "float32":
        shared["compute_dtype"] = h.compute_dtype
    manifests = {site: {"site": site, **shared, **_widths(run.model, site)} for site in sites}
    if len(manifests) == 1:
        manifests = {"": manifests[sites[0]]}
    parents = {"transformer": parent(config.transformer, "summary.json")}
    tokens: Callable[[int, int], np.ndarray] = lambda start, stop: contexts.tokens(np.arange(start, stop))  # noqa: E731
    return HarvestJob(made, manifests, parents, summary, tokens, n, SITES_APART.join(sites))


def _widths(model: LanguageModel, site: str) -> dict[str, Any]:
    """The entry of a manifest that says how wide the sites are that lie side by side in a store."""
    widths = site_widths(model, site)
    return {"widths": list(widths)} if len(widths) > 1 else {}


def _report_rest(summary: InputSummary, config: HarvestConfig, wanted: int, taken: int) -> None:
    """Adds to `summary` the rows that n_rows leaves out, at the end of an array or of the last context."""
    rest = wanted - taken
    line = f"{rest:,} of {plural(wanted, 'row')} left out: harvest.n_rows {config.n_rows} takes {taken:,}"
    summary.add("rows_left_out", rest, line)


@stage
def harvest(workdir: str | pathlib.Path, config: HarvestRunConfig) -> dict[str, Any]:
    """Harvests into `workdir`, or resumes there, and returns the summary."""
    begin = time.perf_counter()
    config.check()
    config = adopted(config, workdir, config.seed)
    job = open_harvest_job(config)
    own = dataclasses.replace(config.harvest, site=job.sites or config.harvest.site)
    identity = dataclasses.replace(config, transformer="", source="", harvest=own)
    with RunDir(workdir, "harvest", identity, job.parents, HarvestRunConfig()) as rundir:
        return rundir.once(lambda: _fill_store(rundir.path, job, config, begin))


def _fill_store(path: pathlib.Path, job: HarvestJob, config: HarvestRunConfig, begin: float) -> dict[str, Any]:
    """Writes the store of a run directory, or one for each site, and returns the summary."""
    places = job.places(path, config.store)
    job.summary.tell()
    with contextlib.ExitStack() as stack:
        members = {site: stack.enter_context(_open_member(path, site, job, config)) for site in places if site}
        for site, location in places.items():
            stack.enter_context(lock_store(location, path / site))
        stop = stack.enter_context(signal_flag())
        with progress(0, "harvest", "rows") as bar:
            manifests = fill_stores(
                [(location, job.manifests[site]) for site, location in places.items()], job.made,
                config=config.harvest, seed=config.seed, stop=stop, tokens=job.tokens, n_contexts=job.n_contexts,
                advance=bar.update, total=lambda n: bar.reset(total=n),
            )  # fmt: skip
        seconds = time.perf_counter() - begin
        found = {
            site: _summarize(str(places[site]), done, job, seconds, f"{site}." if site else "")
            for site, done in zip(places, manifests, strict=True)
        }
        job.summary.tell()
        for site, member in members.items():
            if not member.finished:
                member.finish(found[site])
    if not members:
        return found[""]
    rates = ("n_rows", "skipped_nonfinite", "rows_per_second", "wall_seconds")
    return {"sites": found, **{key: found[next(iter(found))][key] for key in rates}}


def _open_member(path: pathlib.Path, site: str, job: HarvestJob, config: HarvestRunConfig) -> RunDir:
    """The run directory of one of several sites: that of a harvest of this site alone with the same buckets."""
    bucket, shard = config.harvest.buckets(job.made.n_rows, *job.made.widths)
    own = dataclasses.replace(config.harvest, site=site, bucket_rows=bucket, shard_rows=shard)
    store = str(Location(config.store).inside(site)) if config.store else ""
    identity = dataclasses.replace(config, transformer="", source="", harvest=own, store=store)
    return RunDir(path / site, "harvest", identity, job.parents, HarvestRunConfig())


def _summarize(name: str, done: dict[str, Any], job: HarvestJob, seconds: float, before: str) -> dict[str, Any]:
    """The summary of a store with the manifest `done`. Adds its rows of zeros to what is told of the input."""
    if zero := done.get("zero_rows", 0):
        report_zero_rows(job.summary, name, zero, done["n_rows"], before=before)
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
    places = list(job.places(workdir, config.store).values())
    bucket, shard = h.buckets(made.n_rows, *made.widths)
    length = next(iter(job.manifests.values()))["context_length"]
    sizes = [store_bytes(made.n_rows, width, h.dtype, job.n_contexts, length) for width in made.widths]
    files = 2 * -(-made.n_rows // shard) + 3 + -(-job.n_contexts // 16_384) + bool(job.n_contexts)
    job.summary.tell()
    rate = measure_rate(made) * jax.process_count()
    memory = sum(bucket_bytes(min(bucket, made.n_rows), width, h.dtype) for width in made.widths)
    found = {
        "rows": made.n_rows, "width": made.width, "dtype": h.dtype, "contexts": job.n_contexts, "bytes": sum(sizes),
        "files": files * len(places), "bucket_rows": bucket, "memory_bytes": 2 * memory,
        "free_bytes": places[0].free_bytes(), "rows_per_second": rate, "seconds": made.n_rows / rate,
    }  # fmt: skip
    if len(places) > 1:
        found["sites"] = dict(zip(job.manifests, made.widths, strict=True))
    free = found["free_bytes"]
    print("\n".join(f"store    {place}" for place in places))
    each = "" if len(places) == 1 else f" in all, in {len(places)} stores ({'+'.join(map(str, made.widths))})"
    print(f"rows     {made.n_rows:,} of width {made.width}{each}, {h.dtype}")
    print(f"contexts {job.n_contexts:,} of {job.summary.record().get('contexts', 0):,}")
    print(f"buckets  {-(-made.n_rows // bucket):,} of {bucket:,} rows, permuted each")
    print(f"disk     {sum(sizes) / 1e9:.4g} GB in about {found['files']:,} files; free: ", end="")
    print("not known" if free is None else f"{free / 1e9:.4g} GB")
    print(f"memory   {found['memory_bytes'] / 1e9:.3g} GB for buckets, in each process")
    print(f"time     {found['seconds']:.3g} s at {rate:,.0f} rows/s, measured here on a few batches without writing")
    check_room(places, sizes)
    return found


def measure_rate(made: RowProducer, seconds: float = 3.0) -> float:
    """Rows made per second on this machine, without compilation time."""
    next(made.batches(0, made.n_rows))
    begin, rows = time.perf_counter(), 0
    for _, _, squares in made.batches(0, made.n_rows):
        rows += len(squares)
        if time.perf_counter() - begin > seconds:
            break
    return rows / (time.perf_counter() - begin)


@stage_anywhere
def verify(workdir: str, config: HarvestRunConfig) -> dict[str, Any]:
    """Reads a whole store back and prints what is damaged; raises BadInput when anything is."""
    places = list(find_stores(workdir).values()) or [find_store(workdir) or Location(config.store or workdir)]
    damages, rows = [], []
    for location in places:
        with progress(0, "verify", "rows") as bar:
            damaged, checked = verify_store(location, total=lambda n: bar.reset(total=n), advance=bar.update)
        told = f"{location}: " if len(places) > 1 else ""
        damages += [f"{told}{line}" for line in damaged]
        rows.append(checked)
        if not damaged:
            print(f"{location}: {checked:,} committed rows are whole")
    for line in damages:
        print(f"damaged: {line}", file=sys.stderr)
    if damages:
        raise BadInput(f"{workdir if len(places) > 1 else places[0]}: {len(damages)} damaged, listed above")
    return {"rows": rows[0] if len(rows) == 1 else sum(rows), "damages": damages}
