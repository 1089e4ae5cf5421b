"""Named tensors from a `.safetensors` file of unknown origin."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import DTYPES, SAFETENSORS_DTYPES, read_safetensors_header

# Types of numbers that are read beside floating-point weights only where a reader asks for them.
NUMBERS: dict[str, Any] = {"F64": np.float64, "I32": np.int32, "I64": np.int64}


def read_tensors(
    path: pathlib.Path,
    shapes: Mapping[str, tuple[int, ...]],
    optional: Mapping[str, tuple[int, ...]],
    numbers: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """The tensors of the given names and shapes, memory-mapped in the type that they have in the file.

    `numbers`: names of tensors that may also be fp64 or whole numbers.

    Raises BadInput when the file is damaged, lacks a tensor that is not optional, holds a tensor of another name, or
    one of another shape or of a type other than fp32, fp16 and bf16.
    """
    found = read_safetensors_header(path)
    known = {**shapes, **optional}
    for name in found:
        if name not in known:
            raise BadInput(f"{path} holds a tensor {name[:80]!r}: expected {', '.join(shapes)} and no other")
    for name, shape in known.items():
        if name not in found and name in shapes:
            raise BadInput(f"{path} holds no tensor {name}: it has {', '.join(sorted(found)) or 'none'}")
        if name in found and found[name].shape != shape:
            raise BadInput(f"{path}: {name} has shape {list(found[name].shape)}: expected {list(shape)}")
        types = {**SAFETENSORS_DTYPES, **(NUMBERS if name in numbers else {})}
        if name in found and found[name].dtype not in types:
            known_types = ", ".join(types)
            raise BadInput(f"{path}: {name} has dtype {found[name].dtype}: expected one of {known_types}")
    # Not through the library, whose NumPy side does not give bf16 in every version.
    return {name: np.memmap(path, _type(t.dtype), "r", t.offset, t.shape) for name, t in found.items()}


def _type(name: str) -> np.dtype:
    return np.dtype(NUMBERS[name] if name in NUMBERS else DTYPES[SAFETENSORS_DTYPES[name]])
