"""A pretrained model where it lies: a Hugging Face directory, a GGUF file, a packaged model, one of a hub."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tokenizers import Tokenizer

from monosem_jax.models import build_model
from monosem_jax.models.base import LanguageModel
from monosem_jax.models.weights import find_table, gguf, hf, hub, npz
from monosem_jax.models.weights.base import From
from monosem_jax.models.weights.conventions import Conventions, read_conventions
from monosem_jax.models.weights.packaged import PACKAGED, find_packaged
from monosem_jax.models.weights.place import check, read_params
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import Place, is_url
from monosem_jax.text.tokenizer import plain_tokenizer

HUB = "hub:"
# What config.model, and with a run directory config.transformer, may be.
MODEL = Place(words=tuple(PACKAGED), prefixes=(HUB,), remote=True)
FILES = (".gguf", ".npz")
EXPECTED = (
    "a directory with config.json and *.safetensors or a .gguf file, here or at a URL (gs://…, s3://…), hub:ORG/NAME, "
    f"{' or '.join(PACKAGED)}"
)
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

    @property
    def _parameters(self) -> dict[str, From]:
        return self._table.parameters_in(self.config, self.source)

    def model(self, dtype: Any = jnp.float32) -> LanguageModel:
        """Its module, with matmuls in `dtype`."""
        return build_model(self.config, dtype)

    def check(self, *, tokenizer: bool = True) -> None:
        """Raises BadInput, before any weight is read, when a tensor is missing or has another shape, or the tokenizer
        is missing or does not fit. `tokenizer`: whether one is needed."""
        _ = self._shapes, tokenizer and self.tokenizer

    @functools.cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return check(self.model(), self._parameters, self.source)

    @property
    def parts(self) -> list[str]:
        """The names of the parts of its parameters: embed, blocks_0, …"""
        return list(dict.fromkeys(path.partition("/")[0] for path in self._shapes))

    def params(
        self,
        mesh: Mesh | None = None,
        dtype: Any = np.float32,
        *,
        under: str = "",
        put: Callable[[Any], Any] = lambda array: array,
    ) -> dict[str, Any]:
        """Its parameters in `dtype`: NumPy, or straight onto a mesh, each device its own part.

        Args:
          under: one of `parts`, the only one that is read; default: all.
          put: what is done with each array without a mesh, before the next is read.

        Raises BadInput, before anything is read, when a tensor is missing or has another shape.
        """
        shapes = {path: s for path, s in self._shapes.items() if not under or path.startswith(f"{under}/")}
        return read_params(self.model(), self._parameters, self.source, mesh, dtype, shapes=shapes, put=put)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer; raises BadInput when there is none, or it has more tokens than the model."""
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
        _ = self.source.shapes  # the length of a file in a key-value store is known from its header
        for file in self.source.files:
            h.update(f"{file.name} {file.size}\n".encode())
            h.update(file.read(0, min(EDGE, file.size)))
            h.update(file.read(max(file.size - EDGE, 0), file.size))
        return h.hexdigest()


def open_pretrained(location: str) -> Pretrained:
    """The model at a path, a URL, or by name; raises BadInput on anything else. No tensor is read."""
    where = MODEL.locate(location, "config.model")
    if where in PACKAGED:
        return Pretrained(where, _open_file(find_packaged(where)))
    if where.startswith(HUB):
        path = hub.fetch(where.removeprefix(HUB))
        return Pretrained(where, hf.Directory(path) if path.is_dir() else gguf.File(path))
    if is_url(where):
        return Pretrained(where, _open_url(where))
    path = pathlib.Path(where)
    if path.is_dir() and (path / "config.json").is_file():
        return Pretrained(location, hf.Directory(path))
    if path.is_file() and path.suffix in FILES:
        return Pretrained(location, _open_file(path))
    raise BadInput(f"config.model {location} {_what(path)}: expected {EXPECTED}")


def _open_file(path: pathlib.Path) -> Any:
    return gguf.File(path) if path.suffix == ".gguf" else npz.Archive(path)


def _open_url(url: str) -> Any:
    """A directory or a .gguf file in a key-value store."""
    if url.endswith(".gguf"):
        return gguf.File(url)
    if url.endswith(".safetensors"):
        raise BadInput(f"config.model {url} is a single file: give its directory {url.rpartition('/')[0]}/")
    found = hf.Directory(url)
    if not found.folder.has("config.json"):
        raise BadInput(f"config.model {url} has no config.json: expected {EXPECTED}")
    return found


def _what(path: pathlib.Path) -> str:
    """Why a path is no model, for a message."""
    if not path.exists():
        return "does not exist"
    if path.suffix == ".safetensors":
        beside = "" if (path.parent / "config.json").is_file() else " (it has no config.json, which is needed too)"
        return f"is a single file of a model: give its directory {path.parent}{beside}"
    if not path.is_dir():
        return "is no file of a model"
    held = sorted(path.glob("*.gguf"))
    return f"is a directory without config.json; give the file {held[0]}" if held else "has no config.json"


def is_pretrained(location: str) -> bool:
    """Whether this names a pretrained model, not a run directory."""
    if location in PACKAGED or location.startswith(HUB) or is_url(location):
        return True
    path = pathlib.Path(location).expanduser()
    return path.suffix in (*FILES, ".safetensors") or hf.is_model(path)
