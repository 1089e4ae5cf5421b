"""Locations of data: a local directory, or any key-value store that TensorStore reaches (gs://, s3://, memory:// …)."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import tensorstore as ts

from monosem_jax.runtime import forks
from monosem_jax.runtime.errors import BadInput, short_error
from monosem_jax.runtime.files import to_json
from monosem_jax.runtime.locations import ANYWHERE, is_url


def context() -> ts.Context:
    """The TensorStore context of this process. Raises BadInput in a forked child, where no array can be opened."""
    forks.enter()
    return _context()


@functools.cache
def _context() -> ts.Context:
    """There is one, so that all memory:// locations share their data."""
    retries = {"max_retries": 6}  # about a minute; with the default, a wrong address fails only after an hour
    return ts.Context({"s3_request_retries": retries, "gcs_request_retries": retries})


class Location:
    """A directory, opened lazily. `file` of each method is a path relative to it.

    Takes a local path, a kvstore URL (`s3://bucket/path`, `gs://…`, `file:///…`, `memory://…`), or a kvstore
    specification as JSON. `AWS_ENDPOINT_URL` names the server of s3:// URLs when it is not Amazon's.
    """

    def __init__(self, path: str | os.PathLike[str] | Location):
        self.name: str = path.name if isinstance(path, Location) else str(path)
        self.spec = _spec(self.name)
        local = self.spec["driver"] == "file"
        self.local = pathlib.Path(self.spec["path"]) if local else None

    def __str__(self) -> str:
        return self.name

    def sub(self, name: str) -> dict[str, Any]:
        """The kvstore specification of a subdirectory, for an array."""
        return {**self.spec, "path": f"{self.spec['path']}{name}/"}

    def inside(self, name: str) -> Location:
        """The directory `name` in this one."""
        if self.name.startswith("{"):
            return Location(json.dumps({**json.loads(self.name), "path": f"{self.spec['path']}{name}/"}))
        return Location(f"{self.name.rstrip('/')}/{name}")

    @property
    def _kv(self) -> ts.KvStore:
        forks.enter()
        return self._opened

    @functools.cached_property
    def _opened(self) -> ts.KvStore:
        try:
            return ts.KvStore.open(self.spec, context=context()).result()
        except (ValueError, OSError, RuntimeError) as e:
            raise BadInput(f"{self.name} cannot be opened: {short_error(e)}") from None

    def read(self, file: str) -> bytes | None:
        """A file's bytes, or None if there is no such file; raises BadInput when the store cannot be reached."""
        try:
            found = self._kv.read(file).result()
        except (ValueError, OSError, RuntimeError) as e:
            raise BadInput(f"{self.name}: {file} cannot be read: {short_error(e)}") from None
        return bytes(found.value) if found.state == "value" else None

    def read_ranges(self, file: str, ranges: Sequence[tuple[int, int | None]]) -> list[bytes | None]:
        """The bytes [start, stop) of a file (all from `start` on if `stop` is None) for each of `ranges`, which are
        asked for all at once. None where there is no such file or it is shorter; raises BadInput when the store cannot
        be reached."""
        asked = [self._kv.read(file, byte_range=slice(*r)) for r in ranges]
        return [self._part(file, future) for future in asked]

    def _part(self, file: str, future: Any) -> bytes | None:
        try:
            found = future.result()
        except (ValueError, OSError, RuntimeError) as e:
            if str(e).startswith("OUT_OF_RANGE"):
                return None
            raise BadInput(f"{self.name}: {file} cannot be read: {short_error(e)}") from None
        return bytes(found.value) if found.state == "value" else None

    def write(self, file: str, content: bytes) -> None:
        """Replaces a file atomically. Raises BadInput if it cannot be written, except on a full disk."""
        try:
            self._kv.write(file, content).result()
        except (ValueError, OSError, RuntimeError) as e:
            if "No space left on device" in str(e):
                raise  # the caller handles a full disk
            raise BadInput(f"{self.name}: {file} cannot be written: {short_error(e)}") from None

    def delete(self, folder: str) -> None:
        """Deletes a directory inside this one; `folder` ends with a slash."""
        if self.local is not None:
            shutil.rmtree(self.local / folder, ignore_errors=True)  # deletes the locks of a killed process too
        else:
            self._kv.delete_range(ts.KvStore.KeyRange(folder, folder[:-1] + "0")).result()  # "0" comes after "/"

    def list(self, prefix: str = "") -> list[str]:
        """The paths of all files that begin with `prefix`, in order."""
        try:
            found = self._kv.list(ts.KvStore.KeyRange(prefix, prefix.encode() + b"\xff")).result()
        except (ValueError, OSError, RuntimeError) as e:
            raise BadInput(f"{self.name} cannot be listed: {short_error(e)}") from None
        return sorted(k.decode() for k in found)

    def read_json(self, file: str) -> Any:
        """A JSON file; raises BadInput with its name when it is missing or damaged."""
        content = self.read(file)
        if content is None:
            raise BadInput(f"{self.name.rstrip('/')}/{file} does not exist")
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as e:  # also raised by numbers of thousands of digits, and by deep nesting
            raise BadInput(f"{self.name.rstrip('/')}/{file} is not valid JSON: {e}") from None

    def write_json(self, file: str, value: Any) -> None:
        self.write(file, to_json(value, f"{self.name}/{file}").encode())

    def free_bytes(self) -> int | None:
        """Free space of the local disk; None for storage that is not local."""
        if self.local is None:
            return None
        existing = next(p for p in (self.local, *self.local.parents) if p.exists())
        return shutil.disk_usage(existing).free


def last_part(error: BaseException) -> str:
    """The last part of an error message, without the file names that TensorStore puts before it."""
    return short_error(error, after='": ')


def _spec(name: str) -> dict[str, Any]:
    where = ANYWHERE.locate(name, "location")
    if not is_url(where):
        return {"driver": "file", "path": f"{where}/"}
    try:
        spec = ts.KvStore.Spec(json.loads(where) if where.startswith("{") else where).to_json()
    except ValueError as e:
        raise BadInput(f"{name} is not a location: {short_error(e)}") from None
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if spec["driver"] == "s3" and endpoint:
        spec = {"endpoint": endpoint, "aws_region": os.environ.get("AWS_REGION", "us-east-1"), **spec}
    if spec["driver"] == "s3" and os.environ.get("AWS_ACCESS_KEY_ID"):
        spec = {
            "aws_credentials": {"type": "environment"},
            **spec,
        }  # without this TensorStore warns about a missing ~/.aws
    path = spec.get("path", "")
    return {**spec, "path": path if not path or path.endswith("/") else f"{path}/"}
