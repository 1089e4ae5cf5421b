"""Metrics of a training loop: sums on the device, means in metrics.jsonl."""

from __future__ import annotations

import math
from typing import Any

from monosem_jax.errors import BadInput
from monosem_jax.run import Run, read_json, write_json


class MetricsLog:
    """Sums metrics over `every` steps and writes their means, one dispatch late so that the device never waits."""

    def __init__(self, run: Run, every: int, step: int):
        """Logs into `run` from `step` on: lines of later steps are dropped, an unfinished sum is taken up."""
        self._run, self._every = run, every
        self._pending: list[tuple[int, dict[str, Any]]] = []
        self._shown: dict[str, str] = {}
        self._sums: dict[str, float] = {}
        self._since = self._last = step
        self._unfinished = run.path / ".unfinished.json"
        if self._unfinished.exists() and (saved := read_json(self._unfinished))["step"] == step:
            self._sums, self._since = saved["sums"], saved["since"]
        run.rewind(step)

    def step(self, step: int, metrics: dict[str, Any]) -> dict[str, str]:
        """Takes the metrics of the dispatch that ended at `step`; returns what the progress line shows."""
        self._fetch()
        self._pending.append((step, metrics))
        return self._shown

    def add(self, step: int, numbers: dict[str, float]) -> None:
        """Logs the numbers of a report."""
        self.flush()
        self._run.log(step, numbers)
        self._shown = {**self._shown, **{k: f"{v:.4g}" for k, v in numbers.items()}}

    def flush(self) -> None:
        """Writes everything taken so far."""
        self._fetch()
        self._write()

    def suspend(self) -> None:
        """Keeps the unfinished sum for the process that resumes, whose lines are then those of an undisturbed run."""
        self._fetch()
        write_json(self._unfinished, {"step": self._last, "since": self._since, "sums": self._sums})

    def _fetch(self) -> None:
        for step, metrics in self._pending:
            for name, value in metrics.items():
                self._sums[name] = self._sums.get(name, 0.0) + float(value)
            if not math.isfinite(self._sums["loss"]):
                raise BadInput(
                    f"the loss is not finite by step {step}: lower the learning rate; "
                    f"the checkpoints in {self._run.path} are from before"
                )
            self._last = step
            if step // self._every > self._since // self._every:
                self._write()
        self._pending = []

    def _write(self) -> None:
        if not self._sums:
            return
        count = self._sums.pop("count")
        means = {name: value / count for name, value in self._sums.items()}
        self._run.log(self._last, means)
        self._shown = {"loss": f"{means['loss']:.4g}"}
        self._sums, self._since = {}, self._last
