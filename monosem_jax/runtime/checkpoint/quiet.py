"""What Orbax and tensorstore say of a damaged step or a full disk besides raising is kept from the user, who is told in
one line."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from monosem_jax.runtime.errors import disk_full

KNOWN = ("Failed to get metadata for", "Task exception was never retrieved", "Future exception was never retrieved")


@functools.cache
def silence_orbax() -> None:
    """Where a read or a write fails, others that nobody waits for any more go on for a while: each of them finds its
    event loop closed then, or its failure not asked for, and would tell a traceback of that."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_not_known)
    told = sys.unraisablehook

    def tell(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            told(unraisable)

    sys.unraisablehook = tell


@contextlib.contextmanager
def while_reading() -> Iterator[None]:
    """The same, and without Orbax's warnings."""
    silence_orbax()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sharding info not provided")
            yield
    except BaseException:
        warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)  # when it is deleted
        raise


def _not_known(record: logging.LogRecord) -> bool:
    full = record.exc_info and record.exc_info[1] and disk_full(record.exc_info[1])
    return not full and not record.getMessage().startswith(KNOWN)
