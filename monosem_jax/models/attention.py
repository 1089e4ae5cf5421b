"""Which tokens attend to which: the pattern of causal attention with rotary positions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def pattern(q: Float[Array, "C T H K"], k: Float[Array, "C S H K"]) -> Float[Array, "C H T S"]:
    """The attention of every token to itself and to those before it, from queries and keys: rows sum to 1."""
    q, k = rotate(q), rotate(k)
    score = jnp.einsum("CTHK,CSHK->CHTS", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    causal = jnp.tril(jnp.ones((q.shape[1], k.shape[1]), bool))
    score = jnp.where(causal[None, None], score, -jnp.inf)
    return jax.nn.softmax(score, axis=-1)


def rotate(x: Float[Array, "C T H K"]) -> Float[Array, "C T H K"]:
    """Rotary position embedding (Su et al., 2021) over the positions of each context."""
    half = x.shape[-1] // 2
    angle = jnp.arange(x.shape[1])[:, None] * (10_000.0 ** -(jnp.arange(half) / half))[None]
    cos, sin = jnp.cos(angle)[None, :, None], jnp.sin(angle)[None, :, None]
    a, b = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)
