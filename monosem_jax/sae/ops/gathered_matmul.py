"""Products with a few features of each row, when it is known which: what TopK leaves of the dense ones.

CPUs visit them in a loop, a piece of a row at a time; accelerators gather rows of W_dec and scatter into gradients.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from monosem_jax.sae.ops import sparse_matmul as sparse

GATHERED = 1 << 27  # numbers gathered at a time


class TopKIndices(NamedTuple):
    """Some features of each row, and which of them are active."""

    at: Int[Array, "b k"]
    real: Bool[Array, "b k"]


class MatmulStrategy(NamedTuple):
    """In which way: `gather`, or visit; operands of gathered products are in `dtype`."""

    gather: bool
    dtype: Any


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def decode_at(
    how: MatmulStrategy, f: dict[str, Array], w: Float[Array, "F M"], at: dict[str, TopKIndices]
) -> dict[str, Array]:
    """For every code, the sums [b,M] of a row's f [b,k] times the rows of W that they belong to; f is 0 where it is not
    real."""
    if how.gather:
        return {name: _gather_decode(how, f[name], w, i) for name, i in at.items()}
    return {name: sparse.decode(sparse.at_index(f[name], *i), w, len(f[name])) for name, i in at.items()}


def _forward(how, f, w, at):
    return decode_at(how, f, w, at), (f, w, at)


def _backward(how, kept, d_out):
    f, w, at = kept
    d_w, d_f = jnp.zeros_like(w), {}
    for name, i in at.items():
        if how.gather:
            d_f[name] = _gather_backward(how, d_out[name], w, i)
            d_w = scatter(d_w, i, f[name], d_out[name])
        else:
            codes = sparse.at_index(f[name], *i)
            pieces, d_w = sparse.decode_backward(codes, d_out[name], w, d_w)
            d_f[name] = sparse.to_index(codes, pieces, i.real)
    return d_f, d_w, None


decode_at.defvjp(_forward, _backward)


def outer_at(
    how: MatmulStrategy, x: Float[Array, "b M"], d: dict[str, Array], at: dict[str, TopKIndices], n_features: int
) -> tuple[Float[Array, "M F"], Float[Array, " F"]]:
    """(xᵀ · d, the sum of d over rows), d [b,k] being numbers at these features."""
    all_of = lambda trees: jnp.concatenate([trees[name] for name in at], axis=1)  # noqa: E731
    i = TopKIndices(*(all_of({name: index[j] for name, index in at.items()}) for j in range(2)))
    d_all = jnp.where(i.real, all_of(d), 0)
    if how.gather:
        by_feature = scatter(jnp.zeros((n_features, x.shape[1])), i, d_all, x.astype(jnp.float32)).T
    else:
        by_feature = sparse.outer(sparse.at_index(d_all, *i), x, n_features)
    return by_feature, jnp.zeros(n_features).at[i.at].add(d_all)


def _gather_decode(how: MatmulStrategy, f: Array, w: Array, i: TopKIndices) -> Float[Array, "b M"]:
    w = w.astype(how.dtype)

    def some(part):
        f, at = part
        return jnp.einsum("bk,bkm->bm", f.astype(how.dtype), w[at], preferred_element_type=jnp.float32)

    return _by_parts(some, (f, i.at), w.shape[1])


def _gather_backward(how: MatmulStrategy, d_out: Array, w: Array, i: TopKIndices) -> Float[Array, "b k"]:
    w = w.astype(how.dtype)

    def some(part):
        d, at = part
        return jnp.einsum("bm,bkm->bk", d.astype(how.dtype), w[at], preferred_element_type=jnp.float32)

    return jnp.where(i.real, _by_parts(some, (d_out, i.at), w.shape[1]), 0)


def scatter(
    total: Float[Array, "F M"], i: TopKIndices, f: Float[Array, "b k"], x: Float[Array, "b M"]
) -> Float[Array, "F M"]:
    """total + fᵀ · x."""
    n = _n_parts(f.shape, x.shape[1])

    def add(total, part):
        f, at, x = part
        return total.at[at].add(f[..., None] * x[:, None]), None

    return jax.lax.scan(add, total, jax.tree.map(lambda a: a.reshape(n, -1, a.shape[-1]), (f, i.at, x)))[0]


def _by_parts(function: Any, arrays: tuple[Array, ...], width: int) -> Array:
    """A function of rows, some rows at a time."""
    n = _n_parts(arrays[1].shape, width)
    found = jax.lax.map(function, jax.tree.map(lambda a: a.reshape(n, -1, a.shape[-1]), arrays))
    return found.reshape(-1, found.shape[-1])


def _n_parts(shape: tuple[int, int], width: int) -> int:
    """Into how many equal parts rows are cut so that what is gathered for one stays small."""
    rows, k = shape
    most = max(GATHERED // (k * width), 1)
    return next(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= most)
