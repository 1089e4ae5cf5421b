"""What Orbax and tensorstore say of a damaged step or a full disk besides raising is kept from the user, who is told in
one line."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from monosem_jax.errors import disk_full

DAMAGE = ("Failed to get metadata for", "Task exception was never retrieved", "Future exception was never retrieved")

COROUTINES = r"coroutine '(PyTreeHandler\.\w+|_read_array\w*|async_\w+|_async_\w+)' was never awaited"


@contextlib.contextmanager
def while_reading() -> Iterator[None]:
    """Where the block raises, reads that nobody waits for any more go on for a while: each of them finds its event loop
    closed then, or its failure not asked for, and would tell a traceback of that."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_not_of_damage)  # the same one is taken once
    warnings.filterwarnings("ignore", COROUTINES, RuntimeWarning)
    told = sys.unraisablehook

    def tell(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            told(unraisable)

    sys.unraisablehook = tell
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sharding info not provided")
        yield
    sys.unraisablehook = told  # not reached where the block raises


def while_writing() -> None:
    """Orbax's threads tell tracebacks of what it raises too."""
    logging.getLogger("absl").addFilter(_not_of_full_disk)


def _not_of_damage(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(DAMAGE)


def _not_of_full_disk(record: logging.LogRecord) -> bool:
    return not (record.exc_info and record.exc_info[1] and disk_full(record.exc_info[1]))
