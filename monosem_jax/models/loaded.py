"""A language model from any place, for use in Python: `monosem_jax.load_model`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import ArrayLike
from tokenizers import Tokenizer

from monosem_jax.models.base import LanguageModel, named_site, site_widths
from monosem_jax.models.pretrained import open_pretrained
from monosem_jax.models.run import TransformerRun
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import token_ids
from monosem_jax.text.tokenizer import bos_id


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel:
    """A language model with its parameters, its tokenizer and the token that begins a text.

    Sites are names such as "resid_post.5", or TransformerLens' such as "blocks.5.hook_resid_post".
    """

    model: LanguageModel
    params: Mapping[str, Any]
    tokenizer: Tokenizer
    bos: int

    @property
    def config(self) -> Any:
        """The shape of the model."""
        return self.model.config

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of all its sites."""
        return self.model.sites

    @pinned()
    def logits(self, tokens: ArrayLike) -> jax.Array:
        """[C,T] tokens → [C,T,V] logits in fp32. Raises BadInput unless the tokens are whole numbers below V."""
        return self._logits(self._on_device, self._checked("logits", tokens))

    @pinned()
    def to_acts(self, tokens: ArrayLike, site: str) -> tuple[Any, jax.Array]:
        """[C,T] tokens → (carry, activations [C,T,M] at a site). Several sites, joined by "+", have no carry."""
        site = named_site(site)
        site_widths(self.model, site)
        return self._to_acts(self._on_device, self._checked("to_acts", tokens), site)

    @pinned()
    def from_acts(self, carry: Any, acts: ArrayLike, site: str) -> jax.Array:
        """Continues from activations [C,T,M] at a site: → logits [C,T,V]."""
        return self._from_acts(self._on_device, carry, jnp.asarray(acts), named_site(site))

    def tapped(self, site: str) -> TappedModel:
        """The model cut at a site, in the form that analyses take."""
        site = named_site(site)
        site_widths(self.model, site)
        return TappedModel(self.model, self.params, site, self.bos)

    def _checked(self, what: str, tokens: ArrayLike) -> jax.Array:
        return jnp.asarray(token_ids(what, tokens, self.config.vocab_size))

    @functools.cached_property
    def _on_device(self) -> Any:
        return jax.device_put(self.params)

    @functools.cached_property
    def _logits(self) -> Any:
        return jax.jit(lambda params, tokens: self.model.apply({"params": params}, tokens))

    @functools.cached_property
    def _to_acts(self) -> Any:
        def cut(params: Any, tokens: jax.Array, site: str) -> Any:
            return self.model.apply({"params": params}, tokens, site, method=self.model.to_acts)

        return jax.jit(cut, static_argnums=2)

    @functools.cached_property
    def _from_acts(self) -> Any:
        def continued(params: Any, carry: Any, acts: jax.Array, site: str) -> Any:
            return self.model.apply({"params": params}, carry, acts, site, method=self.model.from_acts)

        return jax.jit(continued, static_argnums=3)


def of_run(run: TransformerRun) -> LoadedModel:
    """The model of a run directory."""
    return LoadedModel(run.model, run.params, run.text.tokenizer, run.text.bos)


def of_files(location: str, mesh: Mesh | None = None, dtype: Any = jnp.float32) -> LoadedModel:
    """A pretrained model. With a mesh, its parameters are read straight onto it, each device its own part.

    Args:
      dtype: of the parameters; matmuls run in it too.
    """
    found = open_pretrained(location)
    found.check()
    return LoadedModel(found.model(dtype), found.params(mesh, dtype), found.tokenizer, bos_id(found.tokenizer))
