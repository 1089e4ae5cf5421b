"""Folders and files of weights, on this machine or in a key-value store, read by ranges of bytes."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.kvstore import Location
from monosem_jax.runtime.locations import is_url

PIECE = 16 << 20  # bytes of one request to a key-value store
AT_ONCE = 4  # requests
LONGEST_JSON = 256 << 20  # bytes


class File(Protocol):
    """A file of weights."""

    @property
    def name(self) -> str:
        """Its name without folders."""
        ...

    @property
    def size(self) -> int:
        """Its length in bytes; of a file in a key-value store not known before `expect`."""
        ...

    def expect(self, size: int) -> None:
        """Raises BadInput unless the file has exactly this size."""
        ...

    def start(self, n: int) -> np.ndarray:
        """The first `n` bytes, or all if the file is shorter; nothing if there is none."""
        ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """The bytes [start, stop) as uint8; raises BadInput when the file is shorter."""
        ...


class LocalFile:
    """A file on this machine, memory-mapped: what is not used is not read."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    @functools.cached_property
    def _mapped(self) -> np.ndarray:
        try:
            if not self.path.stat().st_size:
                return np.zeros(0, np.uint8)
            return np.memmap(self.path, np.uint8, "r").view(np.ndarray)
        except OSError as e:
            raise BadInput(f"{self.path} cannot be read: {e.strerror or e}") from None

    @property
    def size(self) -> int:
        return self._mapped.size

    def expect(self, size: int) -> None:
        if self.size != size:
            raise BadInput(f"{self}: {wrong_size(self.size, size)}")

    def start(self, n: int) -> np.ndarray:
        return self._mapped[:n]

    def read(self, start: int, stop: int) -> np.ndarray:
        if stop > self.size:
            raise BadInput(f"{self} has {self.size:,} bytes: expected at least {stop:,} (the file is cut short)")
        return self._mapped[start:stop]


def wrong_size(found: int, expected: int) -> str:
    """What is wrong with a size, for a message."""
    short = " (the file is cut short)" if found < expected else ""
    return f"has {found:,} bytes, its header says {expected:,}{short}"


class RemoteFile:
    """A file in a key-value store. Every part is read when asked for, and nothing is kept."""

    def __init__(self, folder: Location, file: str):
        self._folder, self._file, self._size = folder, file, 0

    def __str__(self) -> str:
        return f"{self._folder.name.rstrip('/')}/{self._file}"

    @property
    def name(self) -> str:
        return self._file.rpartition("/")[2]

    @property
    def size(self) -> int:
        return self._size

    def expect(self, size: int) -> None:
        last, more = self._folder.read_ranges(self._file, [(size - 1, size), (size, size + 1)])
        if last is None or more is not None:
            which = "more" if more is not None else "fewer"
            raise BadInput(f"{self} has {which} bytes than its header says: {size:,}")
        self._size = size

    def start(self, n: int) -> np.ndarray:
        (found,) = self._folder.read_ranges(self._file, [(0, n)])
        while found is None and n > 1:  # a store does not say how long a file is
            n //= 2
            (found,) = self._folder.read_ranges(self._file, [(0, n)])
            if found is not None:
                (rest,) = self._folder.read_ranges(self._file, [(n, None)])
                found += rest or b""
        return np.frombuffer(found or b"", np.uint8)

    def read(self, start: int, stop: int) -> np.ndarray:
        out = np.empty(stop - start, np.uint8)
        ranges = [(at, min(at + PIECE, stop)) for at in range(start, stop, PIECE)]
        for i in range(0, len(ranges), AT_ONCE):
            group = ranges[i : i + AT_ONCE]
            for (begin, end), found in zip(group, self._folder.read_ranges(self._file, group), strict=True):
                if found is None:
                    raise BadInput(f"{self} has fewer than {end:,} bytes (the file is cut short, or missing)")
                out[begin - start : end - start] = np.frombuffer(found, np.uint8)
        return out


class Folder:
    """A directory on this machine or a place in a key-value store. Files are named by paths in it."""

    def __init__(self, location: str | pathlib.Path):
        self.where = str(location)
        self.local = None if is_url(self.where) else pathlib.Path(location)
        self._remote = None if self.local is not None else Location(self.where)

    def __str__(self) -> str:
        return self.where

    @functools.cached_property
    def names(self) -> Sequence[str]:
        """The files directly in it."""
        if self._remote is not None:
            return [n for n in self._remote.list() if "/" not in n]
        assert self.local is not None
        try:
            return sorted(p.name for p in self.local.iterdir() if p.is_file())
        except OSError as e:
            raise BadInput(f"{self.where} cannot be listed: {e.strerror}") from None

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        if self.local is not None:
            return (self.local / name).is_file()
        assert self._remote is not None
        return name in self._remote.list(name)

    def file(self, name: str) -> File:
        """A file of weights; that it exists is known when it is read."""
        if self.local is not None:
            return LocalFile(self.local / name)
        assert self._remote is not None
        return RemoteFile(self._remote, name)

    def read(self, name: str) -> bytes | None:
        """A small file, or None if it does not exist; raises BadInput when it cannot be read or is very long."""
        longest = LONGEST_JSON
        if self._remote is not None:
            (beyond,) = self._remote.read_ranges(name, [(longest, longest + 1)])
            found = self._remote.read(name) if beyond is None else b"\0" * (longest + 1)
        else:
            assert self.local is not None
            try:
                with open(self.local / name, "rb") as f:
                    found = f.read(longest + 1)
            except FileNotFoundError:
                return None
            except OSError as e:
                raise BadInput(f"{self.where}/{name} cannot be read: {e.strerror}") from None
        if found is not None and len(found) > longest:
            raise BadInput(f"{self.where}/{name} has more than {longest:,} bytes: expected a small JSON file")
        return found

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file with an object; raises BadInput when it is missing, damaged, or anything else."""
        path, content = f"{self.where.rstrip('/')}/{name}", self.read(name)
        if content is None:
            raise BadInput(f"{path} does not exist")
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as e:  # numbers of thousands of digits and deep nesting included
            raise BadInput(f"{path} is not valid JSON: {e}") from None
        if not isinstance(found, dict):
            raise BadInput(f"{path} is not an object of JSON, but begins with {str(found)[:40]!r}")
        return found
