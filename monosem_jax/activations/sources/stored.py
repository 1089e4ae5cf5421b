"""Rows on a disk or in object storage: a harvested store, an array, or several of these with concatenated rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from monosem_jax.activations.rows import ConcatRows, Rows
from monosem_jax.activations.sources.base import ActivationSource, SourceRequest, hold_out_rows, rows_to_train_on
from monosem_jax.activations.store.foreign import ZarrRows, check_rows_finite
from monosem_jax.activations.store.store import Store, find_store, open_rows, source_identity
from monosem_jax.activations.stream.stream import open_stream
from monosem_jax.models.base import SITES_BETWEEN
from monosem_jax.models.run import TransformerRun, open_transformer
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.input_summary import InputSummary, plural
from monosem_jax.runtime.locations import separated
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.workdir import parent, read_record, resolve_parent


def is_several(source: str) -> bool:
    """Whether `source` is several paths separated by commas, not one path with a comma in it."""
    return len(separated(source, "config.source")) > 1


def is_store(source: str) -> bool:
    """Whether `source` is a store or the run directory of a harvest."""
    return find_store(source) is not None


def open_store(request: SourceRequest) -> ActivationSource:
    """A harvested store, evaluated with the transformer that it was harvested from, if that is found."""
    return _stored(request, [request.source], [Store(request.source)])


def open_array(request: SourceRequest) -> ActivationSource:
    """A `.npy` file, a zarr array or a safetensors tensor [n,M]; its last rows are held out."""
    return _stored(request, [request.source], [open_rows(request.source, request.stream.allow_missing_chunks)])


def open_several(request: SourceRequest) -> ActivationSource:
    """Stores and arrays whose rows are concatenated along M. Raises BadInput unless their rows are aligned."""
    paths = separated(request.source, "config.source")
    each = [open_rows(path, request.stream.allow_missing_chunks) for path in paths]
    for path, rows in zip(paths[1:], each[1:], strict=True):
        check_aligned(paths[0], each[0], path, rows)
    return _stored(request, paths, each)


def _stored(request: SourceRequest, paths: Sequence[str], each: Sequence[Rows]) -> ActivationSource:
    rows = each[0] if len(each) == 1 else ConcatRows(each)
    transformer = find_transformer(request.transformer, request.source, each)
    names = ["source", *(f"source_{i}" for i in range(2, len(paths) + 1))]
    parents = {name: source_identity(path) for name, path in zip(names, paths, strict=True)}
    if transformer is not None:
        parents["transformer"] = parent(transformer.path, "summary.json")
    stores = [r for r in each if isinstance(r, Store)]
    manifest = stores[0].manifest if len(stores) == len(each) == 1 else {}
    sites = [s.manifest.get("site") or "" for s in stores]
    heldout = None if transformer is not None else hold_out_rows(rows, request.batch_size)
    trained = rows_to_train_on(rows, heldout)
    source = ActivationSource(
        name=request.source,
        width=rows.width,
        dtype=rows.dtype,
        parents=parents,
        open_stream=lambda mesh: open_stream(trained, request.batch_size, request.seed, mesh, config=request.stream),
        widths=rows.widths if isinstance(rows, ConcatRows) else tuple(manifest.get("widths", ())),
        transformer=transformer,
        site=SITES_BETWEEN.join(sites) if len(stores) == len(each) and all(sites) else None,
        mean_square=manifest.get("mean_square"),
        mean_norm=manifest.get("mean_norm"),
        n_rows=rows.n_rows,
        heldout=heldout,
        input=_known(paths, each, parents, heldout),
    )
    arrays = [
        (path, array, prefix(i))
        for i, (path, array) in enumerate(zip(paths, each, strict=True))
        if not isinstance(array, Store)
    ]
    if not arrays:
        return source

    def look() -> None:
        for path, array, before in arrays:
            check_finite(array, path, source.input, before)

    return dataclasses.replace(source, check_finite=look)


def _known(
    paths: Sequence[str], each: Sequence[Rows], parents: dict[str, dict[str, str]], heldout: Rows | None
) -> InputSummary:
    """What the manifests of stores and the metadata of arrays say of rows that are left out or have no content."""
    summary = InputSummary()
    for i, (path, rows) in enumerate(zip(paths, each, strict=True)):
        before = prefix(i)
        if isinstance(rows, Store) and "zero_rows" in rows.manifest:
            report_zero_rows(summary, path, rows.manifest["zero_rows"], rows.n_rows, before=before)
        if isinstance(rows, Store):
            rest = rows.manifest["n_rows"] - rows.n_rows
            summary.add(f"{before}rows_not_harvested", rest, f"{path}: {plural(rest, 'row')} not harvested yet")
        if isinstance(rows, ZarrRows):
            report_missing_rows(summary, path, rows, before)
    hashes = [parents[name]["sha256"] for name in parents if name.startswith("source")]
    twice = len(hashes) - len(set(hashes))
    summary.add("equal_sources", twice, f"{plural(twice, 'source has', 'sources have')} the content of another one")
    if heldout is not None:
        n, total = heldout.n_rows, each[0].n_rows
        summary.add("rows_held_out", n, f"the last {n:,} of {plural(total, 'row')} are held out for the evaluation")
    return summary


def check_aligned(first: str, a: Rows, other: str, b: Rows) -> None:
    """Raises BadInput unless row i of both sources belongs to the same token, as far as the sources record it."""
    if a.n_rows != b.n_rows:
        raise BadInput(f"{first} has {a.n_rows} rows and {other} {b.n_rows}: sources side by side need equally many")
    if not (isinstance(a, Store) and isinstance(b, Store)):
        return
    for key in ("seed", "corpus_sha256", "tokenizer_sha256", "context_length", "rows_per_context", "bucket_rows"):
        if a.manifest.get(key) != b.manifest.get(key):
            raise BadInput(
                f"{first} and {other} were harvested with different values of {key} "
                f"({str(a.manifest.get(key))[:12]} and {str(b.manifest.get(key))[:12]}): row i of one is not of the "
                "same token as row i of the other"
            )


def find_transformer(transformer: str, source: str, each: Sequence[Rows]) -> TransformerRun | None:
    """The transformer for the loss figures: the run directory `transformer` if given, else the store's own; None if
    there is none, or if the rows come from several models.

    Raises BadInput if a store was harvested from another transformer, or with another tokenizer.
    """
    models = {r.manifest.get("model") for r in each if isinstance(r, Store)}
    if len(each) > 1 and (len(models) > 1 or not all(isinstance(r, Store) for r in each)):
        if transformer:
            raise BadInput(f"config.transformer is {transformer}, but the rows of {source} are not all from one model")
        return None
    found = [_transformer_of(transformer, source, rows) for rows in each]
    return found[0]


def _transformer_of(transformer: str, source: str, rows: Rows) -> TransformerRun | None:
    store = rows if isinstance(rows, Store) else None
    found: TransformerRun | None
    if transformer:
        found = open_transformer(transformer)
    elif store is not None and store.run is not None:
        record = read_record(store.run)["parents"].get("transformer")
        found = open_transformer(str(resolve_parent(store.run, record))) if record else None
    else:
        found = None
    if found is None:
        return None
    if store is None or not store.manifest.get("model"):
        raise BadInput(
            f"config.transformer is {transformer}, but {source} does not say which site of which transformer its rows "
            "are from: only a harvested store can be evaluated with one"
        )
    _check_hashes(store, found)
    return found


def _check_hashes(store: Store, found: TransformerRun) -> None:
    hashes = {
        "parameters": (store.manifest["model"], (found.summary or {}).get("params_sha256")),
        "tokenizers": (store.manifest.get("tokenizer_sha256"), found.text.manifest["tokenizer_sha256"]),
    }
    for what, (a, b) in hashes.items():
        if a != b:
            raise BadInput(
                f"store {store.path} was not harvested from {found.path}: the hashes of the {what} differ "
                f"({str(a)[:12]} and {str(b)[:12]})"
            )


def prefix(number: int) -> str:
    """What comes before the names of findings about one of several sources."""
    return f"source_{number + 1}." if number else ""


def check_finite(rows: Rows, name: str, summary: InputSummary, before: str = "") -> None:
    """Reads all rows once and adds to `summary` how many are all zero; raises BadInput if all are, or if some are not
    finite."""
    with progress(rows.n_rows, "check", "rows") as bar:
        found = check_rows_finite(rows, advance=bar.update)
    if found.first_nonfinite is not None:
        row, column = found.first_nonfinite
        raise BadInput(
            f"{name}: {found.n_nonfinite} of {found.n_rows} rows are not finite, first at row {row} column {column}: "
            "convert it with experiments.harvest --from=… --skip_nonfinite"
        )
    report_zero_rows(summary, name, found.n_zero, found.n_rows, at_end=found.n_zero_at_end, before=before)


def report_missing_rows(summary: InputSummary, name: str, rows: ZarrRows, before: str = "") -> None:
    """Adds to `summary` the rows of an array that lie in chunks that do not exist."""
    n = rows.missing_rows
    line = f"{name}: {n:,} of {plural(rows.n_rows, 'row')} lie in chunks that do not exist: read as the fill value"
    summary.add(f"{before}rows_in_missing_chunks", n, line)


def report_zero_rows(
    summary: InputSummary, name: str, zero: int, n_rows: int, *, at_end: int = 0, before: str = ""
) -> None:
    """Adds to `summary` how many rows are all zero, `at_end` of them at the end; raises BadInput if all are."""
    if zero == n_rows:
        raise BadInput(f"{name}: all {plural(n_rows, 'row')} are zero: nothing to train on")
    end = f", the last {at_end:,} among them" if at_end else ""
    line = f"{name}: {zero:,} of {plural(n_rows, 'row')} ({100 * zero / n_rows:.3g} %) are all zero{end}"
    summary.add(f"{before}zero_rows", zero, line)
