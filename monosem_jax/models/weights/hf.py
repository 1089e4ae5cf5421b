"""A directory as Hugging Face publishes models: config.json, one or more *.safetensors, tokenizer.json."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from monosem_jax.models.weights.base import Index
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import DTYPES, SAFETENSORS_DTYPES, TensorEntry, read_json, read_safetensors_header

ONE, INDEX = "model.safetensors", "model.safetensors.index.json"


class Directory:
    """The tensors of a directory, memory-mapped."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    @property
    def where(self) -> str:
        return str(self.path)

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """config.json."""
        return read_json(self.path / "config.json", dict)

    @property
    def tokenizer_json(self) -> pathlib.Path:
        """The file of its tokenizer."""
        return self.path / "tokenizer.json"

    @functools.cached_property
    def files(self) -> list[pathlib.Path]:
        """The files that hold tensors; raises BadInput when there are none or one is missing."""
        if (index := self.path / INDEX).is_file():
            names = read_json(index, dict, ("weight_map",))["weight_map"]
            found = [self.path / pathlib.PurePath(str(n)).name for n in sorted(set(names.values()))]
        elif (self.path / ONE).is_file():
            found = [self.path / ONE]
        else:
            found = sorted(self.path.glob("*.safetensors"))
        if missing := [f.name for f in found if not f.is_file()]:
            raise BadInput(f"{self.path}: {INDEX} names {missing[0]}, which does not exist")
        if not found:
            held = " and no .safetensors, only pickles (.bin)" if list(self.path.glob("*.bin")) else ""
            raise BadInput(f"{self.path} has no {ONE}{held}: expected the weights as safetensors")
        return found

    @functools.cached_property
    def _entries(self) -> dict[str, tuple[pathlib.Path, TensorEntry]]:
        return {name: (f, entry) for f in self.files for name, entry in read_safetensors_header(f).items()}

    @functools.cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: entry.shape for name, (_, entry) in self._entries.items()}

    def read(self, name: str, index: Index | None = None) -> np.ndarray:
        file, entry = self._entries[name]
        if entry.dtype not in SAFETENSORS_DTYPES:
            raise BadInput(f"{file}: {name} has dtype {entry.dtype}: expected one of {', '.join(SAFETENSORS_DTYPES)}")
        mapped = np.memmap(file, np.dtype(DTYPES[SAFETENSORS_DTYPES[entry.dtype]]), "r", entry.offset, entry.shape)
        return mapped if index is None else mapped[index]


def is_model(path: pathlib.Path) -> bool:
    """Whether a directory holds a model in this form (a run directory has a config.json too)."""
    config = path / "config.json"
    return config.is_file() and "model_type" in read_json(config, dict)
