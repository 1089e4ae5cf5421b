"""Writes PyTorch's file format without PyTorch: named arrays of fp32 or of whole numbers.

A file is a zip archive of stored (not compressed) entries below one folder:

    NAME/data.pkl    the object saved, as a pickle in which each tensor refers to its numbers by a key
    NAME/byteorder   "little"
    NAME/data/KEY    the numbers themselves, in C order
    NAME/version     "3"

The pickle is assembled from the thirteen opcodes that it needs, named as in Python's `pickletools`; `torch.load` reads
it, also with `weights_only=True`. A tensor is the call
`torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`, where the storage is the
persistent object ("storage", torch.FloatStorage, KEY, device, number of elements); int32 and int64 have an IntStorage
or LongStorage.
"""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np

PROTO, STOP, MARK, TUPLE, REDUCE, PERSISTENT = b"\x80\x02", b".", b"(", b"t", b"R", b"Q"
EMPTY_DICT, SETITEMS, EMPTY_TUPLE, FALSE = b"}", b"u", b")", b"\x89"
ZIP32 = 1 << 31
BLOCK = 1 << 26  # bytes
STORAGES = {"<f4": "FloatStorage", "<i4": "IntStorage", "<i8": "LongStorage"}


def save(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes name -> array as the state dictionary of a module: int32 and int64 unchanged, all others as fp32. The same
    arrays give the same bytes."""
    root = path.stem
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, f"{root}/data.pkl", [state_dict(arrays)])
        _add(archive, f"{root}/byteorder", [b"little"])
        for key, array in enumerate(arrays.values()):
            _add(archive, f"{root}/data/{key}", _blocks(array), size=array.nbytes)
        _add(archive, f"{root}/version", [b"3\n"])


def state_dict(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The pickle of {name: tensor}; the numbers of the i-th tensor are under key i."""
    items = b"".join(_text(name) + _tensor(str(key), a.shape, _kind(a)) for key, (name, a) in enumerate(arrays.items()))
    return PROTO + EMPTY_DICT + MARK + items + SETITEMS + STOP


def _kind(array: np.ndarray) -> str:
    """The type in which an array is written: a key of STORAGES."""
    return f"<i{array.itemsize}" if array.dtype.kind == "i" else "<f4"


def _tensor(key: str, shape: tuple[int, ...], kind: str) -> bytes:
    sizes = [1, *np.cumprod(shape[::-1], dtype=np.int64).tolist()]  # products of the axes to the right
    storage = _tuple(
        _text("storage"), _global("torch", STORAGES[kind]), _text(key), _text("cpu"), _integer(sizes[-1])
    )  # fmt: skip
    strides = sizes[-2::-1]
    hooks = _global("collections", "OrderedDict") + EMPTY_TUPLE + REDUCE
    arguments = _tuple(
        storage + PERSISTENT, _integer(0), _tuple(*map(_integer, shape)), _tuple(*map(_integer, strides)), FALSE, hooks
    )  # fmt: skip
    return _global("torch._utils", "_rebuild_tensor_v2") + arguments + REDUCE


def _tuple(*items: bytes) -> bytes:
    return MARK + b"".join(items) + TUPLE


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode("ascii")


def _text(value: str) -> bytes:
    """BINUNICODE."""
    data = value.encode("utf-8")
    return b"X" + len(data).to_bytes(4, "little") + data


def _integer(value: int) -> bytes:
    """LONG1, which holds integers of up to 255 bytes."""
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def _blocks(array: np.ndarray) -> Iterable[bytes]:
    kind, array = _kind(array), np.atleast_1d(array)
    rows = max(BLOCK // max(array[:1].nbytes, 1), 1)
    for i in range(0, len(array), rows):
        yield np.ascontiguousarray(array[i : i + rows], kind).tobytes()


def _add(archive: zipfile.ZipFile, name: str, blocks: Iterable[bytes], size: int = 0) -> None:
    entry = zipfile.ZipInfo(name)  # dated 1980, so that equal arrays give equal files
    with archive.open(entry, "w", force_zip64=size >= ZIP32) as f:
        for block in blocks:
            f.write(block)
