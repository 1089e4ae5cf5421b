"""Files that are written whole or not at all: JSON, folders; reading arrays; hashes; the lock of a directory."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import pathlib
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

import jax
import ml_dtypes
import numpy as np

from monosem_jax.runtime.errors import BadInput, short_error
from monosem_jax.runtime.locations import local_path

# The floating-point types of arrays that are read and written, and what .safetensors files call them.
DTYPES = {"bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float16": np.float16}
MOST_NAMED = 8  # numbers that are not finite, in one line
SAFETENSORS_DTYPES = {"BF16": "bfloat16", "F32": "float32", "F16": "float16"}


@contextlib.contextmanager
def new_folder(output: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields an empty folder beside `output`. It is renamed to `output` when the body succeeds, and deleted otherwise.

    Raises BadInput when `output` exists and is not an empty folder, or cannot be written.
    """
    target = local_path(output, "--output")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise BadInput(f"--output {output} exists and is not an empty folder: nothing is overwritten, give another one")
    temporary = target.parent / f".export-{secrets.token_hex(6)}.tmp"
    try:
        temporary.mkdir(parents=True)
    except OSError as e:
        raise BadInput(f"--output {output} cannot be written: {e.strerror}") from None
    try:
        yield temporary
        _flush(temporary)
        try:
            os.rename(temporary, target)
        except OSError as e:  # another process was faster
            raise BadInput(f"--output {output} cannot be written: {e.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(folder: pathlib.Path) -> None:
    """Syncs everything to disk: else a rename may survive a power failure that the contents do not."""
    for path in (folder, *folder.rglob("*")):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON as `write_text` does; `to_json` says what becomes of numbers that are not finite."""
    write_text(path, to_json(value, path))


def to_json(value: Any, name: object) -> str:
    """The text of a JSON file; a line on stderr names the numbers of the file `name` that are null because they are not
    finite."""
    found = dict(not_finite(value))
    if found:
        value = finite(value)
        shown = ", ".join(f"{key} was {number}" for key, number in list(found.items())[:MOST_NAMED])
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        print(f"note: {name} has null where a number is not finite: {shown}{more}", file=sys.stderr, flush=True)
    return json.dumps(value, indent=1, allow_nan=False)


def not_finite(value: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """("a.b.0", number) for every NaN and infinity in nested dictionaries and sequences."""
    if isinstance(value, float) and not math.isfinite(value):
        yield prefix, float(value)
    elif isinstance(value, (dict, list, tuple)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from not_finite(inner, f"{prefix}.{key}" if prefix else str(key))


def finite(value: Any) -> Any:
    """`value` with None in place of what `not_finite` names."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file so that it is either the old one or the whole new one."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Writes a file so that it is either the old one or the whole new one."""
    temporary = path.with_name(f".{path.name}.tmp")  # hidden: RunDir ignores it after a crash
    with open(temporary, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an `.npz` archive so that it is either the old one or the whole new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as f:
        np.savez(f, allow_pickle=False, **arrays)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` archive; raises BadInput when it is missing, damaged, or anything else."""
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except Exception as e:  # a damaged archive raises many kinds
        raise BadInput(f"{path} is not a readable .npz archive: {short_error(e)}") from None


def read_json(path: pathlib.Path, kind: type[Any] = object, keys: Sequence[str] = ()) -> Any:
    """Reads a JSON file; raises BadInput when it is missing, damaged, of another kind, or lacks one of the keys."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist") from None
    except OSError as e:
        raise BadInput(f"{path} cannot be read: {e.strerror}") from None
    except (ValueError, RecursionError) as e:  # numbers of thousands of digits and deep nesting included
        raise BadInput(f"{path} is not valid JSON: {e}") from None
    if not isinstance(found, kind) or not all(key in found for key in keys):
        raise BadInput(f"{path} is not one of ours: expected a {kind.__name__} {' '.join(keys)}".rstrip())
    return found


def read_array(path: pathlib.Path, *, writable: bool = False) -> np.ndarray:
    """A `.npy` file, memory-mapped; raises BadInput when it is missing or anything else, such as an archive.

    Args:
      writable: whether the array can be written to, which never changes the file, where there is as much memory.
    """
    try:
        if writable:
            with contextlib.suppress(OSError):  # Linux may refuse to reserve as much memory
                return np.lib.format.open_memmap(path, mode="c")
        return np.lib.format.open_memmap(path, mode="r")  # unlike np.load, reads nothing but .npy
    except Exception as e:  # a damaged header raises many kinds
        raise BadInput(f"{path} is not a readable .npy array: {short_error(e)}") from None


class TensorEntry(NamedTuple):
    """A tensor of a `.safetensors` file: its type in the file's words, its shape, and where its bytes begin."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


def read_safetensors_header(path: pathlib.Path) -> dict[str, TensorEntry]:
    """name -> entry of a `.safetensors` file; raises BadInput when it is missing or damaged."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="numpy") as f:  # compares the whole header with the file's size
            slices = {name: f.get_slice(name) for name in f.keys()}  # noqa: SIM118
        with open(path, "rb") as f:
            length = int.from_bytes(f.read(8), "little")
            header = json.loads(f.read(length))
        begin = {name: 8 + length + header[name]["data_offsets"][0] for name in slices}
    except Exception as e:  # the library's own kind, and what Python's JSON raises on a header that the library accepts
        raise BadInput(f"{path} is not a readable .safetensors file: {short_error(e)}") from None
    return {name: TensorEntry(s.get_dtype(), tuple(s.get_shape()), begin[name]) for name, s in slices.items()}


def file_hash(path: pathlib.Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def lock(path: pathlib.Path, what: str = "workdir") -> IO[str]:
    """Locks a directory for writing until the returned file is closed. Raises BadInput when another run holds it."""
    if jax.process_index():
        return open(os.devnull)  # only the first process writes; noqa: SIM115
    handle = open(path / ".lock", "w")  # noqa: SIM115
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise BadInput(f"{what} {path} is in use by another run") from None
    return handle
