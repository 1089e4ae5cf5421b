"""Exceptions with a meaning of their own: mistakes that a user can mend, a stop, a full disk."""

from __future__ import annotations

import errno


class BadInput(ValueError):
    """Something given by the user is impossible; the message is one line: the thing, its value, what was expected."""


class NewerFormat(BadInput):
    """A directory that a newer version wrote."""

    def __init__(self, where: object, number: object, known: int):
        super().__init__(f"{where} has format {number}, this version reads up to {known}: upgrade monosem_jax")


class Stopped(Exception):
    """A signal asked the program to stop; everything up to the last commit is on disk."""


def check_counts(owner: object, section: str, *names: str) -> None:
    """Raises BadInput naming the first attribute of `owner` below 1, as the key that a user gives it by."""
    for name in names:
        if getattr(owner, name) < 1:
            raise BadInput(f"{section}{name} is {getattr(owner, name)}: at least 1 is needed")


def disk_full(e: BaseException) -> bool:
    """Whether an exception, of whatever library, says that there is no room left on a disk."""
    lines = ("No space left on device", "quota exceeded")
    return getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(line in str(e) for line in lines)
