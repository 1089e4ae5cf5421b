"""Exceptions that callers tell apart: mistakes that a user can fix, a stop, a full disk; and errors as one line."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Collection


class BadInput(ValueError):
    """The user gave something impossible; the message is one line: the thing, its value, what was expected.

    Characters that do not print, such as a line break in the name of a file, are shown as Python writes them.
    """

    def __init__(self, message: str):
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class NewerFormat(BadInput):
    """A directory that a newer version wrote."""

    def __init__(self, where: object, number: object, known: int):
        super().__init__(f"{where} has format {number}, this version reads up to {known}: upgrade monosem_jax")


class Stopped(Exception):
    """A signal asked the program to stop; everything up to the last commit is on disk."""


def short_error(e: BaseException, after: str = "") -> str:
    """The message of an exception, or of the one that caused it, as one line of at most 200 characters.

    It is without the source lines and specifications that TensorStore appends, and begins behind the last `after`.
    """
    while e.__cause__ is not None:
        e = e.__cause__
    message = re.split(r" \[[\w -]+='", str(e), maxsplit=1)[0]
    line = " ".join((message.rpartition(after)[2] if after else message).strip().partition("\n")[0].split())
    if not line:
        return type(e).__name__
    plain = isinstance(e, (ValueError, OSError, RuntimeError))  # the name of another kind tells something
    return (line if plain else f"{type(e).__name__}: {line}")[:200]


def listed(value: object, known: Collection[str]) -> str:
    """The names that `value` could be instead, for a message: all of them, and the one that is most like it."""
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near and near[0] != value else ""
    return (", ".join(known) or "none") + hint


def check_counts(owner: object, section: str, *names: str) -> None:
    """Raises BadInput naming the key of the first attribute of `owner` that is below 1."""
    for name in names:
        if getattr(owner, name) < 1:
            raise BadInput(f"{section}{name} is {getattr(owner, name)}: at least 1 is needed")


def disk_full(e: BaseException) -> bool:
    """Whether an exception of any library reports a full disk."""
    lines = ("No space left on device", "quota exceeded")
    return getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(line in str(e) for line in lines)
