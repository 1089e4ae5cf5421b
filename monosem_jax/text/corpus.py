"""Readers of text: .jsonl(.gz) with a `text` field, .txt, directories of them, and the corpus inside the package."""

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
from monosem_jax.runtime.locations import local_path
from monosem_jax.runtime.rng import stream

EMBEDDED = "embedded"
SUFFIXES = (".jsonl", ".jsonl.gz", ".txt")
# Longer plain texts are cut into documents of about this many characters, so that a book has a held-out part.
TEXT_PIECE = 8_000


@dataclasses.dataclass(frozen=True)
class Document:
    """One text, its label ("" when it has none) and its origin: file and place."""

    text: str
    label: str
    origin: str


def read_corpus(path: str) -> list[Document]:
    """All documents of a file, a directory (searched recursively, in name order), or "embedded".

    Raises BadInput when there are none, or with the file and place of the first that cannot be read.
    """
    if path == EMBEDDED:
        files = [pathlib.Path(__file__).parent / "embedded" / "docs.jsonl.gz"]
    else:
        root = local_path(path, "corpus")
        if not root.exists():
            raise BadInput(f"corpus {path} does not exist")
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        if root.is_file() and not root.name.endswith(SUFFIXES):
            raise BadInput(f"corpus {path}: expected a name ending in {', '.join(SUFFIXES)}, or a directory")
        files = [f for f in files if f.name.endswith(SUFFIXES)]
        if not files:
            raise BadInput(f"corpus {path} holds no file ending in {', '.join(SUFFIXES)}")
    documents = [d for f in files for d in read_file(f) if d.text]
    if not documents:
        raise BadInput(f"corpus {path} is empty: no text in {len(files)} file(s)")
    return documents


def read_file(file: pathlib.Path) -> Iterator[Document]:
    """The documents of one file, in order. Raises BadInput with the file and the byte or line where it is malformed."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.name.endswith(".gz") else file.read_bytes()
    except (OSError, EOFError, zlib.error) as e:
        raise BadInput(f"{file} cannot be read: {e}") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise BadInput(f"{file} is not UTF-8: byte {e.start} is 0x{data[e.start]:02x}") from None
    if file.name.endswith(".txt"):
        for i, piece in enumerate(_pieces(text)):
            yield Document(piece, "", f"{file.name}#{i}")
        return
    for number, line in enumerate(text.split("\n"), 1):
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

    Of a label with three or more documents at least one is held out; rarer labels are treated as one. Raises BadInput
    when no document would be held out or none would be left.
    """
    heldout = np.zeros(len(documents), bool)
    count = collections.Counter(d.label for d in documents)
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for i, d in enumerate(documents):
        groups[d.label if count[d.label] >= 3 else ""].append(i)
    rng = stream("text.heldout", seed)
    for label in sorted(groups):
        members = rng.permutation(groups[label])
        share = round(fraction * len(members))
        heldout[members[: max(share, 1) if len(members) >= 3 else share]] = True
    if not heldout.any() or heldout.all():
        raise BadInput(
            f"{len(documents)} document(s) with heldout_fraction {fraction} leave {int(heldout.sum())} held out: "
            "at least one document must be held out and one kept (give more documents)"
        )
    return heldout
