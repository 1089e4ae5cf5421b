"""Where the numbers of a run go: metrics.jsonl and TensorBoard always, Weights & Biases where it is asked for.

All are written at once: what a checkpoint was made after is on the disk before it, and a killed process leaves no gap.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import secrets
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

from monosem_jax.runtime.errors import disk_full
from monosem_jax.runtime.files import write_text


class MetricWriters:
    """The logs in one run directory; used by the first process only. `patient`: lines wait while the disk is full."""

    def __init__(self, path: pathlib.Path, *, patient: bool = False, wandb: str = "", config: Any = None):
        self._path, self._patient, self._told = path, patient, False
        self._lines = _Appended(path / "metrics.jsonl")
        self._events: _Events | None = None
        self._wandb = _Wandb(path, wandb, config) if wandb else None
        self._purge_step: int | None = None

    def rewind(self, step: int) -> None:
        """Drops the lines of steps after `step`, and those cut short by a crash: a resumed run logs each step once."""
        file = self._path / "metrics.jsonl"
        if file.exists():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if (found := _logged_step(line)) is not None and found <= step]
            write_text(file, "".join(line + "\n" for line in kept))
            self._purge_step = step + 1

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Appends one step's metrics."""
        if self._events is None:
            self._events = _Events(self._path / "tensorboard", self._purge_step)
        now = round(time.time(), 3)
        # JSON has no NaN: what is not finite is written as null.
        values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        finite = {name: value for name, value in values.items() if value is not None}
        line = json.dumps({"step": step, "time": now, **values}, allow_nan=False) + "\n"
        self._lines.waiting += line.encode()
        self._events.add(step, now, finite)
        self.flush()
        if self._wandb:
            with self._disk_may_be_full():
                self._wandb.add(step, finite)

    def flush(self) -> None:
        """Writes what waits for room."""
        for file in self._files():
            with self._disk_may_be_full():
                file.flush()

    def _files(self) -> list[_Appended]:
        return [self._lines, self._events.file] if self._events else []

    @contextlib.contextmanager
    def _disk_may_be_full(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            if not (self._patient and disk_full(e)):
                raise
            if not self._told:
                print(f"the disk is full: the logs in {self._path} wait for room", file=sys.stderr, flush=True)
            self._told = True

    def close(self) -> None:
        """Closes the files; what still finds no room is lost then."""
        for file in self._files():
            try:
                file.flush()
            except OSError as e:
                print(f"the last lines of the logs in {self._path} are lost: {e.strerror}", file=sys.stderr)
            file.close()
        if self._wandb:
            self._wandb.close()


class _Appended:
    """A file that is appended to. What finds no room on the disk stays in `waiting`: Python's own files would lose what
    is beyond their 8 kB."""

    def __init__(self, path: pathlib.Path):
        self._path, self._file, self.waiting = path, None, bytearray()

    def flush(self) -> None:
        if self.waiting and self._file is None:
            self._path.parent.mkdir(exist_ok=True)
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        while self.waiting:
            del self.waiting[: self._file.write(self.waiting)]  # a part, where there is not enough room for all

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


# What a line raises that was cut short or is of others: an infinite step and deep nesting included.
NOT_OURS = (ValueError, KeyError, TypeError, OverflowError, RecursionError)


def read_metrics(path: pathlib.Path) -> list[tuple[int, dict[str, float | None]]]:
    """(step, metrics) of the lines of a run's metrics.jsonl; one that was cut short by a crash is left out."""
    file = path / "metrics.jsonl"
    if not file.exists():
        return []
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(*NOT_OURS):
            values = json.loads(line)
            found.append((int(values["step"]), {k: v for k, v in values.items() if k not in ("step", "time")}))
    return found


def _logged_step(line: str) -> int | None:
    try:
        return int(json.loads(line)["step"])
    except NOT_OURS:  # cut short by a crash
        return None


class _Events:
    """A TensorBoard event file. Not tensorboardX's SummaryWriter: what its thread has not written after two minutes is
    lost with a killed process, and once the thread has met a full disk, the program waits for it for ever."""

    def __init__(self, folder: pathlib.Path, purge_step: int | None):
        from tensorboardX.proto import event_pb2  # imported where used: it is slow
        from tensorboardX.record_writer import masked_crc32c
        from tensorboardX.summary import scalar

        self._event, self._crc, self._scalar = event_pb2.Event, masked_crc32c, scalar
        now = time.time()
        # TensorBoard reads in the order of names, in which purging must come after what is purged.
        earlier = [int(p.name.split(".")[3]) for p in folder.glob("events.out.tfevents.[0-9]*")]
        second = max([int(now), *(second + 1 for second in earlier)])
        self.file = _Appended(folder / f"events.out.tfevents.{second:010d}.{socket.gethostname()}.{os.getpid()}")
        self._append(wall_time=now, file_version="brain.Event:2")
        if purge_step is not None:  # TensorBoard is to forget the steps that are done again
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._append(wall_time=now, step=purge_step, session_log=start)

    def add(self, step: int, now: float, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self._append(wall_time=now, step=step, summary=self._scalar(name, value))

    def _append(self, **values: Any) -> None:
        data = self._event(**values).SerializeToString()
        length = struct.pack("<Q", len(data))
        for part in (length, data):
            self.file.waiting += part + struct.pack("<I", self._crc(part))


class _Wandb:
    """A run of Weights & Biases that belongs to a run directory: taken up again by who resumes, in which steps that
    were sent already are not sent twice (they are the same)."""

    def __init__(self, path: pathlib.Path, project: str, config: Any):
        import wandb  # an extra

        self._file = path / ".wandb.json"
        known: dict[str, Any] = {"id": secrets.token_hex(4), "step": -1}
        with contextlib.suppress(OSError, ValueError):  # a new run
            known = json.loads(self._file.read_text(encoding="utf-8"))
        self._id, self._sent = str(known["id"]), int(known["step"])
        self._run = wandb.init(
            project=project, id=self._id, name=path.name, dir=str(path), resume="allow", config=config,
            reinit="create_new",  # the members of a sweep have one each, at the same time
        )  # fmt: skip

    def add(self, step: int, metrics: dict[str, float]) -> None:
        if step > self._sent:  # by the processes before: this one may have several lines of a step
            self._run.log(metrics, step=step)
            write_text(self._file, json.dumps({"id": self._id, "step": step}))

    def close(self) -> None:
        self._run.finish()
