"""Silences what Orbax and TensorStore print about a damaged step or a full disk besides raising: the user gets one
line from us."""

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
    """After a failed read or write, others that nobody awaits go on for a while. Each of them would print a traceback,
    because its event loop is closed or nobody retrieves its exception."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_not_known)
    told = sys.unraisablehook

    def tell(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            told(unraisable)

    sys.unraisablehook = tell


@contextlib.contextmanager
def while_reading() -> Iterator[None]:
    """`silence_orbax`, and no warnings of Orbax inside the block."""
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
