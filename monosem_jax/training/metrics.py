"""The metrics of a training step: sums, means and last values, merged over steps on the device.

To add a metric, put it under its name into the `metrics` that an objective returns (`models/objective.py`,
`sae/objective.py`) or, for every kind of model, into those of `training/step.py`:

    metrics["l0"] = Mean(total, count)    # or Mean.of(value, count), if the mean of a batch is known
    metrics["fires"] = Sum(total)
    metrics["l1_coefficient"] = Last.of(value)

Nothing else is needed: the dispatch merges it over its steps, `metric_log.py` over the steps of a line, and
metrics.jsonl, TensorBoard and Weights & Biases show it under this name. A metric must be a scalar that is the same on
all devices.

Zeros are neutral in all three kinds: setting all numbers of a step to zero removes a step that is not applied.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from monosem_jax.runtime.errors import BadInput

Number = Any  # a scalar array, an array over steps or members, or a float


class Sum(NamedTuple):
    """A number that is summed over the steps of a log line, such as a count of events."""

    total: Number

    def over_steps(self) -> Sum:
        """Merged along the first axis, that of steps."""
        return Sum(self.total.sum(axis=0))

    def merge(self, later: Sum) -> Sum:
        """This one and one of later steps, together."""
        return Sum(self.total + later.total)

    def number(self) -> float:
        """What is logged."""
        return self.total


class Mean(NamedTuple):
    """A mean over `count` items, such as the rows of a batch, stored as their sum and divided when it is logged."""

    total: Number
    count: Number

    @classmethod
    def of(cls, value: Number, count: Number) -> Mean:
        """A metric from the mean itself."""
        return cls(value * count, count)

    def over_steps(self) -> Mean:
        """Merged along the first axis, that of steps."""
        return Mean(self.total.sum(axis=0), self.count.sum(axis=0))

    def merge(self, later: Mean) -> Mean:
        """This one and one of later steps, together."""
        return Mean(self.total + later.total, self.count + later.count)

    def number(self) -> float:
        """What is logged: NaN if no step was applied."""
        return self.total / self.count if self.count else math.nan


class Last(NamedTuple):
    """The value at the last step that was applied; `seen` is 0 if there was none."""

    value: Number
    seen: Number

    @classmethod
    def of(cls, value: Number) -> Last:
        """The value of a step that is applied."""
        return cls(jnp.asarray(value, jnp.float32), jnp.float32(1))

    def over_steps(self) -> Last:
        """Merged along the first axis, that of steps."""
        last = len(self.seen) - 1 - jnp.argmax(self.seen[::-1])
        return Last(self.value[last], self.seen[last])

    def merge(self, later: Last) -> Last:
        """This one and one of later steps, together."""
        return later if later.seen else self

    def number(self) -> float:
        """What is logged: NaN if no step was applied."""
        return self.value if self.seen else math.nan


Metric = Sum | Mean | Last
Metrics = dict[str, Metric]

KINDS: dict[str, type[Metric]] = {"sum": Sum, "mean": Mean, "last": Last}


def applied_only(metrics: Metrics, applied: jax.Array) -> Metrics:
    """The metrics of a step, all zero if it is not applied."""
    return jax.tree.map(lambda number: jnp.where(applied, number, 0), metrics)


def over_steps(metrics: Metrics) -> Metrics:
    """Metrics whose numbers have a first axis of steps, merged along it."""
    return {name: metric.over_steps() for name, metric in metrics.items()}


def member_metrics(metrics: Metrics, i: int) -> Metrics:
    """The metrics of the i-th stacked member as floats, from arrays [S]."""
    return jax.tree.map(lambda number: float(number[i]), metrics)


def merged(metrics: Metrics, later: Metrics) -> Metrics:
    """Merges the metrics of some steps with those of later steps."""
    found: dict[str, Any] = dict(metrics)
    for name, metric in later.items():
        found[name] = found[name].merge(metric) if name in found else metric
    return found


def to_json(metrics: Metrics) -> dict[str, list]:
    """Metrics in their JSON form: name → [kind, number, ...]; NaN and infinities, which JSON lacks, as text."""

    def plain(x: Any) -> Any:
        return x if math.isfinite(x) else str(float(x))

    return {name: [type(metric).__name__.lower(), *map(plain, metric)] for name, metric in metrics.items()}


def from_json(values: Any, where: object) -> Metrics:
    """The inverse of `to_json`; raises BadInput naming the source `where` if these values have another form."""
    try:
        return {str(name): KINDS[kind](*map(float, numbers)) for name, (kind, *numbers) in values.items()}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as e:
        raise BadInput(f"{where} holds no metrics of an unfinished line: {type(e).__name__}: {e}") from None
