"""Products with a few known features of each row: the features that TopK selected.

CPUs visit them in a loop, one piece of a row at a time; accelerators gather rows of W_dec and scatter into gradients.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from monosem_jax.sae.ops import sparse_matmul

GATHERED = 1 << 27  # numbers gathered at a time


class TopKIndices(NamedTuple):
    """Indices `at` of some features of each row; `real` says which of them are active."""

    at: Int[Array, "b k"]
    real: Bool[Array, "b k"]


class VisitRows(NamedTuple):
    """Visits the selected features in a loop."""

    def decode(self, f: Float[Array, "b k"], w: Float[Array, "F M"], i: TopKIndices) -> Float[Array, "b M"]:
        """For each row, the sum of f times the rows of W at the indices `i`; f is 0 where an index is not real."""
        return sparse_matmul.decode(sparse_matmul.at_index(f, *i), w, len(f))

    def decode_backward(
        self, f: Array, w: Array, i: TopKIndices, d_out: Array, d_w: Float[Array, "F M"]
    ) -> tuple[Float[Array, "b k"], Float[Array, "F M"]]:
        """(gradient of f, `d_w` plus the gradient of W)."""
        codes = sparse_matmul.at_index(f, *i)
        pieces, d_w = sparse_matmul.decode_backward(codes, d_out, w, d_w)
        return sparse_matmul.to_index(codes, pieces, i.real), d_w

    def outer(self, x: Float[Array, "b M"], d: Float[Array, "b k"], i: TopKIndices, n: int) -> Float[Array, "M F"]:
        """xᵀ · d [M,F], where F is `n` and d is given at the indices `i`."""
        return sparse_matmul.outer(sparse_matmul.at_index(d, *i), x, n)


class GatherRows(NamedTuple):
    """Gathers the rows of W for the selected features; operands are in `dtype`."""

    dtype: Any

    def decode(self, f: Float[Array, "b k"], w: Float[Array, "F M"], i: TopKIndices) -> Float[Array, "b M"]:
        """As of `VisitRows`."""
        w = w.astype(self.dtype)

        def some(part):
            f, at = part
            return jnp.einsum("bk,bkm->bm", f.astype(self.dtype), w[at], preferred_element_type=jnp.float32)

        return _by_parts(some, (f, i.at), w.shape[1])

    def decode_backward(
        self, f: Array, w: Array, i: TopKIndices, d_out: Array, d_w: Float[Array, "F M"]
    ) -> tuple[Float[Array, "b k"], Float[Array, "F M"]]:
        """As of `VisitRows`."""
        w = w.astype(self.dtype)

        def some(part):
            d, at = part
            return jnp.einsum("bm,bkm->bk", d.astype(self.dtype), w[at], preferred_element_type=jnp.float32)

        d_f = jnp.where(i.real, _by_parts(some, (d_out, i.at), w.shape[1]), 0)
        return d_f, scatter(d_w, i, f, d_out)

    def outer(self, x: Float[Array, "b M"], d: Float[Array, "b k"], i: TopKIndices, n: int) -> Float[Array, "M F"]:
        """As of `VisitRows`."""
        return scatter(jnp.zeros((n, x.shape[1])), i, d, x.astype(jnp.float32)).T


RowProducts = VisitRows | GatherRows


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def decode_at(
    rows: RowProducts, f: dict[str, Array], w: Float[Array, "F M"], at: dict[str, TopKIndices]
) -> dict[str, Float[Array, "b M"]]:
    """`rows.decode` of each of the activations f [b,k], with gradients."""
    return {name: rows.decode(f[name], w, i) for name, i in at.items()}


def _forward(rows, f, w, at):
    return decode_at(rows, f, w, at), (f, w, at)


def _backward(rows, kept, d_out):
    f, w, at = kept
    d_w, d_f = jnp.zeros_like(w), {}
    for name, i in at.items():
        d_f[name], d_w = rows.decode_backward(f[name], w, i, d_out[name], d_w)
    return d_f, d_w, None


decode_at.defvjp(_forward, _backward)


def outer_at(
    rows: RowProducts, x: Float[Array, "b M"], d: dict[str, Array], at: dict[str, TopKIndices], n_features: int
) -> tuple[Float[Array, "M F"], Float[Array, " F"]]:
    """(xᵀ · d, the sum of d over rows); each d [b,k] holds the values at the indices of `at` with its name."""
    i = TopKIndices(*(jnp.concatenate([index[j] for index in at.values()], axis=1) for j in range(2)))
    d_all = jnp.where(i.real, jnp.concatenate([d[name] for name in at], axis=1), 0)
    return rows.outer(x, d_all, i, n_features), jnp.zeros(n_features).at[i.at].add(d_all)


def scatter(
    total: Float[Array, "F M"], i: TopKIndices, f: Float[Array, "b k"], x: Float[Array, "b M"]
) -> Float[Array, "F M"]:
    """total + fᵀ · x, with f given at the indices `i`."""
    n = _n_parts(f.shape, x.shape[1])

    def add(total, part):
        f, at, x = part
        return total.at[at].add(f[..., None] * x[:, None]), None

    return jax.lax.scan(add, total, jax.tree.map(lambda a: a.reshape(n, -1, a.shape[-1]), (f, i.at, x)))[0]


def _by_parts(function: Callable, arrays: tuple[Array, ...], width: int) -> Array:
    """Applies a function of rows to a few rows at a time."""
    n = _n_parts(arrays[1].shape, width)
    found = jax.lax.map(function, jax.tree.map(lambda a: a.reshape(n, -1, a.shape[-1]), arrays))
    return found.reshape(-1, found.shape[-1])


def _n_parts(shape: tuple[int, ...], width: int) -> int:
    """The number of equal parts into which to split the rows, so that one part gathers at most `GATHERED` numbers."""
    rows, k = shape
    most = max(GATHERED // (k * width), 1)
    return next(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= most)
