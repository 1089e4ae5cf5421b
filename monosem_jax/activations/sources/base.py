"""The interface between sources of activations and training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from monosem_jax.activations.online import OnlineConfig
from monosem_jax.activations.rows import RowRange, Rows
from monosem_jax.activations.stream.stream import StreamConfig
from monosem_jax.activations.synthetic import SyntheticConfig
from monosem_jax.models.run import TransformerRun
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.input_summary import InputSummary

MAX_HELDOUT_ROWS = 65_536


class BatchStream(Protocol):
    """Shuffled batches of rows: batch i is the same in every call and on every machine."""

    @property
    def kind(self) -> str:
        """Where the batches come from: "disk", "resident" or "online"."""
        ...

    def __call__(self, start: int, n: int) -> jax.Array:
        """Batches start … start+n-1 as one device array [n,B,M], sharded over `data`."""
        ...

    def sample(self, n: int) -> np.ndarray:
        """The first n rows on the host [n,M], or all rows if there are fewer."""
        ...


@dataclasses.dataclass(frozen=True)
class SourceRequest:
    """The part of a configuration that a source may need. `source` is a keyword, a path, or several paths separated by
    commas; `transformer` is a run directory or "". `seed` decides the order of the rows. `compute_dtype` is the dtype
    of matmuls if a model makes the rows."""

    source: str
    transformer: str = ""
    batch_size: int = 8192
    seed: int = 0
    compute_dtype: Any = jnp.float32
    stream: StreamConfig = StreamConfig()
    online: OnlineConfig = OnlineConfig()
    synthetic: SyntheticConfig = SyntheticConfig()


def _nothing_to_check() -> None:
    """For sources whose rows are known to be finite."""


def _no_score(W_dec: jax.Array) -> dict[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True)
class ActivationSource:
    """Rows [n,M] to train on, and their known properties.

    `name` identifies the source in messages, `dtype` is the dtype of its rows, `parents` are the records of its inputs
    in the form that a run directory keeps. `widths` are the widths of the sites or sources whose rows are concatenated,
    () for a single one. `site`, `mean_square` and `mean_norm` are None if unknown; `n_rows` is 0 if rows are endless.
    `heldout` are rows kept from training, if there is no transformer to evaluate with. `input` counts rows that are
    left out or all zero; `check_finite` and opening the stream may add to it.
    """

    name: str
    width: int
    dtype: np.dtype
    parents: dict[str, Any]
    open_stream: Callable[[Mesh], BatchStream]
    widths: tuple[int, ...] = ()
    transformer: TransformerRun | None = None
    site: str | None = None
    mean_square: float | None = None
    mean_norm: float | None = None
    n_rows: int = 0
    heldout: Rows | None = None
    # Reads all rows once and raises BadInput unless they are finite; a harvest has already checked its rows.
    check_finite: Callable[[], None] = _nothing_to_check
    input: InputSummary = dataclasses.field(default_factory=InputSummary)
    # Figures about a trained W_dec [F,M] that only this source can compute.
    score: Callable[[jax.Array], dict[str, Any]] = _no_score

    def stream(self, mesh: Mesh) -> BatchStream:
        """The training batches on a mesh."""
        return self.open_stream(mesh)


def hold_out_rows(rows: Rows, batch_size: int) -> Rows:
    """The rows kept from training for evaluation: the last tenth, at most 65,536. Raises BadInput if less than a batch
    is left to train on."""
    keep = min(max(rows.n_rows // 10, 1), MAX_HELDOUT_ROWS)
    if rows.n_rows - keep < batch_size:
        raise BadInput(f"train.batch_size {batch_size} is larger than the {rows.n_rows - keep} rows to train on")
    return RowRange(rows, rows.n_rows - keep, rows.n_rows)


def rows_to_train_on(rows: Rows, heldout: Rows | None) -> Rows:
    """All rows except the held-out ones at the end."""
    return rows if heldout is None else RowRange(rows, 0, rows.n_rows - heldout.n_rows)
