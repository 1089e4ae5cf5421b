"""How an experiment ends: one line and an exit code for errors that a user can fix, a traceback for all others."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn, TypeVar

from monosem_jax.runtime.errors import BadInput, Stopped, disk_full
from monosem_jax.runtime.signals import EXIT_STOPPED, interrupt_on_notice
from monosem_jax.runtime.streams import ForgivingStream, open_standard_files

T = TypeVar("T")
EXIT_BAD_INPUT = 2
PATIENCE = 2.0  # seconds


def guarded(body: Callable[[], T]) -> T:
    """Calls `body`. BadInput, a stop, Ctrl-C and a full disk end the program with one line; other errors keep their
    traceback."""
    open_standard_files()
    if not isinstance(sys.stderr, ForgivingStream):
        sys.stdout, sys.stderr = ForgivingStream(sys.stdout), ForgivingStream(sys.stderr)
    interrupt_on_notice()
    try:
        return body()
    except BadInput as e:
        end(str(e), EXIT_BAD_INPUT, "error: ")
    except Stopped as e:
        end(f"stopped by {e}", EXIT_STOPPED)
    except KeyboardInterrupt:
        line = "stopped: everything up to the last commit is on disk; the same command resumes"
        end(line, EXIT_STOPPED, at_once=True)
    except Exception as e:
        if disk_full(e):
            end("the disk is full; what was committed is kept: free space, then the same command resumes", 1, "error: ")
        if _processes():
            text = traceback.format_exc()
            time.sleep(PATIENCE)  # if a lost process is the cause, the watchdog reports it meanwhile
            end(text, 1, "error: ")
        raise


def end(line: str, code: int, kind: str = "", *, at_once: bool = False) -> NoReturn:
    """Prints the line to stderr and exits; one of several processes adds its number and does not wait for others.

    With `at_once` the interpreter does not clean up: what was interrupted may still be at work in the threads of a
    library, which would crash the process then.
    """
    processes = _processes()
    who = f"[process {processes.this_process()[0]}] " if processes else ""
    sys.stderr.write(f"{kind}{who}{line}\n")  # in one piece, so that the lines of several processes do not mix
    sys.stderr.flush()
    if processes:
        processes.exit_process(code)
    if at_once:
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _processes() -> ModuleType | None:
    """`monosem_jax.runtime.processes` if this is one of several processes, else None."""
    if not os.environ.get("MONOSEM_COORDINATOR"):  # a single process: do not import JAX just to report a misspelt flag
        return None
    from monosem_jax.runtime import processes

    return processes if processes.this_process()[1] > 1 else None
