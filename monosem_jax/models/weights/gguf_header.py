"""The header of a GGUF file: its metadata and its list of tensors, every number in it checked against the file.

The package `gguf` reads a header without such checks (a file of 100 MB can make it fill the memory), so that it is read
here; the package knows the types of tensors and dequantises them.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from typing import Any

import numpy as np

from monosem_jax.models.weights.files import File
from monosem_jax.runtime.errors import BadInput

SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
STRING, ARRAY = 8, 9
VERSIONS = (2, 3)
# More than any model has. Each is checked before anything is made for it.
MOST_KEYS, MOST_TENSORS, MOST_STRINGS, MOST_AXES = 1 << 16, 1 << 18, 1 << 23, 4
FIRST_READ, LONGEST = 1 << 20, 1 << 28  # bytes of a header; four times as many are read while it is longer


class Short(Exception):
    """The header goes on after the bytes that were read."""


class Damaged(Exception):
    """The header cannot be right."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A tensor: the number of its type, its shape in NumPy's order, and where its bytes begin in the file."""

    file: File
    kind: int
    shape: tuple[int, ...]
    offset: int


@dataclasses.dataclass(frozen=True)
class Header:
    """Metadata: key → number, string, list of strings, or array of numbers; tensors: name → entry."""

    metadata: dict[str, Any]
    tensors: dict[str, Entry]


class _Cursor:
    def __init__(self, content: memoryview):
        self.content, self.at = content, 0

    def take(self, n: int) -> memoryview:
        if n > len(self.content) - self.at:
            raise Short
        self.at += n
        return self.content[self.at - n : self.at]

    def scalar(self, kind: str) -> Any:
        return struct.unpack(kind, self.take(struct.calcsize(kind)))[0]

    def count(self, most: int, what: str) -> int:
        n = self.scalar("<Q")
        if n > most:
            raise Damaged(f"it would have {n:,} {what}: expected at most {most:,}")
        return n

    def string(self) -> str:
        return str(self.take(self.scalar("<Q")), "utf-8", "replace")

    def value(self) -> Any:
        kind = self.scalar("<I")
        if kind == STRING:
            return self.string()
        if kind in SCALARS:
            return self.scalar(SCALARS[kind])
        if kind != ARRAY:
            raise Damaged(f"a value has type {kind}")
        kind = self.scalar("<I")
        if kind == STRING:
            return [self.string() for _ in range(self.count(MOST_STRINGS, "strings in an array"))]
        if kind not in SCALARS:
            raise Damaged(f"an array has elements of type {kind}")
        dtype = np.dtype(SCALARS[kind])
        return np.frombuffer(self.take(self.scalar("<Q") * dtype.itemsize), dtype)


def read_header(file: File) -> Header:
    """The header of a file; raises BadInput when it is missing, damaged, cut short, or not GGUF."""
    n = FIRST_READ
    while True:
        content = file.start(n)
        if len(content) < 8:
            raise BadInput(f"{file} is not a readable GGUF file: it has {len(content)} bytes, or does not exist")
        try:
            return _parse(file, _Cursor(content.data))
        except Short:
            if len(content) < n:
                raise BadInput(f"{file} is not a readable GGUF file: it ends within its header") from None
            n *= 4
            if n > LONGEST:
                problem = f"its header is longer than {LONGEST:,} bytes"
                raise BadInput(f"{file} is not a readable GGUF file: {problem}") from None
        except Damaged as e:
            raise BadInput(f"{file} is not a readable GGUF file: {e}") from None


def _parse(file: File, c: _Cursor) -> Header:
    magic, version = bytes(c.take(4)), c.scalar("<I")
    if magic != b"GGUF":
        raise Damaged(f"it begins with {magic!r}")
    if version not in VERSIONS:
        big = version & 0xFFFF == 0
        raise Damaged("its numbers are big-endian" if big else f"its version is {version}: expected 2 or 3")
    n_tensors, n_keys = c.count(MOST_TENSORS, "tensors"), c.count(MOST_KEYS, "keys")
    metadata: dict[str, Any] = {}
    for _ in range(n_keys):
        key = c.string()
        if key in metadata:
            raise Damaged(f"{key[:60]} is there twice")
        metadata[key] = c.value()
    tensors = {}
    for _ in range(n_tensors):
        name, axes = c.string(), c.scalar("<I")
        if axes > MOST_AXES or name in tensors:
            raise Damaged(f"tensor {name[:60]} {'is there twice' if name in tensors else f'has {axes} axes'}")
        shape = tuple(c.scalar("<Q") for _ in range(axes))[::-1]
        tensors[name] = Entry(file, c.scalar("<I"), shape, c.scalar("<Q"))
    align = metadata.get("general.alignment", 32)
    if type(align) is not int or align < 1 or align & (align - 1):
        raise Damaged(f"general.alignment is {align}: expected a power of two")
    begin = -(-c.at // align) * align
    return Header(metadata, {n: dataclasses.replace(t, offset=begin + t.offset) for n, t in tensors.items()})


def size_of(entry: Entry, sizes: dict[Any, tuple[int, int]]) -> int | None:
    """The bytes of a tensor, given (values, bytes) of a block of each type; None if its type is unknown. Raises
    BadInput when its rows are no whole blocks."""
    block = sizes.get(entry.kind)
    if block is None:
        return None
    values, size = block
    if entry.shape and entry.shape[-1] % values:
        raise BadInput(f"{entry.file}: a tensor has rows of {entry.shape[-1]} values: expected a multiple of {values}")
    return math.prod(entry.shape) // values * size
