"""Calls of libraries that take long and look at no signal: Ctrl-C and SIGTERM are answered while they work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
PARTING = 2.0  # seconds


def interruptible(work: Callable[[], T], tick: Callable[[], Any] = lambda: None, every: float = 1.0) -> T:
    """Calls `work` in a thread of its own and returns its result, or raises its error.

    Python runs the handlers of signals in the main thread, which waits here meanwhile: whatever a handler raises leaves
    this function, and the thread is left behind. It ends with the program.

    Args:
      tick: called again and again while `work` runs, after `every` seconds.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as e:  # raised again below
            errors.append(e)
        finally:
            done.set()

    threading.Thread(target=run, name="interruptible", daemon=True).start()
    try:
        while not done.wait(every):
            tick()
    except BaseException:
        done.wait(PARTING)  # a thread that comes back to Python while the interpreter ends can abort the process
        raise
    if errors:
        raise errors[0]
    return results[0]
