"""The language model's loss, as the training loop takes it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from monosem_jax.models.transformer import Transformer, token_losses
from monosem_jax.training.step import Objective, State


def language_objective(model: Transformer) -> Objective:
    """Mean next-token loss in nats over a batch of contexts [C,T]."""

    def objective(state: State, tokens):
        def loss(params):
            losses = token_losses(model.apply({"params": params}, tokens), tokens)
            return jnp.mean(losses), {"loss": jnp.sum(losses), "count": jnp.float32(losses.size)}

        grads, metrics = jax.grad(loss, has_aux=True)(state.params)
        return grads, state.stats, metrics

    return objective
