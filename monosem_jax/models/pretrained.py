"""A pretrained model where it lies: a Hugging Face directory, a GGUF file, a packaged model, one of a hub."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tokenizers import Tokenizer

from monosem_jax.models import build_model
from monosem_jax.models.base import LanguageModel
from monosem_jax.models.weights import find_table, gguf, hf, hub, npz
from monosem_jax.models.weights.conventions import Conventions, read_conventions
from monosem_jax.models.weights.packaged import PACKAGED, find_packaged
from monosem_jax.models.weights.place import check, read_params
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import Place, local_path
from monosem_jax.text.tokenizer import load_tokenizer, plain_tokenizer

HUB = "hub:"
# What config.model, and with a run directory config.transformer, may be.
MODEL = Place(words=tuple(PACKAGED), prefixes=(HUB,))
EDGE = 1 << 20  # bytes at both ends of a file by which it is recognised: header, first and last tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Pretrained:
    """The files of a model. `location` is what it was asked for by; `source` reads its tensors."""

    location: str
    source: Any

    @property
    def config(self) -> Any:
        """The shape of the model: the configuration of our module. Raises BadInput on one that we cannot compute."""
        return self._config

    @functools.cached_property
    def _table(self) -> Any:
        return find_table(self.source.config, self.source.where)

    @functools.cached_property
    def _config(self) -> Any:
        found = self._table.config(self.source.config)
        found.check()
        return found

    def model(self, dtype: Any = jnp.float32) -> LanguageModel:
        """Its module, with matmuls in `dtype`."""
        return build_model(self.config, dtype)

    def check(self) -> None:
        """Raises BadInput, before any weight is read, when a tensor is missing or has another shape, or the tokenizer
        does not fit."""
        check(self.model(), self._table.parameters(self.config), self.source)
        _ = self.tokenizer

    def params(self, mesh: Mesh | None = None, dtype: Any = np.float32) -> dict[str, Any]:
        """Its parameters in `dtype`: NumPy, or straight onto a mesh, each device its own part.

        Raises BadInput, before anything is read, when a tensor is missing or has another shape.
        """
        return read_params(self.model(), self._table.parameters(self.config), self.source, mesh, dtype)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer; raises BadInput when there is none, or it has more tokens than the model."""
        if isinstance(self.source, hf.Directory):
            found = load_tokenizer(self.source.tokenizer_json)
        else:
            found = plain_tokenizer(self.source.tokenizer())
        largest = max(found.get_vocab().values())
        if largest >= self.config.vocab_size:
            raise BadInput(
                f"{self.source.where}: the tokenizer has token {largest}: expected numbers below the model's "
                f"vocab_size {self.config.vocab_size}"
            )
        return found

    @functools.cached_property
    def conventions(self) -> Conventions:
        """How its texts begin and end, and its chat template."""
        return read_conventions(self.source, self.tokenizer)

    @functools.cached_property
    def sha256(self) -> str:
        """By which a model is recognised: of names, sizes, and the first and last megabyte of all files of weights. (To
        hash everything takes minutes for a large model.)"""
        h = hashlib.sha256()
        for file in getattr(self.source, "files", None) or [self.source.path]:
            size = file.stat().st_size
            h.update(f"{file.name} {size}\n".encode())
            with open(file, "rb") as f:
                h.update(f.read(EDGE))
                f.seek(max(size - EDGE, 0))
                h.update(f.read(EDGE))
        return h.hexdigest()


def open_pretrained(location: str) -> Pretrained:
    """The model at a directory, in a file, or by name; raises BadInput on anything else. No tensor is read."""
    if location in PACKAGED:
        path = find_packaged(location)
    elif location.startswith(HUB):
        path = hub.fetch(location.removeprefix(HUB))
    else:
        path = local_path(location, "config.model")
    if path.is_dir() and (path / "config.json").is_file():
        return Pretrained(location, hf.Directory(path))
    if path.is_file() and path.suffix in (".gguf", ".npz"):
        return Pretrained(location, gguf.File(path) if path.suffix == ".gguf" else npz.Archive(path))
    what = "is neither" if path.exists() else "does not exist: expected"
    raise BadInput(
        f"config.model {location} {what} a directory with config.json and *.safetensors, a .gguf file, "
        f"hub:ORG/NAME, {' or '.join(PACKAGED)}"
    )


def is_pretrained(location: str) -> bool:
    """Whether this names a pretrained model, not a run directory."""
    if location in PACKAGED or location.startswith(HUB):
        return True
    path = pathlib.Path(location)
    return path.suffix in (".gguf", ".npz") or hf.is_model(path)
