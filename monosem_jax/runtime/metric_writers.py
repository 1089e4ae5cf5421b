"""Writers of a run's metrics: metrics.jsonl and TensorBoard always, Weights & Biases on request.

Every write reaches the disk at once: metrics logged before a checkpoint are on disk before it, and a killed process
leaves no gap.
"""

from __future__ import annotations

import contextlib
import io
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
    """The logs in one run directory, for the first process only. `patient`: lines wait while the disk is full, instead
    of raising OSError."""

    def __init__(
        self, path: pathlib.Path, *, patient: bool = False, wandb: str = "", config: dict[str, Any] | None = None
    ):
        self._path, self._patient, self._told = path, patient, False
        self._lines = _Appended(path / "metrics.jsonl")
        self._events: _Events | None = None
        self._wandb = _Wandb(path, wandb, config) if wandb else None
        self._purge_step: int | None = None

    def rewind(self, step: int) -> None:
        """Drops lines of steps after `step`, and lines cut short by a crash: a resumed run logs each step once."""
        file = self._path / "metrics.jsonl"
        if file.exists():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if (found := _logged_step(line)) is not None and found <= step]
            write_text(file, "".join(line + "\n" for line in kept))
            self._purge_step = step + 1

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Appends one step's metrics. What is not finite is null in metrics.jsonl and left out elsewhere."""
        if self._events is None:
            self._events = _Events(self._path / "tensorboard", self._purge_step)
        now = round(time.time(), 3)
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
        """Writes what is waiting for room on the disk."""
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
        """Closes the files. Lines for which there is still no room are lost, and a message says so."""
        for file in self._files():
            try:
                file.flush()
            except OSError as e:
                print(f"the last lines of the logs in {self._path} are lost: {e.strerror}", file=sys.stderr)
            file.close()
        if self._wandb:
            self._wandb.close()


class _Appended:
    """A file that is appended to. Bytes for which the disk has no room stay in `waiting`: Python's own buffered files
    lose those beyond 8 kB."""

    def __init__(self, path: pathlib.Path):
        self._path, self.waiting = path, bytearray()
        self._file: io.FileIO | None = None

    def flush(self) -> None:
        if not self.waiting:
            return
        if self._file is None:
            self._path.parent.mkdir(exist_ok=True)
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        while self.waiting:
            del self.waiting[: self._file.write(self.waiting)]  # on an almost full disk, a part of them

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


# What parsing a damaged or foreign line raises; an infinite step and deep nesting are among them.
NOT_OURS = (ValueError, KeyError, TypeError, OverflowError, RecursionError)


def read_metrics(path: pathlib.Path) -> list[tuple[int, dict[str, float | None]]]:
    """(step, metrics) of each line of a run's metrics.jsonl, without lines cut short by a crash."""
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
    """A TensorBoard event file.

    tensorboardX makes the events and their checksums, but its writers are not used. SummaryWriter writes from a thread:
    a killed process loses up to two minutes, and after a full disk the program waits for that thread for ever.
    EventsWriter overwrites the file of a writer that began in the same second, and a full disk damages its file.
    """

    def __init__(self, folder: pathlib.Path, purge_step: int | None):
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[attr-defined]  # slow to import
        from tensorboardX.record_writer import masked_crc32c
        from tensorboardX.summary import scalar

        self._event, self._crc, self._scalar = Event, masked_crc32c, scalar
        now = time.time()
        # TensorBoard reads files in the order of their names: the one that purges must come after those with the steps.
        earlier = [int(p.name.split(".")[3]) for p in folder.glob("events.out.tfevents.[0-9]*")]
        second = max([int(now), *(second + 1 for second in earlier)])
        self.file = _Appended(folder / f"events.out.tfevents.{second:010d}.{socket.gethostname()}.{os.getpid()}")
        self._append(wall_time=now, file_version="brain.Event:2")
        if purge_step is not None:  # TensorBoard forgets the steps that are done again
            start = SessionLog(status=SessionLog.START)
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
    """The run of Weights & Biases that belongs to a run directory. A resumed run continues it and does not send steps
    again that were sent before (they are the same)."""

    def __init__(self, path: pathlib.Path, project: str, config: dict[str, Any] | None):
        import wandb  # type: ignore[import-not-found]  # an extra

        self._file = path / ".wandb.json"
        known: dict[str, Any] = {"id": secrets.token_hex(4), "step": -1}
        with contextlib.suppress(OSError, ValueError):  # a new run
            known = json.loads(self._file.read_text(encoding="utf-8"))
        self._id, self._sent = str(known["id"]), int(known["step"])
        self._run = wandb.init(
            project=project,
            id=self._id,
            name=path.name,
            dir=str(path),
            resume="allow",
            config=config,
            reinit="create_new",  # the members of a sweep have one each, at the same time
        )

    def add(self, step: int, metrics: dict[str, float]) -> None:
        if step > self._sent:  # by earlier processes; this one may log a step in several lines
            self._run.log(metrics, step=step)
            write_text(self._file, json.dumps({"id": self._id, "step": step}))

    def close(self) -> None:
        self._run.finish()
