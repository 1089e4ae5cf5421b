"""Normalisations of single rows that belong to some published dictionaries.

The encoder reads (x - shift) / divisor; the reconstruction is multiplied by `scale` and moved by `shift`, of the row.

    layer_norm     shift = mean of x, scale = its standard deviation (with M - 1), divisor = scale + 1e-5
    constant_norm  shift = 0, scale = divisor = ‖x‖ / √M; a row of zeros stays as it is

Features are then in units of the normalised row: one that is active adds scale · f · W_dec to the reconstruction.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1e-5

# (shift [*B,1], divisor [*B,1], scale [*B,1]) of rows [*B,M]
Statistics = tuple[Array, Array, Array]


def layer_norm(x: Float[Array, "*B M"]) -> Statistics:
    """Of OpenAI's TopK dictionaries and SAELens' `layer_norm`."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    deviation = jnp.std(x, axis=-1, keepdims=True, ddof=1)
    return mean, deviation + EPSILON, deviation


def constant_norm(x: Float[Array, "*B M"]) -> Statistics:
    """Of SAELens' `constant_norm_rescale`."""
    norm = jnp.linalg.norm(x, axis=-1, keepdims=True) / x.shape[-1] ** 0.5
    norm = jnp.where(norm > 0, norm, 1.0)
    return jnp.zeros_like(norm), norm, norm


ROW_SCALES: dict[str, Callable[[Array], Statistics]] = {"layer_norm": layer_norm, "constant_norm": constant_norm}
