"""Products with operands in the compute dtype and sums in fp32."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def matmul(a: Array, b: Array) -> Array:
    """a · b with sums in fp32; fp32 operands keep full precision, since some accelerators would round them."""
    exact = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return jnp.matmul(a, b, precision=exact, preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(dtype: Any, f: Array, w: Array) -> Array:
    """f · w with operands in `dtype`, in the backward pass too, and sums in fp32."""
    return matmul(f.astype(dtype), w.astype(dtype))


def _product_forward(dtype, f, w):
    return product(dtype, f, w), (f.astype(dtype), w.astype(dtype))


def _product_backward(dtype, kept, d_out):
    f, w = kept
    d_out = d_out.astype(dtype)
    return matmul(d_out, w.T), matmul(f.T, d_out)


product.defvjp(_product_forward, _product_backward)
