"""Regular expressions of users. One can take for ever (nested repetitions on a text that nearly matches), and Python
cannot stop it: so they are matched in another process, which can be stopped."""

from __future__ import annotations

import contextlib
import json
import pathlib
import queue
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence

from monosem_jax.analysis.proxies.patterns import Spans
from monosem_jax.runtime.errors import BadInput

WORKER = pathlib.Path(__file__).with_name("regex_worker.py")
SECONDS = 20.0  # for one block of contexts; an ordinary expression takes milliseconds


class BoundedPattern:
    """A regular expression that is given SECONDS for each list of texts."""

    def __init__(self, pattern: str):
        """Raises BadInput on what is no regular expression."""
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as e:
            raise BadInput(f"{pattern!r} is not a regular expression: {e}") from None
        self.pattern, self._seconds = pattern, SECONDS
        self._worker: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()

    def marks(self, texts: Sequence[str]) -> list[Spans]:
        """The matches in each text; raises BadInput when they take too long."""
        worker = self._started()
        assert worker.stdin is not None
        threading.Thread(target=_send, args=(worker, json.dumps(list(texts))), daemon=True).start()
        try:
            answer = self._answers.get(timeout=self._seconds)
        except queue.Empty:
            answer = ""
            self.close()
            raise BadInput(
                f"matching took more than {self._seconds:g} s on {len(texts):,} runs of text: an expression with "
                "nested repetitions, such as (a+)+b, can take for ever"
            ) from None
        if not answer:
            self.close()
            raise BadInput("the process that matches the expression ended")
        return [[(a, b) for a, b in spans] for spans in json.loads(answer)]

    def close(self) -> None:
        """Stops the process; the next call starts another."""
        worker, self._worker = self._worker, None
        if worker is not None:
            _stop(worker)

    def _started(self) -> subprocess.Popen[str]:
        if self._worker is None or self._worker.poll() is not None:
            worker = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for this process
            )
            self._answers = queue.Queue()
            _send(worker, json.dumps([self.pattern, int(2 * self._seconds) + 1]))
            threading.Thread(target=_read, args=(worker, self._answers), daemon=True).start()
            weakref.finalize(self, _stop, worker)
            self._worker = worker
        return self._worker


def _send(worker: subprocess.Popen[str], line: str) -> None:
    assert worker.stdin is not None
    with contextlib.suppress(OSError, ValueError):  # it has ended: no answer comes, and the caller says so
        worker.stdin.write(line + "\n")
        worker.stdin.flush()


def _read(worker: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        answers.put(line)
    answers.put("")


def _stop(worker: subprocess.Popen[str]) -> None:
    if worker.poll() is None:
        worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError, ValueError):
                pipe.close()
