"""Locations that users give: every path from a flag, a configuration or Python goes through here, once.

A key of a configuration that is a path says so beside its field, and says what else it may be:

    run: str = field("", place=Place())
    corpus: str = field("embedded", place=Place(words=("embedded",)))

`located` then replaces all of them in one pass, before the first line of a stage's work.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import urllib.parse
from typing import Any, NewType, TypeVar

from monosem_jax.runtime.errors import BadInput

C = TypeVar("C")

LocalPath = NewType("LocalPath", pathlib.Path)
"""An absolute path on this machine, with links resolved. Only `local_path` makes one."""

# "s3:/bucket" is what pathlib and some shells make of "s3://bucket". Of other words it is the name of a folder.
SCHEMES = (
    "abfs", "abfss", "adl", "az", "dbfs", "file", "ftp", "ftps", "gcs", "gs", "hdfs", "hf", "http", "https", "memory",
    "oss", "r2", "s3", "s3a", "s3n", "sftp", "ssh", "wasb", "wasbs", "webdav",
)  # fmt: skip
ONE_SLASH = re.compile(rf"\s*({'|'.join(SCHEMES)}):/", re.IGNORECASE)
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(/+)(.*)", re.DOTALL)


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a URL of a key-value store, or its specification as JSON, and not a local path."""
    text = str(path)
    return "://" in text or text.lstrip().startswith("{") or ONE_SLASH.match(text) is not None


def local_path(value: str | os.PathLike[str], name: str) -> LocalPath:
    """The path on this machine that `value` means; `name` is what it is called in messages.

    A leading ~ or ~user becomes that home directory, and a relative path begins at the working directory. Links are
    followed before ".." is removed, as the kernel does. Nothing needs to exist there. Raises BadInput on a URL, on text
    that is not a path, and on a path that leads through an unknown user, a loop of links, a link to nothing, or a
    folder that may not be entered.
    """
    text = _text(value, name)
    if is_url(text):
        raise BadInput(f"{name} is {text}: expected a path on this machine")
    whole = _from_root(text, name)
    try:
        found = os.path.realpath(whole, strict=True)
    except (FileNotFoundError, NotADirectoryError):
        found = os.path.realpath(whole)
        for place in (pathlib.Path(whole), *pathlib.Path(whole).parents):
            if place.is_symlink() and not place.exists():
                raise BadInput(
                    f"{name} is {text}: {place} is a link to {os.path.realpath(place)}, which does not exist"
                ) from None
    except OSError as e:  # a loop of links, a folder that may not be entered, a name that is too long
        raise BadInput(f"{name} is {_short(text)}: {e.strerror}") from None
    _text(found, name)
    return LocalPath(pathlib.Path(found))


def _text(value: Any, name: str) -> str:
    """A path as text; it is in UTF-8, since JSON files and TensorStore take nothing else."""
    try:
        text = os.fsdecode(value)
    except TypeError:
        raise BadInput(f"{name} is {value!r}: expected a path") from None
    if not text.strip():
        raise BadInput(f"{name} is {text!r}: expected a path")
    if "\0" in text:
        raise BadInput(f"{name} is {text!r}: a path has no NUL bytes")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{name} is {text!r}: expected a path in UTF-8") from None
    return text


def _from_root(text: str, name: str) -> str:
    """The path from the root, with links and ".." still in it."""
    found = os.path.expanduser(text)
    if found.startswith("~"):
        user = text.partition("/")[0]
        raise BadInput(f"{name} is {text}: there is no home directory {user} here (./{user} is a file of that name)")
    try:
        return found if os.path.isabs(found) else os.path.join(os.getcwd(), found)
    except FileNotFoundError:
        raise BadInput(f"{name} is {text}: the working directory does not exist any more") from None


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


@dataclasses.dataclass(frozen=True)
class Place:
    """What the value of a key that is a path may be, besides "" and a single path on this machine.

    words: these, with a meaning of their own ("./online" is a file of such a name).
    remote: a URL of a key-value store, or its specification as JSON.
    tensor: FILE.safetensors:TENSOR.
    several: several of all these, separated by commas.
    flag: what it is called in messages, if it has a flag of its own.
    prefixes: what begins with one of these is a name, such as hub:ORG/NAME.
    """

    words: tuple[str, ...] = ()
    remote: bool = False
    tensor: bool = False
    several: bool = False
    flag: str = ""
    prefixes: tuple[str, ...] = ()

    def locate(self, value: str | os.PathLike[str], name: str) -> str:
        """The value with every path in it as `local_path` makes it; raises BadInput like it."""
        text = _text(value, name)
        if text in self.words or text.startswith(self.prefixes):
            return text
        return ",".join(self._one(part, name) for part in (separated(text, name) if self.several else [text]))

    def same(self, value: Any) -> Any:
        """A recorded value in the form that `locate` gives, to compare it with another; as it is if it has none."""
        try:
            return self.locate(value, "") if value else value
        except BadInput:
            return value

    def _one(self, text: str, name: str) -> str:
        if self.remote and is_url(text):
            text = _url(text.strip(), name)
            if is_url(text):
                return text
        path, tensor = split_tensor(text) if self.tensor else (text, None)
        return f"{local_path(path, name)}{'' if tensor is None else f':{tensor}'}"


ANYWHERE = Place(remote=True)


def located(config: C, section: str = "config.") -> C:
    """The configuration with `Place.locate` applied to every path in it, sections included.

    Args:
      section: what comes before a key in messages, with its dot.
    """
    changed: dict[str, Any] = {}
    for f in dataclasses.fields(config) if dataclasses.is_dataclass(config) else ():
        value, name, place = getattr(config, f.name), section + f.name, f.metadata.get("place")
        if dataclasses.is_dataclass(value):
            value = located(value, f"{name}.")
        elif place is not None and value != "":
            value = place.locate(value, place.flag or name)
        if value is not getattr(config, f.name):
            changed[f.name] = value
    return dataclasses.replace(config, **changed) if changed else config  # type: ignore[type-var]


def separated(text: str, name: str = "source") -> list[str]:
    """The locations in a text that has them separated by commas, without the spaces around them.

    A file whose name has a comma in it stays whole if it exists. Raises BadInput where nothing stands between commas.
    """
    if text.lstrip().startswith("{"):
        return [text]  # a single specification as JSON
    parts, found = text.split(","), []
    while parts:
        ends = (n for n in range(len(parts), 1, -1) if _exists(",".join(parts[:n])))
        n = next(ends, 1)
        found.append(",".join(parts[:n]).strip())
        del parts[:n]
    if len(found) > 1 and not all(found):
        raise BadInput(f"{name} is {text!r}: expected a path before and after every comma")
    return found


def _exists(text: str) -> bool:
    return os.path.exists(os.path.expanduser(split_tensor(text.strip())[0]))


def split_tensor(name: str) -> tuple[str, str | None]:
    """(file, tensor) for `file.safetensors:tensor`, (name, None) for anything else."""
    head, colon, tensor = name.partition(".safetensors:")
    return (f"{head}.safetensors", tensor) if colon else (name, None)


def _url(text: str, name: str) -> str:
    """A URL with its scheme in small letters, as TensorStore wants it; the local path of a file:// URL.

    What TensorStore would refuse is left to it.
    """
    if text.startswith("{"):
        return _specification(text, name)
    match = URL.match(text)
    if match is None:
        return text
    scheme, slashes, rest = match[1].lower(), match[2], match[3]
    if scheme != "file":
        if len(slashes) == 1:
            raise BadInput(f"{name} is {text}: expected a path, or a URL with two slashes ({scheme}://{rest})")
        return f"{scheme}:{slashes}{rest}"
    host, slash, path = rest.partition("/") if len(slashes) == 2 else ("", "/", rest)
    if host not in ("", "localhost") or not slash:
        raise BadInput(f"{name} is {text}: expected file:/// and an absolute path")
    return str(local_path(urllib.parse.unquote(f"/{path}"), name))


def _specification(text: str, name: str) -> str:
    """A specification as JSON; the path in that of a local directory is resolved."""
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if spec.get("driver") == "file" and isinstance(spec.get("path"), str) and spec["path"]:
        return json.dumps({**spec, "path": f"{local_path(spec['path'], name)}/"})
    return text
