"""A text directory: packed contexts on disk.

It holds `tokenizer.json`; per split (train, validation, heldout) `*_tokens.npy` [C,T] with BOS at position 0 of every
context and between documents, and `*_documents.npy` [C,T] int32, the document of each token; `documents.json` with
the origins and labels of documents; and `text.json`, written last. Directories of earlier versions have no validation
split.
"""

from __future__ import annotations

import functools
import pathlib
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from monosem_jax.runtime.arguments import check_name
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_array, read_json
from monosem_jax.runtime.locations import local_path
from monosem_jax.text import tokenizer as tokenizer_lib

SPLITS = ("train", "validation", "heldout")
EARLIER_SPLITS = ("train", "heldout")  # of directories whose manifest does not name them


class Source(NamedTuple):
    """Where a document comes from, and its label ("" when it has none)."""

    origin: str
    label: str


class Text:
    """An opened text directory."""

    def __init__(self, path: str | pathlib.Path):
        self.path = local_path(path, "path")
        self.manifest: dict[str, Any] = read_json(self.path / "text.json", dict, ("bos", "vocab_size"))

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        return tokenizer_lib.load_tokenizer(self.path / "tokenizer.json")

    @property
    def bos(self) -> int:
        return self.manifest["bos"]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are: train, heldout, and unless an earlier version prepared the text or was told to
        leave it out, validation."""
        return tuple(split for split in SPLITS if split in self.manifest.get("splits", EARLIER_SPLITS))

    def tokens(self, split: str) -> np.ndarray:
        """[C,T] token ids of a split, train, validation or heldout, memory-mapped. The array can be written to: the
        file stays as it is. Raises BadInput on a split that is not there."""
        return self._mapped(split, "tokens")

    def documents(self, split: str) -> np.ndarray:
        """[C,T] the index of each token's document, like `tokens`."""
        return self._mapped(split, "documents")

    def check_split(self, split: str) -> None:
        """Raises BadInput unless the directory has that split."""
        check_name("the split", split, SPLITS)
        if split not in self.splits:
            raise BadInput(
                f"{self.path} has no {split} split, only {' and '.join(self.splits)}: it was prepared by an earlier "
                "version, from too little text, or with text.validation_fraction=0"
            )

    def _mapped(self, split: str, what: str) -> np.ndarray:
        self.check_split(split)
        return read_array(self.path / f"{split}_{what}.npy", writable=True)

    @functools.cached_property
    def sources(self) -> list[Source]:
        """The origin and the label of every document."""
        file = self.path / "documents.json"
        documents = read_json(file, list)
        for d in documents:
            if not isinstance(d, dict) or not all(isinstance(d.get(key), str) for key in Source._fields):
                raise BadInput(f"{file} is not one of ours: expected an origin and a label for every document")
        return [Source(d["origin"], d["label"]) for d in documents]

    @property
    def labels(self) -> list[str]:
        """The label of every document."""
        return [source.label for source in self.sources]
