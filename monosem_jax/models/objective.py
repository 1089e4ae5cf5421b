"""The language model's loss, in the form that the training loop expects."""

from __future__ import annotations

from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from monosem_jax.models.base import LanguageModel, token_losses
from monosem_jax.training.metrics import Mean
from monosem_jax.training.step import BatchResult, Objective, State


def language_objective(model: LanguageModel) -> Objective:
    """Mean next-token loss in nats over a batch of contexts [C,T]."""

    def objective(state: State, tokens: Int[Array, "C T"]) -> BatchResult:
        def mean_loss(params):
            losses = token_losses(cast(Array, model.apply({"params": params}, tokens)), tokens)
            return jnp.mean(losses), Mean(jnp.sum(losses), jnp.float32(losses.size))

        grads, loss = jax.grad(mean_loss, has_aux=True)(state.params)
        return BatchResult(grads, state.stats, loss, {})

    return objective
