"""The two things that are trained: what the loop of `monosem_jax.train` is given for each."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from monosem_jax.train import Loss, State
from monosem_jax.transformer.model import Transformer, token_losses


def language_loss(model: Transformer) -> Loss:
    """Mean next-token loss in nats over a batch of contexts [C,T]."""

    def loss(state: State, tokens):
        losses = token_losses(model.apply({"params": state.params}, tokens), tokens)
        return jnp.mean(losses), (state.stats, {"loss": jnp.sum(losses), "count": jnp.float32(losses.size)})

    return loss


def initial_stats(n_features: int) -> dict[str, jax.Array]:
    """`last_fired` [F]: the number of steps done when the feature last fired; 0 before it ever did."""
    return {"last_fired": jnp.zeros((n_features,), jnp.int32)}


def dictionary_loss(sae: Any) -> Loss:
    """The loss of a dictionary on raw rows [B,M]; `state.hyper` holds `l1_coefficient` and `input_scale`."""

    def loss(state: State, rows):
        losses, terms = row_losses(sae, state, rows)
        active = terms["f"] > 0
        fired = jnp.any(active, axis=0)
        stats = {"last_fired": jnp.where(fired, state.step + 1, state.stats["last_fired"])}
        metrics = {
            "loss": jnp.sum(losses),
            "mse": jnp.sum(terms["mse"]),
            "l1": jnp.sum(terms["l1"]),
            "l0": jnp.sum(active, dtype=jnp.float32),
            "count": jnp.float32(rows.shape[0]),
        }
        return jnp.mean(losses), (stats, metrics)

    return loss


def row_losses(sae: Any, state: State, rows: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss [B] of every raw row under the state as it is, and its terms."""
    return sae.apply(
        {"params": state.params}, scaled(state, rows), l1_coefficient=state.hyper["l1_coefficient"],
        method=sae.row_losses,
    )  # fmt: skip


def scaled(state: State, rows: jax.Array) -> jax.Array:
    """Rows as the dictionary sees them: fp32, times the input scale."""
    return rows.astype(jnp.float32) * state.hyper["input_scale"]
