"""Named tensors out of a `.safetensors` file that somebody else wrote."""

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
    """The tensors of the given names and shapes, mapped from the file in the type that they have there.

    Raises BadInput when the file is damaged, one is missing (unless it is optional), one more is there, or one has
    another shape or a type other than fp32, fp16 and bf16.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as f:  # compares the whole header with the file's size
            slices = {name: f.get_slice(name) for name in f.keys()}  # noqa: SIM118
            found = {name: (s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}
        with open(path, "rb") as f:
            length = int.from_bytes(f.read(8), "little")
            header = json.loads(f.read(length))
    except Exception as e:  # the library's own kind; and what it does not look at may be too much for Python's JSON
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
    # Not through the library, whose NumPy side does not give bf16 in every version.
    begin = {name: 8 + length + header[name]["data_offsets"][0] for name in found}
    return {name: np.memmap(path, DTYPES[dtype], "r", begin[name], shape) for name, (dtype, shape) in found.items()}
