"""A GGUF file: weights in one of many quantisations, configuration and tokenizer, dequantised with the package `gguf`.

Tensors have the names of llama.cpp; they are given those of Hugging Face, and what llama.cpp's converter changes in
them is undone (`monosem_jax.models.weights.gguf_names`). The file lies on this machine or in a key-value store.
"""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from tokenizers import Tokenizer

from monosem_jax.models.weights.base import Index
from monosem_jax.models.weights.files import File as Bytes
from monosem_jax.models.weights.files import Folder, LocalFile
from monosem_jax.models.weights.gguf_header import Entry, Header, read_header, size_of
from monosem_jax.models.weights.gguf_names import DIALECTS, Dialect, Metadata, llama3_scaling, stem_of
from monosem_jax.models.weights.gguf_tokenizer import make_tokenizer
from monosem_jax.runtime.errors import BadInput

PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
PLAIN = {0: np.float32, 1: np.float16, 30: ml_dtypes.bfloat16}  # types that are not quantised, by their numbers
MOST_PARTS = 4096


class File:
    """The tensors of a GGUF file, or of all files into which one was split. A part of a tensor is dequantised to fp32
    by rows; where columns are asked for it is the whole, which is kept for further parts."""

    def __init__(self, location: str | pathlib.Path):
        self.where = str(location)
        self._last: tuple[str, np.ndarray] | None = None

    @functools.cached_property
    def files(self) -> list[Bytes]:
        """The file, or all into which it was split."""
        folder, _, name = self.where.rpartition("/")
        found = PART.fullmatch(name)
        count = int(found[3]) if found else 1
        if not 1 <= count <= MOST_PARTS:
            raise BadInput(f"{self.where} would be one of {count} files: expected at most {MOST_PARTS}")
        names = [f"{found[1]}-{i:05}-of-{found[3]}.gguf" for i in range(1, count + 1)] if found else [name]
        place = Folder(f"{folder}/" if folder else ".")
        if missing := [n for n in names if found and not place.has(n)]:
            raise BadInput(f"{self.where} is one of {count} files, of which {missing[0]} does not exist here")
        return [place.file(n) for n in names]

    @functools.cached_property
    def _headers(self) -> list[Header]:
        headers = [read_header(file) for file in self.files]
        split = headers[0].metadata.get("split.count", 1)
        if split not in (0, len(headers)):
            raise BadInput(
                f"{self.where} is one of {split} files: expected names such as NAME-00001-of-{split:05}.gguf"
            )
        return headers

    @functools.cached_property
    def metadata(self) -> Mapping[str, Any]:
        """All values of its metadata."""
        return self._headers[0].metadata

    @functools.cached_property
    def architecture(self) -> str:
        """`general.architecture`; raises BadInput on one that we have no names for."""
        found = self.metadata.get("general.architecture")
        if found not in DIALECTS:
            raise BadInput(f"{self.where}: general.architecture is {found!r}: expected one of {', '.join(DIALECTS)}")
        return found

    @property
    def _dialect(self) -> Dialect:
        return DIALECTS[self.architecture]

    @functools.cached_property
    def _gguf(self) -> Any:
        try:
            import gguf
        except ImportError:
            raise BadInput(f"{self.where}: reading GGUF needs the package gguf: pip install gguf") from None
        return gguf

    @functools.cached_property
    def _theirs(self) -> dict[str, Entry]:
        """The tensors by llama.cpp's names; raises BadInput when one reaches beyond the end of its file."""
        sizes = self._gguf.GGML_QUANT_SIZES
        found: dict[str, Entry] = {}
        for header, file in zip(self._headers, self.files, strict=True):
            ends = []
            for name, t in header.tensors.items():
                if name in found:
                    raise BadInput(f"{self.where}: {name} is in two of its files")
                found[name] = t
                ends.append(t.offset + (size_of(t, sizes) or 0))
            self._check_size(file, max(ends, default=0), header)
        return found

    def _check_size(self, file: Bytes, end: int, header: Header) -> None:
        if isinstance(file, LocalFile):
            file.read(end, end)
            return
        align = header.metadata.get("general.alignment", 32)
        padded = -(-end // align) * align
        try:
            file.expect(padded)
        except BadInput:
            file.expect(end)

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """Its metadata as a config.json of Hugging Face."""
        shapes = {name: t.shape for name, t in self._theirs.items()}
        found = self._dialect.config(Metadata(self.where, self.architecture, self.metadata, shapes))
        if "rope_freqs.weight" in shapes:
            factors = self._dequantised("rope_freqs.weight", slice(None)).astype(np.float64)
            scaling = llama3_scaling(factors, found["rope_theta"], found["max_position_embeddings"])
            if scaling is None:
                raise BadInput(f"{self.where}: rope_freqs.weight divides angles in another way than Llama 3 does")
            found["rope_scaling"] = scaling
        return found

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        """Hugging Face's name → llama.cpp's."""
        return {self._dialect.name(name): name for name in self._theirs}

    @functools.cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        shapes = {name: self._theirs[theirs].shape for name, theirs in self._names.items()}
        return {name: shape[::-1] if self._is_turned(name) else shape for name, shape in shapes.items()}

    def check(self, name: str) -> None:
        theirs = self._names[name]
        kind = self._theirs[theirs].kind
        if f"{theirs.rpartition('.')[0]}.scale" in self._theirs:
            raise BadInput(f"{self.where}: {theirs} has a scale in a tensor of its own, which is not supported")
        if kind not in PLAIN and not self._readable(kind):
            raise BadInput(f"{self.where}: {theirs} is quantised as {self._kind(kind)}: gguf cannot read it")

    def _readable(self, kind: int) -> bool:
        try:
            _, size = self._gguf.GGML_QUANT_SIZES[kind]
            self._gguf.dequantize(np.zeros((1, size), np.uint8), self._gguf.GGMLQuantizationType(kind))
        except (KeyError, ValueError, NotImplementedError):
            return False
        return True

    def _kind(self, kind: int) -> str:
        """The name of a type."""
        try:
            return self._gguf.GGMLQuantizationType(kind).name
        except ValueError:
            return f"number {kind}, which gguf does not know"

    def read(self, name: str, index: Index | None = None) -> np.ndarray:
        self.check(name)
        shape = self.shapes[name]
        index = tuple(index or ()) + (slice(None),) * (len(shape) - len(index or ()))
        stored = index[::-1] if self._is_turned(name) else index
        columns = self._theirs[self._names[name]].shape[1:]
        if all(s.indices(n) == (0, n, 1) for s, n in zip(stored[1:], columns, strict=True)):
            found = self._rows(name, stored[0] if stored else slice(None))
        else:
            if self._last is None or self._last[0] != name:
                self._last = (name, self._rows(name, slice(None)))
            found = self._last[1][stored]
        return found.T if self._is_turned(name) else found

    @property
    def has_tokenizer(self) -> bool:
        """Whether there is a tokenizer with them: it belongs to the format."""
        return True

    def tokenizer(self) -> Tokenizer:
        """Its tokenizer, from the metadata."""
        return make_tokenizer(self.metadata, self.where)

    def _is_turned(self, name: str) -> bool:
        theirs = self._names[name]
        return stem_of(theirs) in self._dialect.turned and len(self._theirs[theirs].shape) == 2

    def _rows(self, name: str, rows: slice) -> np.ndarray:
        """Rows of a tensor as stored, in Hugging Face's order."""
        theirs = self._names[name]
        shape = self._theirs[theirs].shape
        find = self._dialect.order
        order = find(stem_of(theirs), shape[0], self.config) if find and shape else None
        if order is None:
            found = self._dequantised(theirs, rows)
        else:
            wanted = order[rows]
            first = int(wanted.min(initial=0))
            found = self._dequantised(theirs, slice(first, int(wanted.max(initial=-1)) + 1))[wanted - first]
        return found.astype(np.float32) - 1 if self._dialect.shifted and theirs.endswith("norm.weight") else found

    def _dequantised(self, theirs: str, rows: slice) -> np.ndarray:
        """Rows of a tensor as they are in the file."""
        t = self._theirs[theirs]
        n_rows = t.shape[0] if len(t.shape) > 1 else 1  # a vector is one row, which may be quantised too
        first, last, _ = rows.indices(n_rows) if len(t.shape) > 1 else (0, 1, 1)
        size = (size_of(t, self._gguf.GGML_QUANT_SIZES) or 0) // max(n_rows, 1)
        raw = t.file.read(t.offset + first * size, t.offset + max(last, first) * size).reshape(-1, size)
        if not raw.size:
            return np.zeros((len(raw), *t.shape[1:]) if len(t.shape) > 1 else t.shape, np.float32)
        if t.kind in PLAIN:
            found = raw.view(PLAIN[t.kind])
        else:
            found = self._gguf.dequantize(raw, self._gguf.GGMLQuantizationType(t.kind))
        if len(t.shape) > 1:
            return found.reshape(-1, *t.shape[1:])
        return found.reshape(t.shape)[rows] if t.shape else found.reshape(())
