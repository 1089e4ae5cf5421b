"""The machine's peak rate: matrix products without anything else, in the dtype and shapes of a training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Work = tuple[Callable[[], Any], float]  # the function to call, and its number of floating-point operations


def products(batch: int, width: int, n_features: int, dtype: Any, squares: tuple[int, ...]) -> dict[str, Work]:
    """Single products, square and in the step's shapes. Inputs are random: processors are faster on constant ones."""
    shapes = {f"square product of {n}": (n, n, n) for n in squares}
    shapes |= {"product x · W_enc": (batch, width, n_features), "product f · W_dec": (batch, n_features, width)}
    return {name: _product(*shape, dtype) for name, shape in shapes.items()}


def _product(m: int, k: int, n: int, dtype: Any) -> Work:
    a, b = _random((m, k), dtype, 1.0), _random((k, n), dtype, 1.0)
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=exact(dtype)))
    return lambda: product(a, b), 2.0 * m * k * n


def five(steps: int, batch: int, width: int, n_features: int, dtype: Any) -> Work:
    """The five products of a step and nothing else, with `steps` steps in one program as in a training dispatch."""
    rows = _random((steps, batch, width), dtype, 1.0)
    w_enc, w_dec = (
        _random((width, n_features), dtype, width**-0.5),
        _random((n_features, width), dtype, n_features**-0.5),
    )

    dot = lambda a, b: jnp.matmul(a, b, precision=exact(dtype), preferred_element_type=jnp.float32)  # noqa: E731

    @jax.jit
    def run(rows, w_enc, w_dec):
        def step(_, x):
            f = dot(x, w_enc).astype(dtype)
            out = dot(f, w_dec).astype(dtype)
            d_pre = dot(out, w_dec.T).astype(dtype)
            return (dot(x.T, d_pre), dot(f.T, out)), None

        return jax.lax.scan(step, (jnp.zeros(w_enc.shape), jnp.zeros(w_dec.shape)), rows)[0]

    return lambda: run(rows, w_enc, w_dec), 10.0 * steps * batch * width * n_features


def exact(dtype: Any) -> Any:
    """The precision that training uses: fp32 is not rounded, even where an accelerator would do so by default."""
    return jax.lax.Precision.HIGHEST if jnp.dtype(dtype) == jnp.float32 else None


def _random(shape: tuple[int, ...], dtype: Any, scale: float) -> jax.Array:
    return jax.jit(lambda: (scale * jax.random.normal(jax.random.key(0), shape)).astype(dtype))()
