"""Opens the run directory of a transformer."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from tokenizers import Tokenizer

from monosem_jax.models import read_model
from monosem_jax.models.base import LanguageModel, site_widths
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import token_ids
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.loaded_run import LoadedRun, TrainedRun
from monosem_jax.runtime.workdir import read_record
from monosem_jax.text.directory import Text


class FromTransformer(LoadedRun):
    """A run that was made from a transformer. The transformer is opened on first use."""

    @property
    def transformer(self) -> TransformerRun:
        """The transformer that this run was made from."""
        return self._parent_transformer

    @functools.cached_property
    def _parent_transformer(self) -> TransformerRun:
        return TransformerRun(self.parent("transformer"))

    @property
    def tokenizer(self) -> Tokenizer:
        return self.transformer.text.tokenizer


class TransformerRun(TrainedRun, FromTransformer):
    """`params` are NumPy arrays in fp32, `model` is their module, `text` is the training text."""

    @functools.cached_property
    def model(self) -> LanguageModel:
        return read_model({**self.config["transformer"], "vocab_size": self.text.manifest["vocab_size"]})

    @functools.cached_property
    def text(self) -> Text:
        return Text(self.path / "text")

    @functools.cached_property
    def transformer(self) -> TransformerRun:
        return self

    def tapped(self, site: str) -> TappedModel:
        """The model cut at `site`, or at several ("mlp_in.0+mlp_out.0"); raises BadInput when it has no such site."""
        site_widths(self.model, site)
        return TappedModel(self.model, self.params, site, self.text.bos)

    @pinned()
    def logits(self, tokens: ArrayLike) -> jax.Array:
        """[C,T] tokens → [C,T,V] logits, on the default device. The parameters are put there on the first call.

        Raises BadInput unless the tokens are whole numbers below V.
        """
        ids = token_ids("logits", tokens, self.model.config.vocab_size)
        return self._apply(self._params_on_device, jnp.asarray(ids))

    @functools.cached_property
    def _params_on_device(self) -> dict[str, Any]:
        return jax.device_put(self.params)

    @functools.cached_property
    def _apply(self) -> Callable[[dict[str, Any], jax.Array], jax.Array]:
        return jax.jit(lambda params, tokens: self.model.apply({"params": params}, tokens))


def open_transformer(path: str) -> TransformerRun:
    """A finished transformer run; raises BadInput on anything else."""
    if not path:
        raise BadInput("config.transformer is empty: expected the directory of a finished train_transformer run")
    directory = pathlib.Path(path)
    found = TransformerRun(path) if read_record(directory)["experiment"] == "train_transformer" else None
    if found is None or found.summary is None:
        raise BadInput(f"{path} is not a finished train_transformer run")
    return found
