"""Predicts the costs of a run or a sweep of dictionaries before it starts: memory, FLOPs, time, rows read.

The members of a sweep train on the same batches, which are read once. Members of one size form a group: they are
stacked in one program, and the programs of several groups take turns. States and times are therefore sums over all
members; memory that is needed only during a step is the largest of any group. Resampling, evaluation and compilation
are not counted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import jax.numpy as jnp

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.formatting import duration, quantity, text_table
from monosem_jax.runtime.peak_flops import matmul_peak
from monosem_jax.sae.cost_model import StepCost

HEADER = ("features", "L1", "seed", "parameters", "state", "in a step", "FLOP", "time")


class PlannedMember(NamedTuple):
    """One dictionary of a sweep."""

    n_features: int
    sparsity: float
    seed: int


@dataclasses.dataclass(frozen=True)
class EnsembleCosts:
    """The members of one size; `together` of them are computed at a time. `seconds` is the time of all their steps. The
    properties are figures of one member; `step` is the cost of its step."""

    members: tuple[PlannedMember, ...]
    step: StepCost
    steps: int
    seconds: float
    together: int

    @property
    def parameters(self) -> int:
        """Parameters of one member, on all devices together."""
        return self.step.all_parameters

    @property
    def state_bytes(self) -> int:
        """Bytes on each device during the whole training."""
        return self.step.state_bytes

    @property
    def step_bytes(self) -> int:
        """Additional bytes on each device during a step."""
        return self.step.gradient_bytes + self.step.activation_bytes

    @property
    def flops(self) -> int:
        """FLOPs of all steps on all devices."""
        return self.steps * self.step.flops * self.step.devices


@dataclasses.dataclass(frozen=True)
class SweepCosts:
    """The figures of all members. `basis` names the source of the time; a `bytes_limit` of 0 means unknown."""

    groups: tuple[EnsembleCosts, ...]
    steps_per_dispatch: int
    element_bytes: int
    basis: str
    bytes_limit: int
    store_rows: int

    @property
    def n_members(self) -> int:
        return sum(len(g.members) for g in self.groups)

    @property
    def parameters(self) -> int:
        return sum(len(g.members) * g.parameters for g in self.groups)

    @property
    def state_bytes(self) -> int:
        return sum(len(g.members) * g.state_bytes for g in self.groups)

    @property
    def step_bytes(self) -> int:
        """Additional bytes on each device during a step: the largest of any group, since groups take turns."""
        return max(g.together * g.step_bytes for g in self.groups)

    @property
    def row_bytes(self) -> int:
        """Bytes of the rows on a device, which all members share."""
        return self.groups[0].step.row_bytes(self.steps_per_dispatch, self.element_bytes)

    @property
    def device_bytes(self) -> int:
        """The most bytes that a device holds."""
        return self.state_bytes + self.step_bytes + self.row_bytes

    @property
    def fits(self) -> bool:
        """Whether `device_bytes` is within the device's limit; True if the limit is unknown."""
        return not self.bytes_limit or self.device_bytes <= self.bytes_limit

    @property
    def flops(self) -> int:
        return sum(len(g.members) * g.flops for g in self.groups)

    @property
    def seconds(self) -> float:
        return sum(g.seconds for g in self.groups)

    @property
    def rows(self) -> int:
        """Rows read from the source, once for all members."""
        return self.groups[0].steps * self.groups[0].step.batch_size

    @property
    def bytes_read(self) -> int:
        """Bytes of the rows read."""
        return self.rows * self.groups[0].step.row_width * self.element_bytes


def estimate(
    members: Sequence[PlannedMember],
    step_costs: Mapping[int, StepCost],
    steps: int,
    time: TimeBasis,
    *,
    together: Callable[[int], int] | None = None,
    steps_per_dispatch: int = 1,
    element_bytes: int = 2,
    bytes_limit: int = 0,
    store_rows: int = 0,
) -> SweepCosts:
    """The costs of `steps` steps of every member.

    Args:
      step_costs: the cost of one member's step, by number of features.
      time: the source of the time of a step.
      together: the number of members computed at a time, given the number of features per device; by default all of
        one size.
      element_bytes: bytes per number in a stored row.
      bytes_limit: memory of a device in bytes, 0 if unknown.
      store_rows: rows in the store, 0 if it has no end.

    Raises BadInput if there are no members or no steps, or if a time is impossible.
    """
    if not members:
        raise BadInput("there is nothing to plan: expected at least one member")
    for name, value in (("steps", steps), ("steps_per_dispatch", steps_per_dispatch)):
        if value < 1:
            raise BadInput(f"{name} is {value}: at least 1 is needed")
    sizes: dict[int, list[PlannedMember]] = {}
    for member in members:
        sizes.setdefault(member.n_features, []).append(member)
    of_all = {n: len(same) * step_costs[n].flops for n, same in sizes.items()}
    seconds, basis = time.seconds_per_step(of_all, step_costs[members[0].n_features].compute_bytes)
    groups = []
    for n, same in sizes.items():
        at_a_time = min(len(same), together(step_costs[n].features)) if together else len(same)
        groups.append(EnsembleCosts(tuple(same), step_costs[n], steps, steps * seconds[n], at_a_time))
    return SweepCosts(tuple(groups), steps_per_dispatch, element_bytes, basis, bytes_limit, store_rows)


class TimeBasis(Protocol):
    """The source of the time of a step."""

    def seconds_per_step(self, flops: Mapping[int, int], compute_bytes: int) -> tuple[Mapping[int, float], str]:
        """(seconds of one step of all members of each size, their source as text), from `flops`, the FLOPs per device
        of such a step. Raises BadInput on an impossible value."""
        ...


@dataclasses.dataclass(frozen=True)
class MeasuredSteps:
    """Measured seconds of one step of all members of each size."""

    seconds: Mapping[int, float]

    def seconds_per_step(self, flops: Mapping[int, int], compute_bytes: int) -> tuple[Mapping[int, float], str]:
        del compute_bytes
        for size in flops:
            _check_positive(f"seconds_per_step[{size}]", self.seconds.get(size, 0))
        return self.seconds, "measured steps"


@dataclasses.dataclass(frozen=True)
class ShareOfPeak:
    """`mfu` is the fraction of the matmul peak that steps reach, above 0 and at most 1; `peak_tflops` is the peak of
    one device in TFLOP/s, measured on this machine if it is 0."""

    mfu: float
    peak_tflops: float = 0.0

    def seconds_per_step(self, flops: Mapping[int, int], compute_bytes: int) -> tuple[Mapping[int, float], str]:
        _check_positive("mfu", self.mfu, most=1)
        peak = self.peak_tflops or matmul_peak(jnp.bfloat16 if compute_bytes == 2 else jnp.float32)
        _check_positive("peak_tflops", peak)
        basis = f"{100 * self.mfu:.3g} % of {peak:.3g} TFLOP/s on each device"
        return {n: f / (self.mfu * peak * 1e12) for n, f in flops.items()}, basis


def _check_positive(name: str, value: float, most: float = math.inf) -> None:
    if not (0 < value <= most and math.isfinite(value)):
        raise BadInput(
            f"{name} is {value}: expected a number above 0" + (f", at most {most}" if most < math.inf else "")
        )


def table(costs: SweepCosts) -> str:
    """The costs as text: a line for every member, the sums, then the figures that all members share.

    The first line of a group has the time of the whole group; its other lines have a '"' instead.
    """
    lines: list[tuple[str, ...]] = [HEADER]
    for g in costs.groups:
        figures = [f"{g.parameters:,}", quantity(g.state_bytes, "B"), quantity(g.step_bytes, "B")]
        figures += [quantity(g.flops, "FLOP"), duration(g.seconds)]
        for i, m in enumerate(g.members):
            own = [f"{m.n_features:,}", f"{m.sparsity:.4g}", f"{m.seed}", *figures]
            lines.append((*own[:-1], '"') if i else tuple(own))
    sums = [f"{costs.parameters:,}", quantity(costs.state_bytes, "B"), "", quantity(costs.flops, "FLOP")]
    lines.append(("all", "", "", *sums, duration(costs.seconds)))
    return "\n".join([*text_table(lines), "", *_words(costs)])


def _words(costs: SweepCosts) -> list[str]:
    """Lines on the figures that all members share: steps, rows, time, and memory compared with its limit."""
    step, n = costs.groups[0].step, costs.n_members
    read = f"read once for all {n}" if n > 1 else "read"
    epochs = f"; the store has {costs.store_rows:,}" if costs.store_rows else ""
    memory = (
        f"about {quantity(costs.device_bytes, 'B')} on each device: states {quantity(costs.state_bytes, 'B')}, "
        f"in a step about {quantity(costs.step_bytes, 'B')}, rows {quantity(costs.row_bytes, 'B')}"
    )
    if costs.bytes_limit:
        memory += f"; a device has {quantity(costs.bytes_limit, 'B')}"
    if not costs.fits:
        memory += ": DOES NOT FIT (more model shards, more micro-batches or fewer members take less)"
    return [
        f"mesh    data={step.data},model={step.model}",
        f"rows    {costs.groups[0].steps:,} batches of {step.batch_size:,} = {costs.rows:,}{epochs}",
        f"bytes   {quantity(costs.bytes_read, 'B')}, {read}",
        f"time    {duration(costs.seconds)}, from {costs.basis}",
        f"memory  {memory}",
    ]
