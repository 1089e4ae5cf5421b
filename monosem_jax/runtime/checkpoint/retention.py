"""Which checkpoints stay."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from monosem_jax.runtime.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Retention:
    """The newest `last` steps stay, multiples of `every` (0: none), step 0, and the one with the `best` metric: "NAME"
    is lowest there, "max:NAME" highest; "" keeps none for that.

    A step that is no multiple of `regular` (0: all are regular), such as one of a stop, stays only while it is the
    newest, so that a run that was stopped keeps what an undisturbed one does."""

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
        """The steps that stay of those on disk, which are given with the metric, as far as it is known there."""
        regular = {s: v for s, v in steps.items() if not self.regular or s % self.regular == 0}
        newest = sorted({*regular, *sorted(steps)[-1:]})[-self.last :]
        kept = {0, *newest, *(s for s in regular if self.every and s % self.every == 0)}
        sign = -1 if self.best.startswith("max:") else 1
        known = [(sign * v, s) for s, v in regular.items() if v is not None and math.isfinite(v)]
        if self.best and known:
            kept.add(min(known)[1])  # the earliest of equals: it does not wander
        return kept & steps.keys()
