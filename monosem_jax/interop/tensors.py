"""Named tensors from a `.safetensors` file of unknown origin."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

import ml_dtypes
import numpy as np
import safetensors

from monosem_jax.runtime.errors import BadInput

DTYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16)}


def read_tensors(
    path: pathlib.Path, shapes: Mapping[str, tuple[int, ...]], optional: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """The tensors of the given names and shapes, memory-mapped in the type that they have in the file.

    Raises BadInput when the file is damaged, lacks a tensor that is not optional, holds a tensor of another name, or
    one of another shape or of a type other than fp32, fp16 and bf16.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as f:  # checks the whole header against the file's size
            slices = {name: f.get_slice(name) for name in f.keys()}  # noqa: SIM118
            found = {name: (s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}
        with open(path, "rb") as f:
            length = int.from_bytes(f.read(8), "little")
            header = json.loads(f.read(length))
    except Exception as e:  # SafetensorError, or a header that it accepts and Python's JSON does not
        raise BadInput(f"{path} is not a readable .safetensors file: {' '.join(str(e).split())[:200]}") from None
    known = {**shapes, **optional}
    for name in found:
        if name not in known:
            raise BadInput(f"{path} holds a tensor {name[:80]!r}: expected {', '.join(shapes)} and no other")
    for name, shape in known.items():
        if name not in found and name in shapes:
            raise BadInput(f"{path} holds no tensor {name}: it has {', '.join(sorted(found)) or 'none'}")
        if name in found and found[name][1] != shape:
            raise BadInput(f"{path}: {name} has shape {list(found[name][1])}: expected {list(shape)}")
        if name in found and found[name][0] not in DTYPES:
            raise BadInput(f"{path}: {name} has dtype {found[name][0]}: expected one of {', '.join(DTYPES)}")
    # The library's NumPy interface does not support bf16 in every version.
    begin = {name: 8 + length + header[name]["data_offsets"][0] for name in found}
    return {name: np.memmap(path, DTYPES[dtype], "r", begin[name], shape) for name, (dtype, shape) in found.items()}
