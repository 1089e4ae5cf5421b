"""The largest products between the rows of two matrices, a block of rows at a time."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int32

from monosem_jax.runtime.ambient import pinned

BLOCK = 1 << 24  # products at a time


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1, fp32; rows of zeros stay."""
    norm = np.sqrt(np.einsum("fm,fm->f", x, x, dtype=np.float64))
    return (x / np.where(norm > 0, norm, 1)[:, None].astype(np.float32)).astype(np.float32)


@pinned()
def largest_products(
    a: Float32[np.ndarray, "F r"], b: Float32[np.ndarray, "G r"], m: int, *, same: bool = False
) -> tuple[Float32[np.ndarray, "F m"], Int32[np.ndarray, "F m"]]:
    """For each row of `a` the `m` largest products with rows of `b`, in falling order, and the numbers of those rows.

    `same`: b is a, and a row is not compared with itself. Where there are fewer than `m`: -inf and -1.
    """
    available = len(b) - same
    k = min(m, available)
    value = np.full((len(a), m), -np.inf, np.float32)
    index = np.full((len(a), m), -1, np.int32)
    block = max(1, min(len(a), BLOCK // max(len(b), 1)))
    there = jnp.asarray(b)
    for i in range(0, len(a) if k > 0 else 0, block):
        start = min(i, len(a) - block)  # the last block overlaps the one before: one program for all
        found = _largest(jnp.asarray(a[start : start + block]), there, start, k, same)
        value[start : start + block, :k], index[start : start + block, :k] = map(np.asarray, found)
    return value, index


@functools.partial(jax.jit, static_argnames=("k", "same"))
def _largest(a: jax.Array, b: jax.Array, start: jax.Array, k: int, same: bool) -> tuple[jax.Array, jax.Array]:
    products = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    if same:
        own = jnp.arange(len(b))[None] == start + jnp.arange(len(a))[:, None]
        products = jnp.where(own, -jnp.inf, products)
    return jax.lax.top_k(products, k)
