"""Signals that give notice: the first asks the program to stop at its next commit, a second Ctrl-C leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

from monosem_jax.runtime.errors import Stopped

EXIT_STOPPED = 75  # EX_TEMPFAIL: run the same command again

# Schedulers announce a time limit with one of the two USR signals, the kernel one of CPU time with SIGXCPU; a terminal
# that goes away says SIGHUP. Each of them ends a program that does not handle it.
NOTICE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
ALWAYS = (signal.SIGTERM, signal.SIGINT)  # handled even if they are ignored, as shells leave Ctrl-C for jobs with "&"


class SignalFlag:
    """Holds the name of the signal that has arrived, "" before."""

    requested: str = ""

    def check(self) -> None:
        """Raises Stopped when a signal has arrived."""
        if self.requested:
            raise Stopped(self.requested)


def handled() -> list[signal.Signals]:
    """The signals of NOTICE that would end this process. One that is ignored stays so (SIGHUP under nohup), and so does
    a handler of the user's own, except those of SIGTERM and Ctrl-C."""
    ours = (signal.SIG_DFL, signal.default_int_handler)
    return [number for number in NOTICE if number in ALWAYS or signal.getsignal(number) in ours]


def interrupt_on_notice() -> None:
    """From now on every signal of NOTICE ends the program like Ctrl-C; for the time outside of `signal_flag`. (Only in
    the main thread; elsewhere it does nothing.)"""
    if threading.current_thread() is threading.main_thread():
        for number in handled():
            if number != signal.SIGINT:
                signal.signal(number, signal.default_int_handler)


def ignore_notice() -> None:
    """From now on every signal of NOTICE but Ctrl-C is ignored: the work is done, and one that came while the
    interpreter ends would make it look as if it were not."""
    if threading.current_thread() is threading.main_thread():
        for number in handled():
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def signal_flag() -> Iterator[SignalFlag]:
    """Collects NOTICE into a flag while the block runs (in the main thread; elsewhere it stays unset)."""
    flag = SignalFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(number, frame):
        del frame
        if flag.requested and number == signal.SIGINT:
            os._exit(128 + signal.SIGINT)
        flag.requested = signal.Signals(number).name
        with contextlib.suppress(OSError, ValueError, AttributeError):  # without stderr the stop works all the same
            os.write(sys.stderr.fileno(), f"\n{flag.requested}: stopping at the next commit\n".encode())

    old = {number: signal.signal(number, handle) for number in handled()}
    try:
        yield flag
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
