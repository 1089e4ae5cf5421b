"""Arrays of an `.npz` archive of unknown origin: named, of known shapes, and nothing that could run code."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Collection

import numpy as np

from monosem_jax.runtime.errors import BadInput, short_error

TYPES = {"float16", "float32", "float64"}
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: pathlib.Path, known: Collection[str]) -> dict[str, np.ndarray]:
    """The arrays of these names, floating-point numbers of any shape.

    Raises BadInput when the archive is damaged or cut short, or holds another array or one of another type. Headers are
    compared with the sizes of the entries before numbers are read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                _check(path, archive, entry, known)
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except BadInput:
        raise
    except Exception as e:  # a damaged archive raises many kinds
        raise BadInput(f"{path} is not a readable .npz archive: {short_error(e)}") from None


def _check(path: pathlib.Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, known: Collection[str]) -> None:
    name = entry.filename.removesuffix(".npy")
    if name not in known or not entry.filename.endswith(".npy"):
        raise BadInput(f"{path} holds {entry.filename[:80]!r}: expected arrays {', '.join(known)} and no other")
    with archive.open(entry) as f:
        version = np.lib.format.read_magic(f)
        if version not in HEADERS:
            raise BadInput(f"{path}: {name} is of .npy version {version}: expected 1.0 or 2.0")
        shape, _, dtype = HEADERS[version](f)
        if dtype.hasobject or dtype.name not in TYPES:
            what = "Python objects, which can run code" if dtype.hasobject else f"numbers of type {dtype}"
            raise BadInput(f"{path}: {name} holds {what}: expected {', '.join(sorted(TYPES))}")
        promised = f.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if promised != entry.file_size:
            raise BadInput(
                f"{path}: {name} of shape {list(shape)} would have {promised} bytes: it has {entry.file_size}"
            )
