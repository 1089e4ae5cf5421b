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
import sys
import time
from typing import Any

from monosem_jax.errors import disk_full


class Logs:
    """The logs in one run directory; used by the first process only. `patient`: lines wait while the disk is full."""

    def __init__(self, path: pathlib.Path, *, patient: bool = False, wandb: str = "", config: Any = None):
        self._path, self._patient, self._told = path, patient, False
        self._events: _Events | None = None
        self._wandb = _Wandb(path, wandb, config) if wandb else None
        self._purge_step: int | None = None

    def rewind(self, step: int) -> None:
        """Drops the lines of steps after `step`, and those cut short by a crash: a resumed run logs each step once."""
        file = self._path / "metrics.jsonl"
        if file.exists():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if (found := _logged_step(line)) is not None and found <= step]
            temporary = file.with_suffix(".tmp")
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
            os.replace(temporary, file)
            self._purge_step = step + 1

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Appends one step's metrics."""
        if self._events is None:
            self._lines = open(self._path / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115
            self._events = _Events(self._path / "tensorboard", self._purge_step)
        now = round(time.time(), 3)
        # JSON has no NaN: what is not finite is written as null.
        values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        finite = {name: value for name, value in values.items() if value is not None}
        self._lines.write(json.dumps({"step": step, "time": now, **values}, allow_nan=False) + "\n")
        self._events.add(step, now, finite)
        self._flush()
        if self._wandb:
            self._wandb.add(step, finite)

    def _flush(self) -> None:
        for file in (self._lines, self._events):
            try:
                file.flush()
            except OSError as e:  # Python keeps what was not written, and tries again with the next flush
                if not (self._patient and disk_full(e)):
                    raise
                if not self._told:
                    print(f"the disk is full: the logs in {self._path} wait for room", file=sys.stderr, flush=True)
                self._told = True

    def close(self) -> None:
        """Closes the files; what still finds no room is lost then."""
        if self._events is not None:
            for file in (self._lines, self._events):
                try:
                    file.close()
                except OSError as e:
                    print(f"the last lines of the logs in {self._path} are lost: {e.strerror}", file=sys.stderr)
        if self._wandb:
            self._wandb.close()


def read_metrics(path: pathlib.Path) -> list[tuple[int, dict[str, float | None]]]:
    """(step, metrics) of the lines of a run's metrics.jsonl; one that was cut short by a crash is left out."""
    file = path / "metrics.jsonl"
    if not file.exists():
        return []
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            values = json.loads(line)
            found.append((int(values["step"]), {k: v for k, v in values.items() if k not in ("step", "time")}))
    return found


def _logged_step(line: str) -> int | None:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # cut short by a crash
        return None


class _Events:
    """A TensorBoard event file. Not tensorboardX's SummaryWriter: what its thread has not written after two minutes is
    lost with a killed process, and once the thread has met a full disk, the program waits for it for ever."""

    def __init__(self, folder: pathlib.Path, purge_step: int | None):
        from tensorboardX.event_file_writer import EventsWriter  # imported where used: it is slow
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        folder.mkdir(exist_ok=True)
        self._event, self._scalar = event_pb2.Event, scalar
        self._file = EventsWriter(str(folder / "events"), f".{os.getpid()}")  # the rest of its name is the second
        if purge_step is not None:  # TensorBoard is to forget the steps that are done again
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._file.write_event(self._event(wall_time=time.time(), step=purge_step, session_log=start))

    def add(self, step: int, now: float, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self._file.write_event(self._event(wall_time=now, step=step, summary=self._scalar(name, value)))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


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
            project=project, id=self._id, name=path.name, dir=str(path), resume="allow", config=config
        )

    def add(self, step: int, metrics: dict[str, float]) -> None:
        if step > self._sent:
            self._run.log(metrics, step=step)
            self._sent = step
            self._file.write_text(json.dumps({"id": self._id, "step": step}), encoding="utf-8")

    def close(self) -> None:
        self._run.finish()
