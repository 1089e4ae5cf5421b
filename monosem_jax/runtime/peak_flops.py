"""The matmul peak of this machine."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

SIZES = (512, 1024, 2048, 4096, 8192, 16_384)  # of the square matrices whose products are timed


def matmul_peak(dtype: Any, seconds: float = 1.0) -> float:
    """TFLOP/s of the fastest square product on one device here; takes about `seconds`, and the time to compile.

    Sizes grow until the next one would take too long.
    """
    best, end = 0.0, time.perf_counter() + seconds
    for n in SIZES:
        flops = 2 * n**3
        if best and time.perf_counter() + 2 * flops / best > end:
            break
        products = _products(n, dtype)
        repeats = max(1, int(seconds / len(SIZES) / _elapsed(products, 1)))
        best = max(best, repeats * flops / _elapsed(products, repeats))
    return best / 1e12


def _elapsed(products: Callable[[int], None], repeats: int) -> float:
    begin = time.perf_counter()
    products(repeats)
    return time.perf_counter() - begin


def _products(n: int, dtype: Any) -> Callable[[int], None]:
    """A function that computes a given number of products of n x n matrices, at the precision of training.

    The matrices are random: some devices are faster on constant ones."""
    a = jax.random.normal(jax.random.key(0), (n, n)).astype(dtype)
    multiply = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
    product = jax.jit(multiply).lower(a, a).compile()
    return lambda repeats: jax.block_until_ready([product(a, a) for _ in range(repeats)][-1])
