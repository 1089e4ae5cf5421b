"""What a dictionary is trained on: a store, an array, or a transformer that makes the rows as they are needed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jax.sharding import Mesh

from monosem_jax.errors import BadInput
from monosem_jax.online import OnlineStream
from monosem_jax.run import parent, progress, read_record, resolve_parent
from monosem_jax.runs import TransformerRun
from monosem_jax.stages.harvest import open_transformer
from monosem_jax.store.arrays import Store, open_rows, source_identity
from monosem_jax.store.foreign import scan_rows
from monosem_jax.store.rows import DTYPES, RowRange, Rows
from monosem_jax.store.stream import open_stream
from monosem_jax.transformer.model import site_width

ONLINE = "online"
MAX_HELDOUT_ROWS = 65_536


@dataclasses.dataclass(frozen=True)
class Source:
    """`rows` None: made online. `heldout` are rows kept from training, where there is no transformer to evaluate with.
    `site`, `mean_square` and `mean_norm` are None where they are not known; `widths` are those of what rows consist of,
    where they are of several sites or sources."""

    rows: Rows | None
    transformer: TransformerRun | None
    site: str | None
    mean_square: float | None
    parents: dict[str, Any]
    heldout: Rows | None = None
    mean_norm: float | None = None
    widths: tuple[int, ...] = ()

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


def open_source(config: Any) -> Source:
    """Opens what the configuration names; raises BadInput when it is missing or does not fit its transformer."""
    if config.source == ONLINE:
        transformer = open_transformer(config.transformer)
        parents = {"transformer": parent(transformer.path, "summary.json")}
        return Source(None, transformer, config.online.site, None, parents)
    rows = open_rows(config.source)
    transformer = find_transformer(config, rows)
    parents = {"source": source_identity(config.source)}
    if transformer is not None:
        parents["transformer"] = parent(transformer.path, "summary.json")
    manifest = rows.manifest if isinstance(rows, Store) else {}
    heldout = None if transformer is not None else keep_rows(rows, config.train.batch_size)
    return Source(rows, transformer, manifest.get("site") or None, manifest.get("mean_square"), parents, heldout)


def find_transformer(config: Any, rows: Rows) -> TransformerRun | None:
    """The transformer for the loss figures: as configured, else the store's own; None where there is none.

    Raises BadInput when the store was harvested from another one, or with another tokenizer.
    """
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


def keep_rows(rows: Rows, batch_size: int) -> Rows:
    """The rows kept from training for evaluation: the last tenth, at most 65,536."""
    keep = min(max(rows.n_rows // 10, 1), MAX_HELDOUT_ROWS)
    if rows.n_rows - keep < batch_size:
        raise BadInput(f"train.batch_size {batch_size} is larger than the {rows.n_rows - keep} rows to train on")
    return RowRange(rows, rows.n_rows - keep, rows.n_rows)


def check_finite(rows: Rows, name: str) -> None:
    """Reads an array that did not come through a harvest once; raises BadInput when rows of it are not finite."""
    with progress(rows.n_rows, "check", "rows") as bar:
        found = scan_rows(rows, advance=bar.update)
    if found.n_nonfinite:
        row, column = found.first_nonfinite
        raise BadInput(
            f"{name}: {found.n_nonfinite} of {found.n_rows} rows are not finite, first at row {row} column {column}: "
            "convert it with experiments.harvest --from=… --skip_nonfinite"
        )


def input_scale(kind: str, source: Source, sample: np.ndarray, parts: tuple[int, ...]) -> Any:
    """What activations x [M] are multiplied by (a list, of every one of several `parts` of a row): 1, or so that the
    mean square of their elements is 1, or E‖x‖ = √M, or E‖x‖² = 1. Means are over the store where they are known, else
    over the sample."""
    if kind == "none":
        return 1.0 if len(parts) == 1 else [1.0] * len(parts)
    if len(parts) == 1:
        return _scale(kind, sample, source.mean_square, source.mean_norm)
    ends = np.cumsum(parts)
    return [_scale(kind, sample[:, end - width : end]) for width, end in zip(parts, ends, strict=True)]


def _scale(kind: str, x: np.ndarray, mean_square: float | None = None, mean_norm: float | None = None) -> float:
    width = x.shape[1]
    if mean_square is None:
        mean_square = float(np.mean(np.square(x, dtype=np.float64)))
    if mean_square <= 0:
        raise BadInput(f"the activations are all zero (mean square {mean_square}): nothing to train on")
    if kind == "sqrt_width":
        if mean_norm is None:
            mean_norm = float(np.mean(np.sqrt(np.sum(np.square(x, dtype=np.float64), axis=1))))
        return float(width**0.5 / mean_norm)
    return float(mean_square**-0.5 if kind == "unit_rms" else (width * mean_square) ** -0.5)
