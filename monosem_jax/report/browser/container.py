"""Data files of the browser: scripts that hand a key and bytes to the page.

Browsers refuse to read files for a page that was opened from disk, but they load scripts. So the data file KEY is
`data/KEY.js`, one call `monosem("KEY", "base64 of gzip")`; the page unpacks it.
"""

from __future__ import annotations

import base64
import gzip
import json
import pathlib
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_bytes

CALL = re.compile(rb'monosem\("[^"]+","([A-Za-z0-9+/=]+)"\)\n')
KEY = re.compile(r"[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*")  # nothing that a script or an address could take for more


def write_chunk(folder: pathlib.Path, key: str, data: bytes) -> int:
    """Writes `data` as the data file `key` of the browser in `folder`; returns the size of the file in bytes."""
    return write_packed(folder, key, gzip.compress(data, 6, mtime=0))


def write_json_chunk(folder: pathlib.Path, key: str, value: Any) -> int:
    """The same with a value as JSON. Raises ValueError on a number that is not finite."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return write_chunk(folder, key, text.encode("utf-8", "backslashreplace"))


def write_packed(folder: pathlib.Path, key: str, packed: bytes) -> int:
    """The same with bytes that are gzip already. Raises ValueError when `key` could be read as more than a name."""
    if not KEY.fullmatch(key) or ".." in key:
        raise ValueError(f"{key!r} cannot name a data file")
    path = folder / "data" / f"{key}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    script = b'monosem("%s","%s")\n' % (key.encode(), base64.b64encode(packed))
    write_bytes(path, script)
    return len(script)


def unpacked(path: pathlib.Path) -> Any:
    """The JSON value of a data file, as the page reads it. Raises BadInput when the file is damaged."""
    try:
        return json.loads(unpacked_bytes(path))
    except ValueError:
        raise BadInput(f"{path} is damaged: expected JSON in a data file of a browser of features") from None


def unpacked_bytes(path: pathlib.Path) -> bytes:
    """The bytes in a data file, as the page reads them. Raises BadInput when the file is damaged."""
    found = CALL.fullmatch(path.read_bytes())
    try:
        return gzip.decompress(base64.b64decode(found[1], validate=True))  # type: ignore[index]
    except (OSError, EOFError, TypeError, ValueError, zlib.error):
        raise BadInput(f"{path} is damaged: expected a data file of a browser of features") from None


def write_arrays_chunk(folder: pathlib.Path, key: str, arrays: Mapping[str, np.ndarray]) -> int:
    """The same with arrays by their names, as the page's `arrays.ts` reads them.

    A header of JSON that says names, kinds and numbers of values, and then the values, little-endian. Whole numbers are
    kept as int32 or uint8, others as float32. Raises ValueError on other kinds of values.
    """
    stored = {name: _stored(name, values) for name, values in arrays.items()}
    header = json.dumps([[name, x.dtype.str[1:], x.size] for name, x in stored.items()]).encode()
    parts = [struct.pack("<I", len(header)), header]
    for x in (None, *stored.values()):  # each begins at a multiple of 4 bytes
        parts.append(b"" if x is None else x.tobytes())
        parts.append(bytes(-sum(map(len, parts)) % 4))
    return write_chunk(folder, key, b"".join(parts))


def _stored(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    kinds = {"i": "<i4", "u": "<i4", "f": "<f4", "b": "u1"}
    if values.dtype.kind not in kinds:
        raise ValueError(f"the array {name} has values of the kind {values.dtype}: expected numbers")
    kind = "u1" if values.dtype == np.uint8 else kinds[values.dtype.kind]
    if kind == "<i4" and values.size and max(abs(int(values.min())), abs(int(values.max()))) >= 1 << 31:
        raise ValueError(f"the array {name} has numbers beyond 32 bits")
    return np.ascontiguousarray(values.ravel(), kind)
