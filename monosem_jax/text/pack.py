"""Packed contexts on disk, for training the transformer and for harvesting activations.

A text directory holds `tokenizer.json`; per split `train_tokens.npy` and `heldout_tokens.npy` [C,T] with BOS at
position 0 of every context and between documents, and `*_documents.npy` [C,T] int32, the document of each token;
`documents.json` with the origins and labels of documents; and `text.json`, written last.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from monosem_jax.runtime.arguments import check_name
from monosem_jax.runtime.config import check_seed
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import file_hash, read_array, read_json, write_json
from monosem_jax.runtime.rng import stream
from monosem_jax.text import corpus as corpus_lib
from monosem_jax.text import tokenizer as tokenizer_lib

SPLITS = ("train", "heldout")


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Where the text comes from and how it is split. Models that share text.seed can be compared token by token."""

    corpus: str = corpus_lib.EMBEDDED
    """A .jsonl(.gz) or .txt file, a directory of them, or embedded: the corpus inside the package."""
    tokenizer: str = ""
    """A tokenizer.json to use; empty: one is trained on the training split."""
    vocab_size: int = 1024
    """Tokens of a tokenizer trained here."""
    heldout_fraction: float = 0.08
    """Share of the documents that is held out."""
    seed: int = -1
    """Decides which documents are held out and in which order they are packed; -1: the run's seed."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if not 0 < self.heldout_fraction < 1:
            raise BadInput(f"heldout_fraction is {self.heldout_fraction}: expected a number between 0 and 1")
        if self.seed != -1:
            check_seed(self.seed, "text.seed")
        if not self.tokenizer and self.vocab_size < 257:
            raise BadInput(f"vocab_size is {self.vocab_size}: at least 257 is needed (256 bytes and BOS)")


class Source(NamedTuple):
    """Where a document comes from, and its label ("" when it has none)."""

    origin: str
    label: str


class Text:
    """An opened text directory."""

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        self.manifest: dict[str, Any] = read_json(self.path / "text.json", dict, ("bos", "vocab_size"))

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        return tokenizer_lib.load_tokenizer(self.path / "tokenizer.json")

    @property
    def bos(self) -> int:
        return self.manifest["bos"]

    def tokens(self, split: str) -> np.ndarray:
        """[C,T] token ids of a split, train or heldout, memory-mapped. The array can be written to: the file stays as
        it is. Raises BadInput on another split."""
        return self._mapped(split, "tokens")

    def documents(self, split: str) -> np.ndarray:
        """[C,T] the index of each token's document, like `tokens`."""
        return self._mapped(split, "documents")

    def _mapped(self, split: str, what: str) -> np.ndarray:
        check_name("the split", split, SPLITS)
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


def prepare_text(path: pathlib.Path, config: TextConfig, context_length: int, seed: int) -> Text:
    """Reads, splits, tokenizes and packs a corpus into `path`, or opens `path` if it is complete.

    Raises BadInput on a corpus that is missing, malformed, or smaller than one context in either split.
    """
    if (path / "text.json").exists():
        return Text(path)
    config.check()
    seed = seed if config.seed == -1 else config.seed
    tokenizer = tokenizer_lib.load_tokenizer(config.tokenizer) if config.tokenizer else None
    documents = corpus_lib.read_corpus(config.corpus)
    heldout = corpus_lib.split_heldout(documents, config.heldout_fraction, seed)
    if tokenizer is None:
        texts = [d.text for d, h in zip(documents, heldout, strict=True) if not h]
        tokenizer = tokenizer_lib.train_tokenizer(texts, config.vocab_size)
    bos = tokenizer_lib.bos_id(tokenizer)
    counts, packed = {}, {}
    for split, members in (("train", np.flatnonzero(~heldout)), ("heldout", np.flatnonzero(heldout))):
        order = stream("text.pack", seed).permutation(members)
        tokens, where = _pack(documents, order, tokenizer, bos, context_length, split)
        packed[split] = tokens, where
        n_bytes = sum(len(documents[i].text.encode()) for i in members)
        counts[split] = {"contexts": len(tokens), "documents": len(members), "bytes": n_bytes}
    path.mkdir(parents=True, exist_ok=True)  # nothing is written before the whole text has been checked
    tokenizer.save(str(path / "tokenizer.json"))
    for split, (tokens, where) in packed.items():
        np.save(path / f"{split}_tokens.npy", tokens)
        np.save(path / f"{split}_documents.npy", where)
    write_json(path / "documents.json", [{"origin": d.origin, "label": d.label} for d in documents])
    manifest = {
        "format": 1,
        "corpus_sha256": corpus_lib.corpus_hash(documents),
        "tokenizer_sha256": file_hash(path / "tokenizer.json"),
        "vocab_size": tokenizer_lib.vocab_size(tokenizer),
        "bos": bos,
        "context_length": context_length,
        "splits": counts,
    }
    write_json(path / "text.json", manifest)
    return Text(path)


def _pack(
    documents: list[corpus_lib.Document], order: np.ndarray, tokenizer: Tokenizer, bos: int, length: int, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Concatenates the documents in `order`, BOS before each, and cuts them into contexts that begin with BOS.

    The last, partial context is dropped.
    """
    dtype = np.uint16 if tokenizer_lib.vocab_size(tokenizer) <= 1 << 16 else np.uint32
    pieces: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    for start in range(0, len(order), 256):
        part = order[start : start + 256]
        encoded = tokenizer.encode_batch([documents[i].text for i in part], add_special_tokens=False)
        for i, e in zip(part, encoded, strict=True):
            pieces.append(np.asarray([bos, *e.ids], dtype))
            owners.append(np.full(len(e.ids) + 1, i, np.int32))
    joined, owner = np.concatenate(pieces), np.concatenate(owners)
    n = len(joined) // (length - 1)
    if n == 0:
        raise BadInput(f"the {split} split has {len(joined)} tokens: smaller than one context of {length}")
    joined, owner = (a[: n * (length - 1)].reshape(n, length - 1) for a in (joined, owner))
    tokens = np.concatenate([np.full((n, 1), bos, dtype), joined], axis=1)
    return tokens, np.concatenate([owner[:, :1], owner], axis=1)
