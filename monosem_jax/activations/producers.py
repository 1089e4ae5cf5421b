"""Produces the rows of a store on demand, from a language model or from an array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from monosem_jax.activations.rows import DTYPES, Rows
from monosem_jax.activations.sampling import ContextSampler
from monosem_jax.models.base import LanguageModel, site_width, site_widths
from monosem_jax.models.sharding import placed
from monosem_jax.runtime.errors import BadInput

ARRAY_BATCH = 8192


# (number of the first row, every part of the rows [m,M], the sums of squares of every part of a row [m,parts])
Batch = tuple[int, tuple[np.ndarray, ...], np.ndarray]


class RowProducer(Protocol):
    """Rows 0 … n_rows-1. Any range of rows can be made by itself, with the same bits.

    A row consists of parts, each of which goes into a store of its own: `widths` are theirs, `width` is their sum.
    """

    n_rows: int
    width: int
    widths: tuple[int, ...]

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Covers rows start … stop-1."""
        ...

    def origin(self, start: int, stop: int) -> np.ndarray:
        """[stop-start, 2] uint32: where each row comes from."""
        ...

    def place(self, origin: np.ndarray) -> str:
        """Human-readable form of one row of `origin`."""
        ...


def local_mesh() -> Mesh:
    """All devices of this process, along the axis "each"."""
    return Mesh(np.asarray(jax.local_devices()), ("each",), axis_types=(AxisType.Auto,))


def divided_mesh(model_parallel: int) -> Mesh:
    """All devices of this process, each model divided over `model_parallel` of them along the axis "model". Raises
    BadInput unless they can be grouped so."""
    n = jax.local_device_count()
    if n % model_parallel:
        raise BadInput(
            f"harvest.model_parallel is {model_parallel}: expected a divisor of the {n} devices of this process"
        )
    devices = np.asarray(jax.local_devices()).reshape(-1, model_parallel)
    return Mesh(devices, ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def make_activation_reader(
    model: LanguageModel, site: str, widths: tuple[int, ...], dtype: str, mesh: Mesh
) -> Callable[..., tuple[tuple[jax.Array, ...], jax.Array]]:
    """The compiled function (params, tokens [C,T], positions [C,k]) -> (the parts of rows, each [C·k,M] with M of
    `widths`, and their sums of squares [C·k,parts]).

    On a `local_mesh` contexts are divided equally over the devices of this process, on a `divided_mesh` over its axis
    data: C must be a multiple of the parts.
    """
    ends = np.cumsum(widths)

    def pick(acts, positions):
        rows = jnp.take_along_axis(acts, positions[..., None], axis=1).astype(dtype)
        rows = rows.reshape(-1, rows.shape[-1])
        return rows, jnp.sum(jnp.square(rows.astype(jnp.float32)), axis=-1)

    def tap(params, tokens, positions):
        _, acts = model.apply({"params": params}, tokens, site, method=model.to_acts)
        # Divided before rows are picked, so that the sites are never side by side at every position.
        parts = [pick(part, positions) for part in jnp.split(acts, ends[:-1], axis=-1)]
        rows, squares = zip(*parts, strict=True)
        return rows, jnp.stack(squares, axis=-1)

    if "model" in mesh.shape:  # parameters stay where they lie, and the compiler divides the products
        contexts = NamedSharding(mesh, PartitionSpec("data"))
        return jax.jit(tap, in_shardings=(None, contexts, contexts), out_shardings=contexts)
    each = PartitionSpec("each")
    return jax.jit(jax.shard_map(tap, mesh=mesh, in_specs=(PartitionSpec(), each, each), out_specs=each))


class ModelActivations:
    """A language model's activations at a site: row g is sample g mod k of context g div k. `params` lie on every
    device, or a part of them on each of `model_parallel` devices. `apart`: several sites ("mlp_in.0+mlp_out.0") are
    parts of a row that go into a store each."""

    def __init__(
        self,
        model: LanguageModel,
        params: Any,
        site: str,
        contexts: ContextSampler,
        *,
        k: int,
        n_contexts: int,
        dtype: str,
        batch_contexts: int,
        apart: bool = False,
        model_parallel: int = 1,
    ):
        self.width = site_width(model, site)
        self.widths = site_widths(model, site) if apart else (self.width,)
        self.n_rows, self._k, self._n_contexts, self.contexts = n_contexts * k, k, n_contexts, contexts
        mesh = local_mesh() if model_parallel == 1 else divided_mesh(model_parallel)
        self._tap = make_activation_reader(model, site, self.widths, dtype, mesh)
        self.params = placed(params, mesh, model.config)
        self._batch = batch_contexts * (jax.local_device_count() // model_parallel)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """One batch is computed ahead. All have the same shape: the last one is padded, and the padding is cut off."""
        ahead = None
        for c in range(start // self._k, -(-stop // self._k), self._batch):
            pick = np.minimum(np.arange(c, c + self._batch), self._n_contexts - 1)
            out = self._tap(self.params, self.contexts.tokens(pick), self.contexts.positions(pick))
            if ahead is not None:
                yield _cut(*ahead, start, stop)
            ahead = (c * self._k, *out)
        if ahead is not None:
            yield _cut(*ahead, start, stop)

    def origin(self, start: int, stop: int) -> np.ndarray:
        g = np.arange(start, stop)
        first = start // self._k
        positions = self.contexts.positions(np.arange(first, -(-stop // self._k)))
        return np.stack([g // self._k, positions[g // self._k - first, g % self._k]], axis=1).astype(np.uint32)

    def place(self, origin: np.ndarray) -> str:
        return f"context {origin[0]} position {origin[1]}"


class ArrayProducer:
    """The rows of an array that is converted to a store."""

    def __init__(self, rows: Rows, dtype: str):
        self._rows, self._dtype = rows, DTYPES[dtype]
        self.n_rows, self.width = rows.n_rows, rows.width
        self.widths: tuple[int, ...] = (rows.width,)
        if self.n_rows > 1 << 32:
            raise BadInput(f"the array has {self.n_rows} rows: a store records row numbers below 2**32")

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        for first in range(start, stop, ARRAY_BATCH):
            with np.errstate(over="ignore"):  # numbers too large for the new dtype become Inf; a later check finds it
                rows = self._rows.read(first, min(first + ARRAY_BATCH, stop)).astype(self._dtype)
            yield first, (rows,), np.einsum("nm,nm->n", x := rows.astype(np.float64), x)[:, None]

    def origin(self, start: int, stop: int) -> np.ndarray:
        return np.stack([np.arange(start, stop), np.zeros(stop - start)], axis=1).astype(np.uint32)

    def place(self, origin: np.ndarray) -> str:
        return f"row {origin[0]}"


class DropRows:
    """All rows except those whose numbers are in `left_out`, in order."""

    def __init__(self, made: RowProducer, left_out: np.ndarray):
        self._made, self._out = made, np.sort(left_out)
        self._before = self._out - np.arange(len(self._out))  # the number of kept rows before each left-out row
        self.n_rows, self.width, self.widths = made.n_rows - len(left_out), made.width, made.widths

    def _number(self, kept: np.ndarray | int) -> Any:
        return kept + np.searchsorted(self._before, kept, side="right")

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        for first, parts, squares in self._made.batches(int(self._number(start)), int(self._number(stop - 1)) + 1):
            low, high = np.searchsorted(self._out, [first, first + len(squares)])
            keep = np.ones(len(squares), bool)
            keep[self._out[low:high] - first] = False
            if keep.any():
                yield start, tuple(rows[keep] for rows in parts), squares[keep]
                start += int(keep.sum())

    def origin(self, start: int, stop: int) -> np.ndarray:
        numbers = self._number(np.arange(start, stop))
        return self._made.origin(int(numbers[0]), int(numbers[-1]) + 1)[numbers - numbers[0]]

    def place(self, origin: np.ndarray) -> str:
        return self._made.place(origin)


def _cut(first: int, parts: Any, squares: Any, start: int, stop: int) -> Batch:
    """The part of a batch within rows start … stop-1, on the host."""
    low, high = max(start - first, 0), min(stop - first, squares.shape[0])
    return first + low, tuple(np.asarray(x)[low:high] for x in parts), np.asarray(squares, np.float64)[low:high]
