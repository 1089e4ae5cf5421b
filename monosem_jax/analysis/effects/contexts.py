"""Contexts cut at the site of an effect, from where the model continues with other activations."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from monosem_jax.analysis.feature_sets import Encoder, row_gain
from monosem_jax.models.base import LanguageModel, parse_site, token_losses
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["tokens", "carry", "acts", "f", "losses", "watched", "mean_logits", "gain", "logits"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class OpenContexts:
    """`acts` [C,T,M] at the site and what the model carries past it, features `f` [C,T,F] (0 at BOS), and what the
    intact model gives: `losses` [C,T-1], logits of k watched tokens [C,T,k], mean logits over all tokens but BOS [C,V].
    `gain` [C,T]: what an activation is multiplied by at each token, None where that is 1 (see `row_gain`). `logits`
    [C,T,V] of the intact model, None where they are not kept.
    """

    tokens: Array
    carry: Any
    acts: Array
    f: Array
    losses: Array
    watched: Array
    mean_logits: Array
    gain: Array | None = None
    logits: Array | None = None


@functools.partial(jax.jit, static_argnames=("site", "keep"))
def open_contexts(
    tapped: TappedModel,
    encoder: Encoder,
    tokens: Int[Array, "C T"],
    watch: Int[Array, " k"],
    site: str,
    keep: bool = False,
) -> OpenContexts:
    """Runs the model on contexts and encodes them. `keep`: the logits too."""
    carry, rows = tapped.cut(tokens)
    f, gain = encoder.encode(rows) * (tokens != tapped.bos)[..., None], row_gain(encoder, rows)
    # The model cannot continue from the rows of several sites: it is cut again at the one of the effect.
    carry, acts = (carry, rows) if site == tapped.site else tapped.cut(tokens, site)
    logits = continued(tapped, carry, acts, site)
    mean = mean_over_tokens(logits, tokens != tapped.bos)
    losses, watched = token_losses(logits, tokens), logits[..., watch]
    return OpenContexts(tokens, carry, acts, f, losses, watched, mean, gain, logits if keep else None)


def continued(tapped: TappedModel, carry: Any, acts: Float[Array, "C T M"], site: str) -> Float[Array, "C T V"]:
    """The logits of the model from a site on."""
    return tapped.model.apply({"params": tapped.params}, carry, acts, site, method=tapped.model.from_acts)


def mean_over_tokens(logits: Float[Array, "C T V"], real: Array) -> Float[Array, "C V"]:
    """The mean logits of each context over the tokens [C,T] that are `real`."""
    weight = real / jnp.maximum(jnp.sum(real, axis=1, keepdims=True), 1)
    return jnp.einsum("CTV,CT->CV", logits, weight)


def looks_back(model: LanguageModel, site: str, carry: Any, acts: Array) -> bool:
    """Whether what follows a site depends on earlier tokens, because attention comes after it. Where it does not, the
    model can continue from single tokens.

    Args:
      carry, acts: of contexts [C,T]: without an axis for tokens in each of them, single tokens cannot be taken out.
    """
    try:
        layer, kind = parse_site(site, model.config.n_layers)
    except BadInput:  # a model with sites of its own
        return True
    by_token = all(a.shape[:2] == acts.shape[:2] for a in jax.tree.leaves(carry))
    return layer < model.config.n_layers - 1 or kind == "resid_pre" or not by_token
