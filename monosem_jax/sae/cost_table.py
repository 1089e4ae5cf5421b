"""What a run or a sweep of dictionaries will take, before anything is started: memory, FLOPs, time, rows to be read.

The members of a sweep are trained on the same batches, which are read once. Those of one size are a group: they are
stacked in one program, and the programs of several groups take turns. So states and times are sums over all members,
and what is in memory only during a step is that of the group that needs most. Resampling, evaluation and compilation
are not counted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.formatting import duration, quantity, text_table
from monosem_jax.runtime.peak_flops import matmul_peak
from monosem_jax.sae.cost_model import StepCost, count_parameters

HEADER = ("features", "L1", "seed", "parameters", "state", "in a step", "FLOP", "time")


class Member(NamedTuple):
    """One dictionary of a sweep."""

    n_features: int
    sparsity: float
    seed: int


@dataclasses.dataclass(frozen=True)
class EnsembleCosts:
    """The members of one size, of which `together` are computed at a time. `seconds`: of all their steps; the
    properties are figures of one member."""

    members: tuple[Member, ...]
    layout: StepCost
    steps: int
    seconds: float
    together: int

    @property
    def parameters(self) -> int:
        """On all devices together."""
        return count_parameters(self.layout.n_features, self.layout.width)

    @property
    def state_bytes(self) -> int:
        """Held by each device from beginning to end."""
        return self.layout.state_bytes

    @property
    def step_bytes(self) -> int:
        """Held by each device during a step."""
        return self.layout.gradient_bytes + self.layout.activation_bytes

    @property
    def flops(self) -> int:
        """Of all steps on all devices."""
        return self.steps * self.layout.flops * self.layout.devices


@dataclasses.dataclass(frozen=True)
class SweepCosts:
    """The figures of all members. `basis` says where the time is from; a limit of 0 is not known."""

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
        """Of the group that needs most, as they take turns."""
        return max(g.together * g.step_bytes for g in self.groups)

    @property
    def row_bytes(self) -> int:
        """Of the rows on a device, which all members share."""
        return self.groups[0].layout.row_bytes(self.steps_per_dispatch, self.element_bytes)

    @property
    def device_bytes(self) -> int:
        """What each device holds at most."""
        return self.state_bytes + self.step_bytes + self.row_bytes

    @property
    def fits(self) -> bool:
        """Whether a device holds it; True when its limit is not known."""
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
        return self.groups[0].steps * self.groups[0].layout.batch_size

    @property
    def bytes_read(self) -> int:
        """Bytes of those rows."""
        return self.rows * self.groups[0].layout.width * self.element_bytes


def estimate(
    members: Sequence[Member],
    layout: StepCost,
    steps: int,
    *,
    seconds_per_step: Mapping[int, float] | None = None,
    mfu: float = 0.0,
    peak_tflops: float = 0.0,
    together: Callable[[int], int] | None = None,
    steps_per_dispatch: int = 1,
    element_bytes: int = 2,
    bytes_limit: int = 0,
    store_rows: int = 0,
) -> SweepCosts:
    """What `steps` steps of every member take.

    Args:
      layout: of any member; the others' differ in n_features.
      seconds_per_step: measured, by size: each of one step of all members of this size. Or else
      mfu: share of the peak that is reached, above 0 to 1; `peak_tflops` of a device, measured here when it is 0.
      together: how many members with so many features on a device are computed at a time; all of a size by default.
      element_bytes: of a number in a stored row.
      bytes_limit: memory of a device, 0 if it is not known.
      store_rows: rows in the store, 0 if it has no end.

    Raises BadInput on no members, no steps, sizes that the mesh does not divide, and on neither or both ways to tell
    the time.
    """
    if not members:
        raise BadInput("there is nothing to plan: expected at least one member")
    for name, value in (("steps", steps), ("steps_per_dispatch", steps_per_dispatch)):
        if value < 1:
            raise BadInput(f"{name} is {value}: at least 1 is needed")
    sizes: dict[int, list[Member]] = {}
    for member in members:
        sizes.setdefault(member.n_features, []).append(member)
    layouts = {size: dataclasses.replace(layout, n_features=size) for size in sizes}
    if (seconds_per_step is None) == (not mfu):
        raise BadInput("the time is told by measured seconds per step or by an MFU: expected one of them")
    if seconds_per_step is None:
        _check_positive("mfu", mfu, most=1)
        peak = peak_tflops or matmul_peak(jnp.bfloat16 if layout.compute_bytes == 2 else jnp.float32)
        _check_positive("peak_tflops", peak)
        basis = f"{100 * mfu:.3g} % of {peak:.3g} TFLOP/s on each device"
        seconds_per_step = {n: len(sizes[n]) * layouts[n].flops / (mfu * peak * 1e12) for n in sizes}
    else:
        basis = "measured steps"
        for size in sizes:
            _check_positive(f"seconds_per_step[{size}]", seconds_per_step.get(size, 0))
    groups = []
    for n, same in sizes.items():
        at_a_time = min(len(same), together(layouts[n].features)) if together else len(same)
        groups.append(EnsembleCosts(tuple(same), layouts[n], steps, steps * seconds_per_step[n], at_a_time))
    return SweepCosts(tuple(groups), steps_per_dispatch, element_bytes, basis, bytes_limit, store_rows)


def _check_positive(name: str, value: float, most: float = math.inf) -> None:
    if not (0 < value <= most and math.isfinite(value)):
        raise BadInput(
            f"{name} is {value}: expected a number above 0" + (f", at most {most}" if most < math.inf else "")
        )


def table(costs: SweepCosts) -> str:
    """The costs as text: a line for every member, their sums, then what they come to in words.

    The time is the group's, in its first line; a '"' stands for the same time.
    """
    lines = [HEADER]
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
    """What is common to all members: steps, rows, time, and memory against its limit."""
    layout, n = costs.groups[0].layout, costs.n_members
    read = f"read once for all {n}" if n > 1 else "read"
    epochs = f"; the store has {costs.store_rows:,}" if costs.store_rows else ""
    memory = (
        f"{quantity(costs.device_bytes, 'B')} on each device: states {quantity(costs.state_bytes, 'B')}, in a step "
        f"{quantity(costs.step_bytes, 'B')}, rows {quantity(costs.row_bytes, 'B')}"
    )
    if costs.bytes_limit:
        memory += f"; a device has {quantity(costs.bytes_limit, 'B')}"
    if not costs.fits:
        memory += ": DOES NOT FIT (more model shards, more micro-batches or fewer members take less)"
    return [
        f"mesh    data={layout.data},model={layout.model}",
        f"rows    {costs.groups[0].steps:,} batches of {layout.batch_size:,} = {costs.rows:,}{epochs}",
        f"bytes   {quantity(costs.bytes_read, 'B')}, {read}",
        f"time    {duration(costs.seconds)}, from {costs.basis}",
        f"memory  {memory}",
    ]
