"""Several language models of one tokenizer that read the same tokens, as one whose rows are those of all side by side.

It is what the features of a crosscoder of several models are read from. A site of the joined model says whose it is:
"a:mlp_hidden.0" is mlp_hidden.0 of the first, "b:mlp_hidden.0" that of the second.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from monosem_jax.models.base import SITES_BETWEEN, LanguageModel, ModelConfig, split_sites
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput


class JoinedModels(nn.Module):
    """The models `parts`, whose parameters are those of `parts_0`, `parts_1`, …. Only activations can be read."""

    parts: tuple[Any, ...]

    @property
    def config(self) -> ModelConfig:
        """That of the first: all have its vocabulary."""
        return self.parts[0].config

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of the sites of all models."""
        return tuple(site_of(i, s) for i, part in enumerate(self.parts) for s in part.sites)

    def width(self, site: str) -> int:
        """M at one site; raises BadInput if there is no such model or site."""
        part, name = self._part(site)
        return part.width(name)

    def to_acts(self, tokens: jax.Array, site: str) -> tuple[None, jax.Array]:
        """Tokens [C,T] → (None, the activations [C,T,ΣM] at one or more sites, side by side)."""
        chosen = [self._part(s) for s in split_sites(site)]
        return None, jnp.concatenate([part.to_acts(tokens, name)[1] for part, name in chosen], axis=-1)

    def _part(self, site: str) -> tuple[Any, str]:
        letter, _, name = site.partition(":")
        known = string.ascii_lowercase[: len(self.parts)]
        if len(letter) != 1 or letter not in known:
            raise BadInput(f"site {site!r} does not exist: expected one of the models {', '.join(known)}, as in a:SITE")
        return self.parts[known.index(letter)], name


def site_of(i: int, site: str) -> str:
    """What a site of the i-th of the joined models is called."""
    return f"{string.ascii_lowercase[i]}:{site}"


def join(parts: Sequence[TappedModel]) -> TappedModel:
    """Models cut at one site each, as one model whose rows [C,T,ΣM] are theirs side by side, in the same order.

    Raises BadInput on models of other tokenizers, and on one that is cut at several sites.
    """
    sizes = [(m.model.config.vocab_size, m.bos) for m in parts]
    if len(set(sizes)) != 1:
        raise BadInput(f"the models have (tokens, BOS) {', '.join(map(str, sizes))}: expected one tokenizer")
    for m in parts:
        if len(split_sites(m.site)) > 1:
            raise BadInput(f"a model is cut at {m.site}: expected one site of each model")
    model = JoinedModels(tuple(m.model for m in parts))
    params = {f"parts_{i}": m.params for i, m in enumerate(parts)}
    site = SITES_BETWEEN.join(site_of(i, m.site) for i, m in enumerate(parts))
    # It has neither logits nor effects of its own, which reading does not need.
    return TappedModel(cast("LanguageModel", model), params, site, parts[0].bos)
