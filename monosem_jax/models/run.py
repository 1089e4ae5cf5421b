"""Opens the run directory of a transformer, trained here or imported."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import ArrayLike
from tokenizers import Tokenizer

from monosem_jax.models import read_model
from monosem_jax.models.base import LanguageModel, site_widths
from monosem_jax.models.pretrained import Pretrained, is_pretrained, open_pretrained
from monosem_jax.models.sharding import placed
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.unread import Unread
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_mesh_axes, token_ids
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
        path = self.parent("transformer")
        return TRANSFORMERS.get(read_record(path)["experiment"], TransformerRun)(path)

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
        return TappedModel(self.model, self.weights, site, self.text.bos)

    @property
    def weights(self) -> Mapping[str, Any]:
        """The parameters for a computation that places them: of an imported model, those that are still in files."""
        return self.params

    @pinned()
    def logits(self, tokens: ArrayLike) -> jax.Array:
        """[C,T] tokens → [C,T,V] logits, on the default device. The parameters are put there on the first call.

        Raises BadInput unless the tokens are whole numbers below V.
        """
        ids = token_ids("logits", tokens, self.model.config.vocab_size)
        return self._apply(self._params_on_device, jnp.asarray(ids))

    @functools.cached_property
    def _params_on_device(self) -> dict[str, Any]:
        return placed(self.weights, None, self.model.config)

    @functools.cached_property
    def _apply(self) -> Callable[[dict[str, Any], jax.Array], jax.Array]:
        return jax.jit(lambda params, tokens: self.model.apply({"params": params}, tokens))


class ImportedModelRun(TransformerRun):
    """A pretrained model with text: the directory that import_model makes. The weights stay where they are; they are
    read on first use. `params` are in fp32."""

    @functools.cached_property
    def pretrained(self) -> Pretrained:
        """The model's files; raises BadInput when they are gone, or others lie in their place."""
        found = open_pretrained(self.config["model"])
        expected = (self.summary or {}).get("params_sha256", found.sha256)
        if found.sha256 != expected:
            raise BadInput(
                f"{self.path} was made from {found.source.where}, which has changed since (sha256 {found.sha256[:12]}, "
                f"then {expected[:12]})"
            )
        return found

    @functools.cached_property
    def model(self) -> LanguageModel:
        return self.pretrained.model()

    @functools.cached_property
    def params(self) -> dict[str, Any]:
        return self.pretrained.params()

    @functools.cached_property
    def weights(self) -> Mapping[str, Any]:
        """The parameters, still in their files."""
        return Unread(self.pretrained)

    @pinned()
    def params_on(self, mesh: Mesh) -> dict[str, Any]:
        """The parameters on a mesh with the axes data and model, read from the files straight into each device."""
        check_mesh_axes("params_on", mesh)
        return self.pretrained.params(mesh)


TRANSFORMERS: dict[str, type[TransformerRun]] = {
    "train_transformer": TransformerRun,
    "import_model": ImportedModelRun,
}


def open_transformer(path: str) -> TransformerRun:
    """A finished run with a language model, trained here or imported; raises BadInput on anything else."""
    if not path:
        raise BadInput("config.transformer is empty: expected the directory of a finished train_transformer run")
    if is_pretrained(path):
        raise BadInput(
            f"{path} is a model without a text: expected the run directory that experiments.import_model --workdir=DIR "
            f"--config.model={path} makes"
        )
    directory = pathlib.Path(path)
    kind = TRANSFORMERS.get(read_record(directory)["experiment"])
    found = kind(path) if kind else None
    if found is None or found.summary is None:
        raise BadInput(f"{path} is not a finished train_transformer run")
    return found
