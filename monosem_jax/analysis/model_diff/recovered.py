"""How much of each of two models' behaviour a crosscoder keeps: one model is run with its half replaced."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.models.base import site_widths
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import token_ids
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.text.batches import context_batches


@pinned()
def recovered(
    models: tuple[TappedModel, TappedModel], sae: PublishedSAE, tokens: np.ndarray, *, batch: int = 32
) -> list[dict[str, Any]]:
    """For each model, on contexts [C,T]: cross-entropies in nats per token, intact, with the activations at its site 0,
    and with its half of the reconstruction; BOS is never replaced. `loss_recovered_zero` is that of `evaluate`.

    Raises BadInput when the models have other tokenizers, read several sites, or are not those of the dictionary.
    """
    widths = tuple(w for m in models for w in site_widths(m.model, m.site))
    if len(widths) != 2 or widths != sae.module.parts:
        raise BadInput(f"recovered: the sites have widths {widths}: expected those of the parts, {sae.module.parts}")
    sizes = [(m.model.config.vocab_size, m.bos) for m in models]
    if sizes[0] != sizes[1]:
        raise BadInput(f"recovered: the models have (tokens, BOS) {sizes[0]} and {sizes[1]}: expected one tokenizer")
    ids = np.asarray(token_ids("recovered", tokens, sizes[0][0]))
    if not len(ids):
        raise BadInput("recovered was given no contexts: expected 1 or more")
    on_device, total = tuple(m.on(None) for m in models), np.zeros((2, 3))
    for t, weight in context_batches(ids, batch):
        total += np.asarray(_losses(on_device, sae, jnp.asarray(t), jnp.asarray(weight)), np.float64)
    ce = total / (len(ids) * (ids.shape[1] - 1))
    return [
        {
            "ce_intact": float(intact),
            "ce_zero_ablation": float(zero),
            "ce_reconstructed": float(found),
            "loss_recovered_zero": float((zero - found) / (zero - intact)) if zero != intact else None,
        }
        for intact, zero, found in ce
    ]


@jax.jit
def _losses(
    models: tuple[TappedModel, TappedModel], sae: PublishedSAE, tokens: jax.Array, weight: jax.Array
) -> jax.Array:
    """[2,3] sums of the losses of each model: intact, ablated, reconstructed."""
    cut = [m.cut(tokens) for m in models]
    halves = jnp.split(sae.forward(jnp.concatenate([x for _, x in cut], axis=-1))[1], [cut[0][1].shape[-1]], axis=-1)
    real, found = (tokens != models[0].bos)[..., None], []
    for m, (carry, x), half in zip(models, cut, halves, strict=True):
        for replacement in (x, jnp.zeros_like(x), half):
            losses = m.losses_with(carry, jnp.where(real, replacement, x), tokens, m.site)
            found.append(jnp.sum(losses * weight[:, None]))
    return jnp.stack(found).reshape(2, 3)
