"""Readers of text: .jsonl(.gz) with a `text` field, .txt, directories of them, the corpus inside the package; the split
into training, validation and held-out documents."""

from __future__ import annotations

import collections
import dataclasses
import gzip
import hashlib
import json
import pathlib
import zlib
from collections.abc import Iterator

import numpy as np

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.input_summary import InputSummary, plural
from monosem_jax.runtime.locations import local_path
from monosem_jax.runtime.progress import SHORT, progress
from monosem_jax.runtime.rng import stream
from monosem_jax.text.corpus_files import find_files

EMBEDDED = "embedded"
# Longer plain texts are cut into documents of about this many characters, so that a book has a held-out part.
TEXT_PIECE = 8_000


@dataclasses.dataclass(frozen=True)
class Document:
    """One text, its label ("" when it has none) and its origin: file and place."""

    text: str
    label: str
    origin: str


def read_corpus(path: str, summary: InputSummary | None = None) -> list[Document]:
    """All documents of a file, a directory (see `find_files`), or "embedded", with what was left out in `summary`.

    Raises BadInput when there are none, or with the file and place of the first that cannot be read.
    """
    summary = InputSummary() if summary is None else summary
    embedded = pathlib.Path(__file__).parent / "embedded" / "docs.jsonl.gz"
    files = [embedded] if path == EMBEDDED else find_files(str(local_path(path, "corpus")), summary)
    found: list[Document] = []
    with progress(sum(f.stat().st_size for f in files), "read text", "B", delay=SHORT) as bar:
        for file in files:
            found += read_file(file)
            bar.update(file.stat().st_size)
    documents = [d for d in found if d.text]
    if not documents:
        raise BadInput(f"corpus {path} is empty: no text in {plural(len(files), 'file')}")
    _report(documents, len(files), len(found) - len(documents), summary)
    return documents


def _report(documents: list[Document], n_files: int, empty: int, summary: InputSummary) -> None:
    """Adds to `summary` what was read."""
    n, equal = len(documents), len(documents) - len({d.text for d in documents})
    unlabelled = sum(not d.label for d in documents)
    size = sum(len(d.text) for d in documents)
    summary.add("files", n_files, "")
    line = f"{plural(n, 'document')} of {plural(size, 'character')} read from {plural(n_files, 'file')}"
    summary.add("documents", n, line)
    summary.add("empty_documents", empty, f"{plural(empty, 'document')} without text left out")
    summary.add("documents_without_label", unlabelled, f"{plural(unlabelled, 'document')} without a label")
    summary.add(
        "equal_documents",
        equal,
        f"{plural(equal, 'document has', 'documents have')} the text of an earlier one; equal texts lie on one side of "
        "the held-out split",
    )


def read_file(file: pathlib.Path) -> Iterator[Document]:
    """The documents of one file, in order. Raises BadInput with the file and the byte or line where it is malformed."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.name.lower().endswith(".gz") else file.read_bytes()
    except (OSError, EOFError, zlib.error) as e:
        raise BadInput(f"{file} cannot be read: {e}") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise BadInput(f"{file} is not UTF-8: byte {e.start} is 0x{data[e.start]:02x}") from None
    if file.name.lower().endswith(".txt"):
        for i, piece in enumerate(_pieces(text)):
            yield Document(piece, "", f"{file.name}#{i}")
        return
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if line.strip():
            yield _json_document(file, number, line)


def _json_document(file: pathlib.Path, number: int, line: str) -> Document:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as e:  # deep nesting and numbers of thousands of digits included
        raise BadInput(f"{file} line {number} is not JSON: {getattr(e, 'msg', e)}") from None
    text = fields.get("text") if isinstance(fields, dict) else None
    if not isinstance(text, str):
        raise BadInput(f"{file} line {number}: expected an object with a string field 'text'")
    label = fields.get("label", fields.get("source"))
    label = "" if label is None else str(label)
    for part in (text, label):
        try:
            part.encode("utf-8")
        except UnicodeEncodeError as e:
            raise BadInput(f"{file} line {number} is not valid Unicode: lone surrogate at {e.start}") from None
    return Document(text, label, str(fields.get("origin") or f"{file.name}:{number}"))


def _pieces(text: str) -> Iterator[str]:
    """Cuts a long text at blank lines, or else at line ends, into pieces of about TEXT_PIECE characters."""
    start = 0
    while len(text) - start > 2 * TEXT_PIECE:
        window = text[start : start + 2 * TEXT_PIECE]
        cut = window.find("\n\n", TEXT_PIECE)
        cut = cut if cut >= 0 else window.find("\n", TEXT_PIECE)
        stop = start + (cut + 1 if cut >= 0 else TEXT_PIECE)
        yield text[start:stop]
        start = stop
    yield text[start:]


def corpus_hash(documents: list[Document]) -> str:
    """The sha256 of all texts and labels, in order."""
    h = hashlib.sha256()
    for d in documents:
        for part in (d.text, d.label):
            data = part.encode("utf-8")
            h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()


def split_heldout(documents: list[Document], fraction: float, seed: int) -> np.ndarray:
    """A mask over documents, True for those held out: the same share of every label, chosen by `seed`.

    Documents with equal texts lie on the same side, and belong to the label of the first of them. Of a label with three
    or more texts at least one is held out; rarer labels are treated as one. Raises BadInput when no document would be
    held out or none would be left.
    """
    heldout = _drawn(documents, np.ones(len(documents), bool), fraction, stream("text.heldout", seed))
    if not heldout.any() or heldout.all():
        n_texts = len({d.text for d in documents})
        raise BadInput(
            f"{plural(len(documents), 'document')} with {plural(n_texts, 'different text')} and heldout_fraction "
            f"{fraction} leave {int(heldout.sum())} held out: at least one must be held out and one kept (give more "
            "documents)"
        )
    return heldout


def split_validation(documents: list[Document], heldout: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A mask over documents, True for those of the validation split: the share `fraction` of all documents, drawn from
    those that are not `heldout` by the rules of `split_heldout`. All False where `fraction` is 0 or the documents are
    too few. Raises BadInput when none would be left to train on."""
    if not fraction:
        return np.zeros(len(documents), bool)
    share = fraction * len(documents) / np.count_nonzero(~heldout)
    validation = _drawn(documents, ~heldout, share, stream("text.validation", seed))
    if (heldout | validation).all():
        raise BadInput(
            f"{plural(len(documents), 'document')} and validation_fraction {fraction} leave none to train on: "
            "expected a smaller fraction, or more documents"
        )
    return validation


def _drawn(documents: list[Document], among: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """A mask over documents, True for the share `fraction` of every label of the documents in the mask `among`."""
    equal: dict[str, list[int]] = collections.defaultdict(list)
    for i in np.flatnonzero(among).tolist():
        equal[documents[i].text].append(i)
    texts = list(equal.values())
    labels = [documents[members[0]].label for members in texts]
    count = collections.Counter(labels)
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for i, label in enumerate(labels):
        groups[label if count[label] >= 3 else ""].append(i)
    drawn = np.zeros(len(documents), bool)
    for label in sorted(groups):
        order = rng.permutation(groups[label])
        for text in _up_to_share(order, [len(texts[i]) for i in order], fraction):
            drawn[texts[text]] = True
    return drawn


def _up_to_share(order: np.ndarray, sizes: list[int], fraction: float) -> list[int]:
    """The first texts of `order` that together are at most the share `fraction` of all documents; of three or more
    texts at least one, the one with the fewest documents if need be. `sizes`: documents with each text."""
    share = round(fraction * sum(sizes))
    share = max(share, min(sizes)) if len(order) >= 3 else share
    chosen = []
    for text, size in zip(order, sizes, strict=True):
        if size <= share:
            chosen.append(int(text))
            share -= size
    return chosen
