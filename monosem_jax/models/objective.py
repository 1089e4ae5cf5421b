"""The language model's loss, in the form that the training loop takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from monosem_jax.models.base import LanguageModel, token_losses
from monosem_jax.training.step import Objective, State


def language_objective(model: LanguageModel) -> Objective:
    """Mean next-token loss in nats over a batch of contexts [C,T]."""

    def objective(state: State, tokens):
        def loss(params):
            losses = token_losses(model.apply({"params": params}, tokens), tokens)
            return jnp.mean(losses), {"loss": jnp.sum(losses), "count": jnp.float32(losses.size)}

        grads, metrics = jax.grad(loss, has_aux=True)(state.params)
        return grads, state.stats, metrics

    return objective
