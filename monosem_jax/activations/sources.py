"""What a dictionary is trained on: a store, an array, a transformer that makes the rows as they are needed, or rows of
which the features are known."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from monosem_jax.activations.online import OnlineStream
from monosem_jax.activations.rows import DTYPES, ConcatRows, RowRange, Rows
from monosem_jax.activations.store.foreign import check_rows_finite
from monosem_jax.activations.store.store import Store, open_rows, source_identity
from monosem_jax.activations.stream.stream import open_stream
from monosem_jax.activations.synthetic import SyntheticRows
from monosem_jax.models.run import TransformerRun, open_transformer
from monosem_jax.models.transformer import SITES_BETWEEN, site_width, site_widths
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.workdir import parent, read_record, resolve_parent

ONLINE, SYNTHETIC = "online", "synthetic"

MAX_HELDOUT_ROWS = 65_536


@dataclasses.dataclass(frozen=True)
class ActivationSource:
    """`rows` None: made online. `heldout` are rows kept from training, where there is no transformer to evaluate with.
    `site`, `mean_square` and `mean_norm` are None where they are not known; `widths` are those of what rows consist of,
    where they are of several sites or sources; `truth` [F,M] are features of which it is known that they are in them.
    """

    rows: Rows | None
    transformer: TransformerRun | None
    site: str | None
    mean_square: float | None
    parents: dict[str, Any]
    heldout: Rows | None = None
    mean_norm: float | None = None
    widths: tuple[int, ...] = ()
    truth: np.ndarray | None = None

    @property
    def unchecked(self) -> bool:
        """Whether some rows did not come through a harvest, which refuses those that are not finite."""
        if self.rows is None or self.truth is not None:
            return False
        return not all(isinstance(r, Store) for r in getattr(self.rows, "sources", [self.rows]))

    @property
    def width(self) -> int:
        """M, the numbers in a row."""
        return self.rows.width if self.rows is not None else site_width(self.transformer.model.config, self.site)

    def itemsize(self, config: Any) -> int:
        """Bytes of a number in a row."""
        return np.dtype(DTYPES[config.online.dtype] if self.rows is None else self.rows.dtype).itemsize

    def stream(self, config: Any, mesh: Mesh) -> Any:
        """The stream of training batches for a `train_sae.SaeRunConfig`."""
        size, seed = config.train.batch_size, config.order_seed
        if self.rows is None:
            run = self.transformer
            return OnlineStream(
                run.model.clone(dtype=config.train.dtype()), run.params, run.text.tokens("train"), bos=run.text.bos,
                config=config.online, batch_size=size, seed=seed, mesh=mesh,
            )  # fmt: skip
        rows = self.rows
        if self.heldout is not None:
            rows = RowRange(rows, 0, rows.n_rows - self.heldout.n_rows)
        return open_stream(rows, size, seed, mesh, config=config.stream)


def open_source(config: Any) -> ActivationSource:
    """Opens what the configuration names; raises BadInput when it is missing or does not fit its transformer."""
    if config.source == ONLINE:
        transformer = open_transformer(config.transformer)
        parents = {"transformer": parent(transformer.path, "summary.json")}
        widths = site_widths(transformer.model.config, config.online.site)
        return ActivationSource(
            None, transformer, config.online.site, None, parents, widths=widths if len(widths) > 1 else ()
        )
    if config.source == SYNTHETIC:
        rows = SyntheticRows(config.synthetic)
        return ActivationSource(
            rows, None, None, None, {}, hold_out_rows(rows, config.train.batch_size), truth=rows.directions
        )
    paths = split_paths(config.source)
    each = [open_rows(path) for path in paths]
    for path, rows in zip(paths[1:], each[1:], strict=True):
        check_aligned(paths[0], each[0], path, rows)
    rows = each[0] if len(each) == 1 else ConcatRows(each)
    transformer = find_transformer(config, each)
    names = ["source", *(f"source_{i}" for i in range(2, len(paths) + 1))]
    parents = {name: source_identity(path) for name, path in zip(names, paths, strict=True)}
    if transformer is not None:
        parents["transformer"] = parent(transformer.path, "summary.json")
    manifests = [r.manifest if isinstance(r, Store) else {} for r in each]
    sites = [m.get("site") for m in manifests]
    heldout = None if transformer is not None else hold_out_rows(rows, config.train.batch_size)
    mean = lambda name: manifests[0].get(name) if len(each) == 1 else None  # noqa: E731
    widths = rows.widths if len(each) > 1 else tuple(manifests[0].get("widths", ()))
    return ActivationSource(
        rows, transformer, SITES_BETWEEN.join(sites) if all(sites) else None, mean("mean_square"), parents, heldout,
        mean("mean_norm"), widths,
    )  # fmt: skip


def split_paths(source: str) -> list[str]:
    """The paths of a source: several are separated by commas, unless something of the whole name is there."""
    return [source] if "," not in source or os.path.exists(source) else source.split(",")


def check_aligned(first: str, a: Rows, other: str, b: Rows) -> None:
    """Raises BadInput unless row i of one source is of the same token as row i of the other, as far as they say."""
    if a.n_rows != b.n_rows:
        raise BadInput(
            f"{first} has {a.n_rows} rows and {other} {b.n_rows}: rows beside each other must be of the same"
        )
    if not (isinstance(a, Store) and isinstance(b, Store)):
        return
    for key in ("seed", "corpus_sha256", "tokenizer_sha256", "context_length", "rows_per_context", "bucket_rows"):
        if a.manifest.get(key) != b.manifest.get(key):
            raise BadInput(
                f"{first} and {other} were harvested with another {key} ({str(a.manifest.get(key))[:12]} and "
                f"{str(b.manifest.get(key))[:12]}): row i of one is not of the same token as row i of the other"
            )


def find_transformer(config: Any, each: Sequence[Rows]) -> TransformerRun | None:
    """The transformer for the loss figures: as configured, else the store's own; None where there is none, or where
    stores are of several.

    Raises BadInput when a store was harvested from another one, or with another tokenizer.
    """
    models = {r.manifest.get("model") for r in each if isinstance(r, Store)}
    if len(each) > 1 and (len(models) > 1 or not all(isinstance(r, Store) for r in each)):
        if config.transformer:
            raise BadInput(f"config.transformer is {config.transformer}, but {config.source} are not all of one")
        return None
    found = [_transformer_of(config, rows) for rows in each]
    return found[0]


def _transformer_of(config: Any, rows: Rows) -> TransformerRun | None:
    if config.transformer:
        found = open_transformer(config.transformer)
    elif isinstance(rows, Store) and rows.run is not None:
        record = read_record(rows.run)["parents"].get("transformer")
        found = open_transformer(str(resolve_parent(rows.run, record))) if record else None
    else:
        found = None
    if found is None:
        return None
    manifest = rows.manifest if isinstance(rows, Store) else {}
    if not manifest.get("model"):
        raise BadInput(
            f"config.transformer is {config.transformer}, but {config.source} does not say which site of which "
            "transformer its rows are from: only a harvested store can be evaluated with one"
        )
    hashes = {
        "parameters": (manifest["model"], found.summary["params_sha256"]),
        "tokenizers": (manifest.get("tokenizer_sha256"), found.text.manifest["tokenizer_sha256"]),
    }
    for what, (a, b) in hashes.items():
        if a != b:
            raise BadInput(
                f"store {rows.path} was not harvested from {found.path}: the hashes of the {what} differ "
                f"({str(a)[:12]} and {str(b)[:12]})"
            )
    return found


def hold_out_rows(rows: Rows, batch_size: int) -> Rows:
    """The rows kept from training for evaluation: the last tenth, at most 65,536."""
    keep = min(max(rows.n_rows // 10, 1), MAX_HELDOUT_ROWS)
    if rows.n_rows - keep < batch_size:
        raise BadInput(f"train.batch_size {batch_size} is larger than the {rows.n_rows - keep} rows to train on")
    return RowRange(rows, rows.n_rows - keep, rows.n_rows)


def check_finite(rows: Rows, name: str) -> None:
    """Reads an array that did not come through a harvest once; raises BadInput when rows of it are not finite."""
    with progress(rows.n_rows, "check", "rows") as bar:
        found = check_rows_finite(rows, advance=bar.update)
    if found.n_nonfinite:
        row, column = found.first_nonfinite
        raise BadInput(
            f"{name}: {found.n_nonfinite} of {found.n_rows} rows are not finite, first at row {row} column {column}: "
            "convert it with experiments.harvest --from=… --skip_nonfinite"
        )
