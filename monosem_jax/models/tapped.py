"""A language model cut at a site, in the form that harvesting, evaluation and analysis use."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from monosem_jax.models.base import LanguageModel, site_widths, split_sites, token_losses
from monosem_jax.models.sharding import placed
from monosem_jax.models.unread import Unread
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import numbers, token_ids


@functools.partial(jax.tree_util.register_dataclass, data_fields=["params"], meta_fields=["model", "site", "bos"])
@dataclasses.dataclass(frozen=True)
class TappedModel:
    """A language model, the site whose activations are read, and its BOS token.

    The parameters are its only leaves, so compiled functions take it as an argument, and models that differ only in
    their parameters share one program. Rows have width W: M of the site, or the sum over several sites.
    """

    model: LanguageModel
    params: Mapping[str, Any]
    site: str
    bos: int

    @pinned()
    def on(self, mesh: Mesh | None) -> TappedModel:
        """The same model with parameters on the default device, or on a mesh (`monosem_jax.models.sharding.placed`).
        Those of an imported model are read straight from its files onto it."""
        return dataclasses.replace(self, params=placed(self.params, mesh, self.model.config))

    @property
    def content(self) -> Any:
        """What tells the model's parameters from others: themselves, or the hash of the files that they are in."""

        def known(params: Any) -> Any:
            return np.frombuffer(bytes.fromhex(params.sha256), np.uint8) if isinstance(params, Unread) else params

        return jax.tree.map(known, self.params, is_leaf=lambda x: isinstance(x, Unread))

    def cut(self, tokens: ArrayLike, site: str = "") -> tuple[Any, jax.Array]:
        """(carry, activations [C,T,W]) of tokens [C,T] at `site`, by default its own. Several sites have no carry.

        Raises BadInput on tokens of another shape, and on a site that does not exist.
        """
        site_widths(self.model, site or self.site)
        tokens = token_ids("the model", tokens, self.model.config.vocab_size)
        return self._apply(self.model.to_acts, tokens, site or self.site)

    def rows(self, tokens: ArrayLike) -> jax.Array:
        """The activations [C,T,W] of tokens [C,T]."""
        return self.cut(tokens)[1]

    @pinned()
    def losses_with(self, carry: Any, acts: jax.Array, tokens: ArrayLike, site: str) -> jax.Array:
        """[C,T-1] next-token losses in nats when the model continues from `acts` [C,T,M] at a single site.

        Raises BadInput on activations of another shape.
        """
        tokens = token_ids("losses_with", tokens, self.model.config.vocab_size)
        checked = jnp.asarray(numbers("losses_with", acts, *tokens.shape, self.model.width(site)))
        return token_losses(self._apply(self.model.from_acts, carry, checked, site), jnp.asarray(tokens))

    def replaced_by(self, width: int) -> list[tuple[str, slice]]:
        """The sites whose activations a reconstruction of `width` columns replaces, each with its columns.

        A crosscoder reconstructs every site, a transcoder the last one.
        """
        sites = split_sites(self.site)
        if len(sites) == 1:
            return [(self.site, slice(None))]
        widths = site_widths(self.model, self.site)
        ends = np.cumsum(widths)
        if width == sum(widths):
            return [(s, slice(end - m, end)) for s, m, end in zip(sites, widths, ends, strict=True)]
        return [(sites[-1], slice(None))]

    @pinned()
    def _apply(self, method: Any, *args: Any) -> Any:
        params = jax.tree.map(lambda p: p, self.params)  # read, if they are not
        return self.model.apply({"params": params}, *args, method=method)
