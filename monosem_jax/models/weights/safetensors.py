"""The header of a .safetensors file: its tensors, checked, and parts of them read."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import numpy as np

from monosem_jax.models.weights.base import Index
from monosem_jax.models.weights.files import PIECE, File, LocalFile
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import DTYPES, SAFETENSORS_DTYPES

LONGEST_HEADER = 100_000_000  # bytes, as in the library safetensors
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


class Entry(NamedTuple):
    """A tensor in a file: its type in the file's words, its shape, and where its bytes begin."""

    file: File
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def check(self, name: str) -> None:
        """Raises BadInput on a type that is not read."""
        if self.dtype not in SAFETENSORS_DTYPES:
            known = ", ".join(SAFETENSORS_DTYPES)
            raise BadInput(f"{self.file}: {name} has dtype {self.dtype}: expected one of {known}")

    def read(self, index: Index | None = None) -> np.ndarray:
        """The tensor or a part of it. Of a remote file it needs the rows from the first to the last, in pieces."""
        dtype = np.dtype(DTYPES[SAFETENSORS_DTYPES[self.dtype]])
        row = math.prod(self.shape[1:]) * dtype.itemsize
        if not self.shape or not row:
            stop = self.offset + math.prod(self.shape) * dtype.itemsize
            return self.file.read(self.offset, stop).view(dtype).reshape(self.shape)[index or ()]
        rows, *rest = index or (slice(None),)
        first, last, _ = rows.indices(self.shape[0])

        def part(start: int, stop: int) -> np.ndarray:
            raw = self.file.read(self.offset + start * row, self.offset + stop * row)
            return raw.view(dtype).reshape(-1, *self.shape[1:])[(slice(None), *rest)]

        at_once = max(PIECE // row, 1)
        if isinstance(self.file, LocalFile) or last - first <= at_once or not rest:
            return part(first, max(last, first))
        return np.concatenate([part(i, min(i + at_once, last)).copy() for i in range(first, last, at_once)])


def read_header(file: File) -> dict[str, Entry]:
    """name -> entry of a .safetensors file; raises BadInput when it is missing, damaged or cut short."""
    begin = file.start(8)
    if len(begin) < 8:
        raise BadInput(f"{file} is not a readable .safetensors file: it has {len(begin)} bytes")
    length = int.from_bytes(begin.tobytes(), "little")
    if not 2 <= length <= LONGEST_HEADER:
        raise BadInput(f"{file} is not a readable .safetensors file: its header would have {length:,} bytes")
    try:
        header = json.loads(file.read(8, 8 + length).tobytes(), object_pairs_hook=_without_repeats)
    except BadInput:
        raise
    except (ValueError, RecursionError) as e:
        raise BadInput(f"{file} is not a readable .safetensors file: its header is not JSON: {e}") from None
    if not isinstance(header, dict):
        raise BadInput(f"{file} is not a readable .safetensors file: its header is no object of JSON")
    header.pop("__metadata__", None)
    found, spans = {}, []
    for name, entry in header.items():
        dtype, shape, span = _entry(file, name, entry)
        found[name] = Entry(file, dtype, shape, 8 + length + span[0])
        spans.append(span)
    at = 0
    for start, stop in sorted(spans):
        if start != at:
            raise BadInput(f"{file} is not a readable .safetensors file: tensors overlap or leave gaps at byte {at:,}")
        at = stop
    file.expect(8 + length + at)
    return found


def _entry(file: File, name: str, entry: Any) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    """(dtype, shape, (first byte, byte after the last)) of one entry of a header."""
    try:
        dtype, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        whole = all(type(n) is int and 0 <= n < 1 << 48 for n in (*shape, start, stop))
    except (TypeError, KeyError, ValueError):
        whole = False
    if not whole:
        raise BadInput(f"{file} is not a readable .safetensors file: its header has {name}: {str(entry)[:80]}")
    bits = BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is not None and math.prod(shape) * bits != (stop - start) * 8:
        raise BadInput(
            f"{file} is not a readable .safetensors file: {name} of dtype {dtype} and shape {list(shape)} has "
            f"{stop - start:,} bytes"
        )
    return str(dtype), shape, (start, stop)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found
