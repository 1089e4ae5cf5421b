"""A directory as Hugging Face publishes models: config.json, one or more *.safetensors, tokenizer.json. It lies on this
machine, or in a key-value store, of which only the bytes that are needed are read."""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from monosem_jax.models.weights.base import Index
from monosem_jax.models.weights.files import File, Folder
from monosem_jax.models.weights.safetensors import Entry, read_header
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json
from monosem_jax.text.tokenizer import parse_tokenizer

ONE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
NUMBERED = re.compile(r"(.+)-(\d+)-of-(\d+)\.safetensors")


class Directory:
    """The tensors of a directory."""

    def __init__(self, location: str | pathlib.Path):
        self.folder = Folder(location)

    @property
    def where(self) -> str:
        return self.folder.where

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """config.json; raises BadInput when its weights are quantised."""
        found = self.folder.json("config.json")
        quantised = found.get("quantization_config") or found.get("compression_config")
        if quantised:
            known = isinstance(quantised, dict)
            method = quantised.get("quant_method") or quantised.get("quantization") if known else quantised
            raise BadInput(
                f"{self.where}: config.json has quantization_config, method {str(method)[:40]}: expected the model as "
                "it was before, in F32, BF16 or F16, or a .gguf file"
            )
        return found

    @property
    def has_tokenizer(self) -> bool:
        """Whether there is a tokenizer.json."""
        return self.folder.has("tokenizer.json")

    def tokenizer(self) -> Tokenizer:
        """That of tokenizer.json; raises BadInput when there is none."""
        content = self.folder.read("tokenizer.json")
        if content is None:
            raise BadInput(
                f"{self.where} has no tokenizer.json: expected one beside config.json (transformers writes it: "
                "AutoTokenizer.from_pretrained(MODEL).save_pretrained(DIRECTORY))"
            )
        return parse_tokenizer(content, f"{self.where.rstrip('/')}/tokenizer.json")

    @functools.cached_property
    def _weight_map(self) -> dict[str, str]:
        """Tensor -> file of the index; empty if there is none."""
        if self.folder.has(ONE) or not self.folder.has(INDEX):
            return {}
        found = self.folder.json(INDEX).get("weight_map")
        if not isinstance(found, dict) or not found or not all(isinstance(f, str) for f in found.values()):
            raise BadInput(f"{self.where}: {INDEX} has no weight_map: expected the file of every tensor")
        for file in sorted(set(found.values())):
            if not file or "\\" in file or pathlib.PurePosixPath(file).is_absolute() or ".." in file.split("/"):
                raise BadInput(f"{self.where}: {INDEX} names {file!r}: expected a file in this directory")
        return found

    @functools.cached_property
    def files(self) -> list[File]:
        """The files that hold tensors; raises BadInput when there are none or one is missing."""
        if self._weight_map:
            names = sorted(set(self._weight_map.values()))
            if missing := [n for n in names if not self.folder.has(n)]:
                raise BadInput(f"{self.where}: {INDEX} names {missing[0]}, which does not exist")
        elif self.folder.has(ONE):
            names = [ONE]
        else:
            names = self._without_index()
        return [self.folder.file(n) for n in names]

    def _without_index(self) -> list[str]:
        names = [n for n in self.folder.names if n.endswith(".safetensors")]
        if not names:
            pickles = [n for n in self.folder.names if n.endswith(PICKLES)]
            held = (
                f" and no other .safetensors, but {pickles[0]}, a pickle, which can run code when it is opened and is "
                "therefore not read: expected the weights as safetensors (transformers writes them: "
                "AutoModelForCausalLM.from_pretrained(MODEL).save_pretrained(DIRECTORY))"
                if pickles
                else ": expected the weights as safetensors"
            )
            raise BadInput(f"{self.where} has no {ONE}{held}")
        for name in names:
            if match := NUMBERED.fullmatch(name):
                digits, n = len(match[2]), min(int(match[3]), 1 << 16)
                every = (f"{match[1]}-{i:0{digits}}-of-{match[3]}.safetensors" for i in range(1, n + 1))
                if missing := next((f for f in every if f not in names), None):
                    raise BadInput(f"{self.where} has {name} and no {missing}")
        return names

    @functools.cached_property
    def _entries(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for file in self.files:
            entries = read_header(file)
            if twice := next((name for name in entries if name in found), None):
                raise BadInput(f"{self.where}: {twice} is in {found[twice].file.name} and again in {file.name}")
            found |= entries
        for name, file_name in self._weight_map.items():
            if name not in found:
                raise BadInput(f"{self.where}: {INDEX} has {name} in {file_name}, which lacks it")
        return found

    @functools.cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self._entries.items()}

    def check(self, name: str) -> None:
        self._entries[name].check(name)

    def read(self, name: str, index: Index | None = None) -> np.ndarray:
        self.check(name)
        return self._entries[name].read(index)


def is_model(path: pathlib.Path) -> bool:
    """Whether a directory holds a model in this form (a run directory has a config.json too)."""
    config = path / "config.json"
    if not config.is_file():
        return False
    return (path / ONE).is_file() or (path / INDEX).is_file() or "model_type" in read_json(config, dict)
