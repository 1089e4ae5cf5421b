"""The training loop: dispatches of many steps, transforms between them, reports and checkpoints.

It trains one or more ensembles on the same batches. The order is a contract:
  1. reports on the states before the dispatch (evaluation; checkpoint, step 0 included)
  2. the next block of batches [K,B,...], prefetched to the device
  3. transforms that are due
  4. one dispatch of K steps for every group
  5. the metrics of the previous dispatch are fetched and logged
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, cast

import jax

from monosem_jax.runtime.ambient import pool
from monosem_jax.runtime.errors import Stopped
from monosem_jax.runtime.processes import barrier_next
from monosem_jax.runtime.progress import progress
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.ensemble import Ensemble, EnsembleTrainer, Report, check_best, check_frozen, restore, save
from monosem_jax.training.preemption import preemption_sync
from monosem_jax.training.step import State


@dataclasses.dataclass(frozen=True)
class Transform:
    """A change of the states of all groups before each of `steps`: (states, step, batches) -> states."""

    steps: tuple[int, ...]
    apply: Callable[[list[State], int, Callable[[int, int], Any]], list[State]]


@dataclasses.dataclass
class FitResult:
    """The final states of the groups, and the steps and seconds of this process, without those of earlier, interrupted
    runs. `frozen` has, for each group, the step at which the guard stopped each member, or None. `stalls` has, for each
    checkpoint of all groups together, the seconds that the devices waited."""

    states: list[State]
    steps: int
    seconds: float
    frozen: list[list[int | None]]
    stalls: list[float]

    @property
    def mean_stall(self) -> float:
        """Mean seconds that the devices waited for a checkpoint. Omits the first one, which compiles programs, and the
        last one, which must finish, if there are others."""
        usual = self.stalls[1:-1] or self.stalls
        return sum(usual) / max(len(usual), 1)


@dataclasses.dataclass(frozen=True)
class DispatchSchedule:
    """Where dispatches begin and what is due there: a function of the step only, so that resumed runs agree.

    A dispatch must begin at each of `boundaries` and at each multiple of a number in `every`."""

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
      batches: (start, n) -> batches start … start+n-1 as one device array [n,B,...]; a pure function, so that the data
        position is the step number. All groups share each batch.
      unit, unit_per_batch: the unit of the progress bar, and the number of units in a batch (0: `config.batch_size`).

    If the guard stops a member, its state no longer changes and the others continue. Raises Stopped after a signal (the
    states are checkpointed), BadInput if the guard has stopped every member.
    """
    due_at = tuple(s for t in transforms for s in t.steps), tuple(r.every for r in reports)
    schedule = DispatchSchedule(config, *due_at)
    prefetcher = pool(1, "prefetch")
    trained, stalls, step = [EnsembleTrainer(group, config) for group in groups], [], 0
    try:
        first = previous = step = restore(trained)
        for t in trained:
            t.open_logs(step)
        per_batch = unit_per_batch or config.batch_size
        shown = progress(config.steps * per_batch, description, unit, initial=step * per_batch)
        with preemption_sync(groups[0].mesh) as stop, shown as bar:
            ahead = prefetcher.submit(batches, step, schedule.span(step)) if step < config.steps else None
            if ahead is not None:
                check_best(trained, ahead.result(), reports, config)
            barrier_next("training begins")  # collectives on CPUs fail if a process is half a minute late
            begin = time.perf_counter()
            while True:
                if step > first:
                    _log_reports(trained, [r for r in reports if schedule.passed(r.every, previous, step)], step)
                due = schedule.passed(config.checkpoint_every, previous, step) or step == config.steps
                if due or stop.requested:
                    for t in trained:
                        t.fetch()
                    check_frozen(trained, config.guard)
                    needed = bool(stop.requested) or step == config.steps
                    stalls.append(save(trained, step, whole_lines=due, needed=needed))
                if step == config.steps:
                    break
                stop.check()
                n, block = schedule.span(step), cast(Future, ahead).result()
                # Transforms also read batches, so the prefetch of the next block starts after them.
                _transform(trained, [t for t in transforms if step in t.steps], step, batches)
                if step + n < config.steps:
                    ahead = prefetcher.submit(batches, step + n, schedule.span(step + n))
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


def _log_reports(trained: Sequence[EnsembleTrainer], reports: Sequence[Report], step: int) -> None:
    for report in reports:
        for t in trained:
            t.add(step, report)


def _transform(
    trained: Sequence[EnsembleTrainer], transforms: Sequence[Transform], step: int, batches: Callable[[int, int], Any]
) -> None:
    for transform in transforms:
        states = transform.apply([t.state for t in trained], step, batches)
        for t, state in zip(trained, states, strict=True):
            t.state = state
