"""SIGTERM and Ctrl-C: the first asks the program to stop at its next commit, a second Ctrl-C leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

from monosem_jax.runtime.errors import Stopped

EXIT_STOPPED = 75  # EX_TEMPFAIL: run the same command again


class SignalFlag:
    """Holds the name of the signal that has arrived, "" before."""

    requested: str = ""

    def check(self) -> None:
        """Raises Stopped when a signal has arrived."""
        if self.requested:
            raise Stopped(self.requested)


@contextlib.contextmanager
def signal_flag() -> Iterator[SignalFlag]:
    """Collects SIGTERM and SIGINT into a flag while the block runs (in the main thread; elsewhere it stays unset)."""
    flag = SignalFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(number, frame):
        del frame
        if flag.requested and number == signal.SIGINT:
            os._exit(128 + signal.SIGINT)
        flag.requested = signal.Signals(number).name
        with contextlib.suppress(OSError):  # without stderr the stop works all the same
            os.write(sys.stderr.fileno(), f"\n{flag.requested}: stopping at the next commit\n".encode())

    old = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
