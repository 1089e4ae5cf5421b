"""Which checkpoints are kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from monosem_jax.runtime.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Retention:
    """Keeps the newest `last` steps, multiples of `every` (0: none), step 0, and the step with the `best` metric:
    "NAME" is lowest there, "max:NAME" highest; "" keeps no step for its metric.

    A step that is not a multiple of `regular` (0: all are regular), such as one saved at a stop, is kept only while it
    is the newest, so that a stopped run keeps the same steps as an undisturbed one."""

    last: int = 2
    every: int = 0
    best: str = ""
    regular: int = 0

    def check(self) -> None:
        """Raises BadInput when `best` is not the name of a metric."""
        if self.best and not self.metric.isidentifier():
            raise BadInput(f"train.checkpoint.keep_best is {self.best!r}: expected the name of a metric, or max:NAME")

    @property
    def metric(self) -> str:
        """The name of the metric that decides which step is best, or ""."""
        return self.best.removeprefix("max:").removeprefix("min:")

    def stay(self, steps: Mapping[int, float | None]) -> set[int]:
        """The steps to keep of `steps`: those on disk, each with its metric or None."""
        regular = {s: v for s, v in steps.items() if not self.regular or s % self.regular == 0}
        newest = sorted({*regular, *sorted(steps)[-1:]})[-self.last :]
        kept = {0, *newest, *(s for s in regular if self.every and s % self.every == 0)}
        sign = -1 if self.best.startswith("max:") else 1
        known = [(sign * v, s) for s, v in regular.items() if v is not None and math.isfinite(v)]
        if self.best and known:
            kept.add(min(known)[1])  # the earliest of equals, so that the choice is stable
        return kept & steps.keys()
