"""The geometric median, which is the initial value of the decoder bias."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def geometric_median(x: Float[Array, "B M"], *, max_steps: int = 100, tolerance: float = 1e-6) -> Float[Array, " M"]:
    """The point with the least sum of distances to the rows of `x` (paper, "Sparse Autoencoder Details"), by Weiszfeld.

    Starts at the mean; ends when a step is shorter than `tolerance` × the mean distance, or after `max_steps`.
    """

    def distances(centre):
        return jnp.linalg.norm(x - centre[None], axis=-1)

    def body(carry):
        i, centre, _ = carry
        d = distances(centre)
        # A row at the centre would have infinite weight. The floor keeps it finite, so other rows still have an effect.
        w = 1.0 / jnp.maximum(d, 1e-12 + 1e-6 * jnp.mean(d))
        new = jnp.sum(w[:, None] * x, axis=0) / jnp.sum(w)
        moved = jnp.linalg.norm(new - centre) / jnp.maximum(jnp.mean(d), 1e-30)
        return i + 1, new, moved

    def unfinished(carry):
        i, _, moved = carry
        return (i < max_steps) & (moved > tolerance)

    x = x.astype(jnp.float32)
    _, centre, _ = jax.lax.while_loop(unfinished, body, (0, jnp.mean(x, axis=0), jnp.float32(jnp.inf)))
    return centre
