"""Converts the metrics of a training loop to numbers: one line of metrics.jsonl for every `log_every` steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json, write_json
from monosem_jax.runtime.processes import first_process
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.training.metrics import Metrics, from_json, merged, to_json


class MetricsLog:
    """The log of one run: merges the metrics of `every` steps and writes a line of their numbers. `shown` has the
    values on the progress bar, `latest` the last finite value of every metric."""

    def __init__(self, run: RunDir, every: int, step: int, on_bar: Sequence[str] = ("loss",)):
        """Logs into `run` from `step` on: removes lines of later steps and continues an unfinished line.

        Args:
          on_bar: the metrics of a line that the progress bar shows.

        Raises BadInput if the file of the unfinished line is damaged.
        """
        self._run, self._every, self._on_bar = run, every, on_bar
        self.shown: dict[str, str] = {}
        self.latest: dict[str, float] = {}
        self._metrics: Metrics = {}
        self._since = self._last = step
        self._unfinished = run.path / ".unfinished.json"
        saved = read_json(self._unfinished, dict, ("step", "since")) if self._unfinished.exists() else {}
        if saved.get("step") == step:
            if type(since := saved["since"]) is not int:
                raise BadInput(f"{self._unfinished}: since is {since!r}, expected a step")
            self._metrics, self._since = from_json(_saved_metrics(saved), self._unfinished), since
        run.rewind(step)
        for logged, numbers in run.logged():  # so `latest` is as in the process that saved this step
            if logged <= step:
                self._note(numbers)

    def take(self, step: int, metrics: Metrics) -> None:
        """Merges the metrics, as floats, of the dispatch that ended at `step`; writes a line if one is due."""
        self._metrics = merged(self._metrics, metrics)
        self._last = step
        if step // self._every > self._since // self._every:
            self.flush()

    def add(self, step: int, numbers: dict[str, float]) -> None:
        """Logs the numbers of a report."""
        self.flush()
        self._log(step, numbers)
        self.shown = {**self.shown, **{k: f"{v:.4g}" for k, v in numbers.items()}}

    def flush(self) -> None:
        """Writes a line of all metrics since the last one."""
        if not self._metrics:
            return self._run.flush()
        numbers = {name: metric.number() for name, metric in sorted(self._metrics.items())}
        self._log(self._last, numbers)
        self.shown = {name: f"{numbers[name]:.4g}" for name in self._on_bar if name in numbers}
        self._metrics, self._since = {}, self._last

    def _log(self, step: int, numbers: dict[str, float]) -> None:
        self._run.log(step, numbers)
        self._note(numbers)

    def _note(self, numbers: Mapping[str, float | None]) -> None:
        self.latest |= {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}

    def suspend(self) -> None:
        """Saves the unfinished line for the resuming process, so that its lines are those of an uninterrupted run."""
        self._run.flush()
        if first_process():
            write_json(self._unfinished, {"step": self._last, "since": self._since, "metrics": to_json(self._metrics)})


def _saved_metrics(saved: dict[str, Any]) -> Any:
    """The metrics in the file of an unfinished line. Versions before typed metrics wrote sums, one shared count, and
    the number of steps skipped."""
    if "metrics" in saved:
        return saved["metrics"]
    sums = saved.get("sums")
    if not isinstance(sums, dict) or not sums:
        return sums
    own = {"count", "skipped"}
    means = {name: ["mean", value, sums.get("count")] for name, value in sums.items() if name not in own}
    return {**means, "skipped": ["sum", sums.get("skipped")]}
