"""Metrics of a training loop: sums on the device, means in metrics.jsonl."""

from __future__ import annotations

import math

from monosem_jax.runtime.files import read_json, write_json
from monosem_jax.runtime.processes import first_process
from monosem_jax.runtime.workdir import RunDir


class MetricsLog:
    """Sums the metrics of one run over `every` steps and writes their means; "skipped", the number of steps that were
    not applied, stays a sum. `shown` is what the progress line says, `latest` the last value of every metric."""

    def __init__(self, run: RunDir, every: int, step: int):
        """Logs into `run` from `step` on: lines of later steps are dropped, an unfinished sum is taken up."""
        self._run, self._every = run, every
        self.shown: dict[str, str] = {}
        self.latest: dict[str, float] = {}
        self._sums: dict[str, float] = {}
        self._since = self._last = step
        self._unfinished = run.path / ".unfinished.json"
        saved = read_json(self._unfinished, dict, ("step", "sums", "since")) if self._unfinished.exists() else {}
        if saved.get("step") == step:
            self._sums, self._since = saved["sums"], saved["since"]
        run.rewind(step)
        for logged, numbers in run.logged():  # as it was for who saved this step
            if logged <= step:
                self._note(numbers)

    def take(self, step: int, metrics: dict[str, float]) -> None:
        """Takes the metrics of the dispatch that ended at `step`."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._last = step
        if step // self._every > self._since // self._every:
            self.flush()

    def add(self, step: int, numbers: dict[str, float]) -> None:
        """Logs the numbers of a report."""
        self.flush()
        self._log(step, numbers)
        self.shown = {**self.shown, **{k: f"{v:.4g}" for k, v in numbers.items()}}

    def flush(self) -> None:
        """Writes everything taken so far."""
        if not self._sums:
            return self._run.flush()
        count, skipped = self._sums.pop("count"), self._sums.pop("skipped")
        means = {name: value / count if count else math.nan for name, value in self._sums.items()}
        self._log(self._last, {**means, "skipped": skipped})
        self.shown = {"loss": f"{means['loss']:.4g}"}
        self._sums, self._since = {}, self._last

    def _log(self, step: int, numbers: dict[str, float]) -> None:
        self._run.log(step, numbers)
        self._note(numbers)

    def _note(self, numbers: dict[str, float | None]) -> None:
        self.latest |= {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}

    def suspend(self) -> None:
        """Keeps the unfinished sum for the process that resumes, whose lines are then those of an undisturbed run."""
        self._run.flush()
        if first_process():
            write_json(self._unfinished, {"step": self._last, "since": self._since, "sums": self._sums})
