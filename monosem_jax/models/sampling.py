"""The next token drawn from logits: temperature, the k most probable tokens, the nucleus of probability p."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

ENDS = 32  # most tokens that can end a text


class Rules(NamedTuple):
    """How tokens are drawn. All are arrays, so that one program serves every setting.

    `temperature` divides the logits; 0: the most probable token. Of the tokens, the `top_k` most probable stay (0:
    all), and of those the most probable that together have the probability `top_p` (Holtzman et al., 2020). `ends`: the
    tokens that end a text, filled up with -1. `never`: tokens that are never drawn.
    """

    temperature: Float[Array, ""]
    top_p: Float[Array, ""]
    top_k: Int[Array, ""]
    ends: Int[Array, " ENDS"]
    never: Int[Array, " m"]


def draw(logits: Float[Array, "R V"], keys: Array, rules: Rules) -> Int[Array, " R"]:
    """One token for each row, with its own key."""
    logits = logits.at[:, rules.never].set(-jnp.inf)

    def drawn() -> Array:
        scores = logits / rules.temperature
        narrow = (rules.top_k > 0) | (rules.top_p < 1)
        scores = jax.lax.cond(narrow, lambda s: restricted(s, rules.top_p, rules.top_k), lambda s: s, scores)
        return jax.vmap(jax.random.categorical)(keys, scores).astype(jnp.int32)

    return jax.lax.cond(rules.temperature > 0, drawn, lambda: jnp.argmax(logits, axis=-1).astype(jnp.int32))


def restricted(scores: Float[Array, "R V"], top_p: Any, top_k: Any) -> Float[Array, "R V"]:
    """Scores with -∞ for all tokens but the k most probable (0: all), and of those all but the smallest set of the most
    probable ones whose probabilities, made to sum to 1, reach p. Tokens that are equally probable stay or go together.
    """
    p = jax.nn.softmax(scores, axis=-1)
    among = jnp.where(top_k > 0, top_k, p.shape[-1])
    p = jnp.where(p >= threshold(p, jnp.ones_like(p), among), p, 0)
    p = p / jnp.sum(p, axis=-1, keepdims=True)
    kept = (p >= threshold(p, p, jnp.where(top_p < 1, top_p, jnp.inf))) & (p > 0)
    return jnp.where(kept, scores, -jnp.inf)


def threshold(p: Float[Array, "R V"], weight: Float[Array, "R V"], least: Any) -> Float[Array, "R 1"]:
    """The largest number t for which the weights of the p ≥ t sum to `least` or more (0 if there is none), for p from 0
    to 1. It is found by halving: the bits of such numbers, read as integers, have their order, and a sort of a whole
    vocabulary takes longer."""

    def half(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        t = jax.lax.bitcast_convert_type(middle, jnp.float32)
        enough = jnp.sum(jnp.where(p >= t, weight, 0), axis=-1, keepdims=True) >= least
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    above_one = int(np.float32(1).view(np.int32)) + 2**10  # rounding may give a little more than 1
    zero = jnp.zeros((p.shape[0], 1), jnp.int32)
    low, _ = jax.lax.fori_loop(0, 31, half, (zero, zero + above_one))
    return jax.lax.bitcast_convert_type(low, jnp.float32)
