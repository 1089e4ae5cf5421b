"""The training loop: dispatches of many steps, transforms between them, reports and checkpoints.

It trains one model, or several groups of them on the same batches. Order of things, a contract:
  1. reports on the states before the dispatch (evaluation; checkpoint, step 0 included)
  2. the next block of batches [K,B,...], prefetched to the device
  3. transforms that are due
  4. one dispatch of K steps for every group
  5. the metrics of the dispatch before are fetched and logged
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from monosem_jax.runtime.errors import Stopped
from monosem_jax.runtime.processes import barrier_next
from monosem_jax.runtime.progress import progress
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.ensemble import Ensemble, EnsembleTrainer, Report, check_frozen, restore, save
from monosem_jax.training.preemption import preemption_sync
from monosem_jax.training.step import State


@dataclasses.dataclass(frozen=True)
class Transform:
    """What is done to the states of all groups before the steps `steps`: (states, step, batches) -> states."""

    steps: tuple[int, ...]
    apply: Callable[[list[State], int, Callable[[int, int], Any]], list[State]]


@dataclasses.dataclass
class FitResult:
    """The final states of the groups and what it took in this process: steps and seconds do not count earlier,
    interrupted runs. `frozen`: for each group, the step at which each of its members was given up, or None. `stalls`:
    for how many seconds each checkpoint, of all groups together, kept the devices waiting."""

    states: list[State]
    steps: int
    seconds: float
    frozen: list[list[int | None]]
    stalls: list[float]

    @property
    def mean_stall(self) -> float:
        """Seconds for which a checkpoint kept the devices waiting, as a mean; where there are others, without the
        first, for which programs are compiled, and the last, which is waited for."""
        usual = self.stalls[1:-1] or self.stalls
        return sum(usual) / max(len(usual), 1)


@dataclasses.dataclass(frozen=True)
class DispatchSchedule:
    """Where dispatches begin and what is due there: a function of the step alone, so that a resumed run follows it."""

    config: TrainConfig
    boundaries: tuple[int, ...]
    every: tuple[int, ...]

    def span(self, step: int) -> int:
        """The number of steps of the dispatch that begins at `step`."""
        ends = [step + self.config.steps_per_dispatch, self.config.steps, *(b for b in self.boundaries if b > step)]
        ends += [(step // n + 1) * n for n in (self.config.checkpoint_every, *self.every) if n]
        return min(ends) - step

    def passed(self, n: int, previous: int, step: int) -> bool:
        """Whether the dispatch from `previous` to `step` reached or crossed a multiple of n; 0 counts at the start."""
        return bool(n) and (step == 0 or step // n > previous // n)


def fit(
    groups: Sequence[Ensemble],
    *,
    config: TrainConfig,
    batches: Callable[[int, int], Any],
    transforms: Sequence[Transform] = (),
    reports: Sequence[Report] = (),
    unit: str = "rows",
    unit_per_batch: int = 0,
    description: str = "training",
) -> FitResult:
    """Trains from the newest checkpoint that all members have, or from the groups' states, to `config.steps`.

    Args:
      batches: (start, n) -> batches start … start+n-1 as one device array [n,B,...]; a pure function, so that a data
        position is the step number. Every batch is read once and used by all groups.

    A member whose steps stop being finite is frozen, and the others go on. Raises Stopped after a signal (the states
    are checkpointed), BadInput when no member is left.
    """
    plan = DispatchSchedule(config, tuple(s for t in transforms for s in t.steps), tuple(r.every for r in reports))
    prefetcher = ThreadPoolExecutor(1, "prefetch")
    trained, stalls = [EnsembleTrainer(group, config) for group in groups], []
    try:
        first = previous = step = restore(trained)
        for t in trained:
            t.open_logs(step)
        per_batch = unit_per_batch or config.batch_size
        shown = progress(config.steps * per_batch, description, unit, initial=step * per_batch)
        with preemption_sync(groups[0].mesh) as stop, shown as bar:
            ahead = prefetcher.submit(batches, step, plan.span(step)) if step < config.steps else None
            barrier_next("training begins")  # a collective on CPUs does not wait for who comes half a minute later
            begin = time.perf_counter()
            while True:
                for report in reports:
                    if step > first and plan.passed(report.every, previous, step):
                        for t in trained:
                            t.add(step, report)
                due = plan.passed(config.checkpoint_every, previous, step) or step == config.steps
                if due or stop.requested:
                    for t in trained:
                        t.fetch()
                    check_frozen(trained, config.guard)
                    needed = bool(stop.requested) or step == config.steps
                    stalls.append(save(trained, step, whole_lines=due, needed=needed))
                if step == config.steps:
                    break
                stop.check()
                n, block = plan.span(step), ahead.result()
                for transform in transforms:
                    if step in transform.steps:  # it reads batches too, which is why the next are not read ahead yet
                        states = transform.apply([t.state for t in trained], step, batches)
                        for t, state in zip(trained, states, strict=True):
                            t.state = state
                if step + n < config.steps:
                    ahead = prefetcher.submit(batches, step + n, plan.span(step + n))
                previous, step = step, step + n
                signals = stop.signals()
                for t in trained:
                    t.dispatch(step, block, signals)
                stop.heard(trained[0].signal)
                del block
                check_frozen(trained, config.guard)
                bar.update(n * per_batch)
                bar.set_postfix(trained[0].logs[0].shown, refresh=False)
        jax.block_until_ready([t.state for t in trained])
        seconds = time.perf_counter() - begin
        return FitResult([t.state for t in trained], step - first, seconds, [t.frozen for t in trained], stalls)
    except Stopped as e:
        paths = trained[0].group.runs[0].path
        raise Stopped(f"{e}: step {step} of {config.steps} is saved in {paths}; the same command resumes") from None
    finally:
        for t in trained:
            t.close()
        prefetcher.shutdown(cancel_futures=True)
