"""Packs a corpus into contexts on disk, for training the transformer and for harvesting activations."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from monosem_jax.runtime.config import check_seed, field
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import file_hash, write_json
from monosem_jax.runtime.input_summary import InputSummary, plural
from monosem_jax.runtime.locations import Place
from monosem_jax.runtime.processes import first_process
from monosem_jax.runtime.progress import SHORT, progress
from monosem_jax.runtime.rng import stream
from monosem_jax.text import corpus as corpus_lib
from monosem_jax.text import tokenizer as tokenizer_lib
from monosem_jax.text.coverage import check_coverage
from monosem_jax.text.directory import Text


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Where the text comes from and how it is split. Models that share text.seed can be compared token by token."""

    corpus: str = field(corpus_lib.EMBEDDED, identity=False, place=Place(words=(corpus_lib.EMBEDDED,)))
    """A .jsonl(.gz) or .txt file, a directory of them, or embedded: the corpus inside the package."""
    tokenizer: str = field("", identity=False, place=Place())
    """A tokenizer.json to use; empty: one is trained on the training split."""
    bos: str = ""
    """The token of that tokenizer that begins every context; empty: the one that its post-processor puts before a text,
    or whose name says so."""
    vocab_size: int = 1024
    """Tokens of a tokenizer trained here."""
    heldout_fraction: float = 0.08
    """Share of the documents that is held out."""
    validation_fraction: float = 0.05
    """Share of the documents for choosing settings: neither trained on nor reported; 0: none."""
    seed: int = -1
    """Decides which documents lie in which split and in which order they are packed; -1: the run's seed."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if not 0 < self.heldout_fraction < 1:
            raise BadInput(f"heldout_fraction is {self.heldout_fraction}: expected a number between 0 and 1")
        if not 0 <= self.validation_fraction < 1 - self.heldout_fraction:
            raise BadInput(
                f"validation_fraction is {self.validation_fraction}: expected 0 or more, and together with "
                f"heldout_fraction {self.heldout_fraction} less than 1"
            )
        if self.seed != -1:
            check_seed(self.seed, "text.seed")
        if not self.tokenizer and self.vocab_size < 257:
            raise BadInput(f"vocab_size is {self.vocab_size}: at least 257 is needed (256 bytes and BOS)")
        if self.bos and not self.tokenizer:
            raise BadInput(f"text.bos is {self.bos!r}: it names a token of text.tokenizer, which is empty")


def prepare_text(
    path: pathlib.Path, config: TextConfig, context_length: int, seed: int, *, batch_size: int = 1
) -> Text:
    """Reads, splits, tokenizes and packs a corpus into `path`, or opens `path` if it is complete (see `check_same`).

    What is left out is printed and written to text.json. Raises BadInput, before anything is written, on a corpus that
    is missing or malformed, or gives less than one held-out context or `batch_size` contexts to train on, and on a
    tokenizer that does not represent it. Where the validation documents are less than one context, there is no such
    split, and they are trained on.
    """
    if (path / "text.json").exists():
        check_same(path, config)
        return Text(path)
    config.check()
    seed = seed if config.seed == -1 else config.seed
    summary = InputSummary()
    tokenizer = tokenizer_lib.load_tokenizer(config.tokenizer) if config.tokenizer else None
    bos = tokenizer_lib.bos_id(tokenizer, config.bos) if tokenizer else 0
    documents = corpus_lib.read_corpus(config.corpus, summary)
    if tokenizer is not None:
        check_coverage(tokenizer, [d.text for d in documents], config.tokenizer, summary)
    heldout = corpus_lib.split_heldout(documents, config.heldout_fraction, seed)
    validation = corpus_lib.split_validation(documents, heldout, config.validation_fraction, seed)
    summary.tell()
    if tokenizer is None:
        texts = [documents[i].text for i in np.flatnonzero(~(heldout | validation))]
        tokenizer = tokenizer_lib.train_tokenizer(texts, config.vocab_size)
        bos = tokenizer_lib.bos_id(tokenizer)

    def pack(split: str, members: np.ndarray) -> Packed:
        order = stream("text.pack", seed).permutation(np.flatnonzero(members))
        return _pack(documents, order, tokenizer, bos, context_length, split, summary)

    packed: dict[str, Packed] = {}
    try:
        packed |= {"validation": pack("validation", validation)} if config.validation_fraction else {}
    except _TooShort as e:
        n, validation = int(validation.sum()), np.zeros_like(validation)
        summary.add("validation_documents_trained_on", n, f"{e}: {plural(n, 'document')} trained on instead")
    packed |= {"train": pack("train", ~(heldout | validation)), "heldout": pack("heldout", heldout)}
    summary.tell()
    if batch_size > (n := len(packed["train"].tokens)):
        raise BadInput(f"train.batch_size {batch_size} is larger than the {n} contexts")
    manifest = {
        "format": 1,
        "corpus": config.corpus,
        "corpus_sha256": corpus_lib.corpus_hash(documents),
        "vocab_size": tokenizer_lib.vocab_size(tokenizer),
        "bos": bos,
        "context_length": context_length,
        "splits": {split: found.counts for split, found in packed.items()},
        "tokenizer_given": bool(config.tokenizer),
        "input": summary.record(),
    }
    _write(path, documents, tokenizer, packed, manifest)
    return Text(path)


def check_same(path: pathlib.Path, config: TextConfig) -> None:
    """Compares corpus and tokenizer with those that the text directory `path` was made from, wherever they lie now.

    Raises BadInput when this is another corpus or tokenizer. Where the corpus is gone or has changed since, the text
    goes on without it, and a line says so. Nothing happens where there is no complete text directory.
    """
    if not (path / "text.json").exists():
        return
    text = Text(path)
    if config.corpus != corpus_lib.EMBEDDED and not pathlib.Path(config.corpus).exists():
        _say(f"corpus {config.corpus} does not exist any more: going on with the text prepared from it in {path}")
    elif "corpus_sha256" in text.manifest:
        now, then = corpus_lib.corpus_hash(corpus_lib.read_corpus(config.corpus)), text.manifest["corpus_sha256"]
        changed = (
            f"corpus {config.corpus} is not the one that {path} was prepared from (sha256 {now[:12]}, then {then[:12]})"
        )
        if now != then and "input" not in text.manifest and pathlib.Path(config.corpus).is_dir():
            _say(f"{changed}, or an earlier version chose other files of it: going on with the text in {path}")
        elif now != then and _in_its_place(config.corpus, text.manifest.get("corpus")):
            _say(f"{changed}: it has changed since, going on with the text in {path}")
        elif now != then:
            raise BadInput(f"{changed}: give that corpus again, or a new --workdir for this one")
    if config.tokenizer and tokenizer_lib.load_tokenizer(config.tokenizer).to_str() != text.tokenizer.to_str():
        raise BadInput(
            f"tokenizer {config.tokenizer} is not the one that {path} was prepared with: give that one again, or a new "
            "--workdir for this one"
        )
    if not config.tokenizer and text.manifest.get("tokenizer_given"):
        raise BadInput(
            f"text.tokenizer is empty: {path} was prepared with a tokenizer that was given, expected that one"
        )


def _in_its_place(corpus: str, before: str | None) -> bool:
    """Whether `corpus` lies where the one from `before` did, or that one is no longer there: it was moved."""
    return before is not None and (corpus == before or not pathlib.Path(before).exists())


def _say(line: str) -> None:
    if first_process():
        print(line, flush=True)


class _TooShort(BadInput):
    """A split is less than one context."""


class Packed(NamedTuple):
    """A split in contexts: `tokens` [C,T], the document of each token [C,T], and how much there is."""

    tokens: np.ndarray
    documents: np.ndarray
    counts: dict[str, int]


def _write(
    path: pathlib.Path,
    documents: list[corpus_lib.Document],
    tokenizer: Tokenizer,
    packed: dict[str, Packed],
    manifest: dict[str, Any],
) -> None:
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    for split, found in packed.items():
        np.save(path / f"{split}_tokens.npy", found.tokens)
        np.save(path / f"{split}_documents.npy", found.documents)
    write_json(path / "documents.json", [{"origin": d.origin, "label": d.label} for d in documents])
    write_json(path / "text.json", {**manifest, "tokenizer_sha256": file_hash(path / "tokenizer.json")})


def _pack(
    documents: list[corpus_lib.Document],
    order: np.ndarray,
    tokenizer: Tokenizer,
    bos: int,
    length: int,
    split: str,
    summary: InputSummary,
) -> Packed:
    """Concatenates the documents in `order`, BOS before each, and cuts them into contexts that begin with BOS.

    The last, partial context is left out.
    """
    dtype = np.uint16 if tokenizer_lib.vocab_size(tokenizer) <= 1 << 16 else np.uint32
    pieces: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    texts = [documents[i].text for i in order]
    with progress(sum(map(len, texts)), f"tokenize {split}", "characters", delay=SHORT) as bar:
        for start in range(0, len(order), 256):
            part = texts[start : start + 256]
            encoded = tokenizer_lib.encode(tokenizer, part)
            for i, e in zip(order[start : start + 256], encoded, strict=True):
                pieces.append(np.asarray([bos, *e.ids], dtype))
                owners.append(np.full(len(e.ids) + 1, i, np.int32))
            bar.update(sum(map(len, part)))
    joined = np.concatenate([np.empty(0, dtype), *pieces])
    owner = np.concatenate([np.empty(0, np.int32), *owners])
    n = len(joined) // (length - 1)
    if n == 0:
        raise _TooShort(f"the {split} split has {len(joined)} tokens: smaller than one context of {length}")
    rest = len(joined) - n * (length - 1)
    summary.add(
        f"{split}_tokens_left_out",
        rest,
        f"{plural(rest, 'token')} at the end of the {split} split left out: less than a context",
    )
    joined, owner = (a[: n * (length - 1)].reshape(n, length - 1) for a in (joined, owner))
    tokens = np.concatenate([np.full((n, 1), bos, dtype), joined], axis=1)
    n_bytes = sum(len(t.encode()) for t in texts)
    counts = {"contexts": n, "documents": len(order), "bytes": n_bytes}
    return Packed(tokens, np.concatenate([owner[:, :1], owner], axis=1), counts)
