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
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.checkpoint import Checkpoints, restore_together
from monosem_jax.errors import BadInput, Stopped
from monosem_jax.metrics import MetricsLog
from monosem_jax.run import Run, progress
from monosem_jax.sharding import Rules, barrier, this_process, tree_shardings
from monosem_jax.signals import stop_flag
from monosem_jax.train import Objective, State, TrainConfig, make_dispatch, over_members

_begun = itertools.count()


@dataclasses.dataclass
class Group:
    """What is trained by one program: a model alone, or members of equal shape stacked along the first axis of `state`.
    Every member has a run directory of its own. `together`: how many of the stacked members are computed at a time; 0
    for a model alone."""

    state: State
    objective: Objective
    tx: optax.GradientTransformation
    runs: Sequence[Run]
    rules: Rules
    mesh: Mesh
    together: int = 0
    take: Callable | None = dataclasses.field(default=None, repr=False)  # the program of `member_of`

    @property
    def stacked(self) -> bool:
        return self.together > 0

    def compile(self, config: TrainConfig) -> Callable:
        """The jitted dispatch (state, batches [K,B,...]) -> (state, metrics); it takes the state's memory over."""
        outputs = (
            tree_shardings(self.state, self.rules, self.mesh, stacked=self.stacked),
            NamedSharding(self.mesh, PartitionSpec()),
        )
        dispatch = over_members(make_dispatch(self.objective, self.tx, config), self.together)
        return jax.jit(dispatch, donate_argnums=0, out_shardings=outputs)


@dataclasses.dataclass(frozen=True)
class Report:
    """Numbers to be logged every `every` steps, of a group's state as it is then: scalars, or [S] for S members."""

    every: int
    numbers: Callable[[State], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Transform:
    """What is done to the states of all groups before the steps `steps`: (states, step, batches) -> states."""

    steps: tuple[int, ...]
    apply: Callable[[list[State], int, Callable[[int, int], Any]], list[State]]


@dataclasses.dataclass
class FitResult:
    """The final states of the groups and what it took in this process: steps and seconds do not count earlier,
    interrupted runs. `frozen`: for each group, the step at which each of its members was given up, or None."""

    states: list[State]
    steps: int
    seconds: float
    frozen: list[list[int | None]]


@dataclasses.dataclass(frozen=True)
class Plan:
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
    groups: Sequence[Group],
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
    plan = Plan(config, tuple(s for t in transforms for s in t.steps), tuple(r.every for r in reports))
    prefetcher = ThreadPoolExecutor(1, "prefetch")
    trained = [_Trained(group, config) for group in groups]
    try:
        first = previous = step = _restore(trained)
        for t in trained:
            t.open_logs(step)
        per_batch = unit_per_batch or config.batch_size
        shown = progress(config.steps * per_batch, description, unit, initial=step * per_batch)
        with stop_flag() as stop, shown as bar:
            ahead = prefetcher.submit(batches, step, plan.span(step)) if step < config.steps else None
            barrier(f"training {next(_begun)}")  # a collective on CPUs does not wait for who comes half a minute later
            begin = time.perf_counter()
            while True:
                for report in reports:
                    if step > first and plan.passed(report.every, previous, step):
                        [t.add(step, report) for t in trained]
                due = plan.passed(config.checkpoint_every, previous, step) or step == config.steps
                if due or stop.requested:
                    [t.fetch() for t in trained]
                    _check_frozen(trained, config)
                    _save(trained, step, whole_lines=due)
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
                [t.dispatch(step, block) for t in trained]
                del block
                _check_frozen(trained, config)
                bar.update(n * per_batch)
                bar.set_postfix(trained[0].logs[0].shown, refresh=False)
        jax.block_until_ready([t.state for t in trained])
        seconds = time.perf_counter() - begin
        return FitResult([t.state for t in trained], step - first, seconds, [t.frozen for t in trained])
    except Stopped as e:
        paths = trained[0].group.runs[0].path
        raise Stopped(f"{e}: step {step} of {config.steps} is saved in {paths}; the same command resumes") from None
    finally:
        [t.close() for t in trained]
        prefetcher.shutdown(cancel_futures=True)


class _Trained:
    """A group while it is trained, with the checkpoints and logs of its members."""

    def __init__(self, group: Group, config: TrainConfig):
        self.group, self.state = group, group.state
        self.stores = [Checkpoints(run.path / "checkpoints", keep=config.keep_checkpoints) for run in group.runs]
        self.logs: list[MetricsLog] = []
        self.frozen: list[int | None] = [None] * len(group.runs)
        self._config, self._pending = config, []
        self._dispatch = group.compile(config)

    def member(self, i: int) -> State:
        return member_of(self.state, i, self.group)

    def restored(self, members: list[State]) -> None:
        if self.group.stacked:
            shardings = tree_shardings(self.state, self.group.rules, self.group.mesh, stacked=True)
            self.state = jax.jit(_joined, out_shardings=shardings)(members)
        else:
            self.state = members[0]
        self._note_frozen(self.state.guard["frozen_at"])

    def open_logs(self, step: int) -> None:
        self.logs = [MetricsLog(run, self._config.log_every, step) for run in self.group.runs]

    def dispatch(self, step: int, block: Any) -> None:
        """Starts the steps up to `step`, and then logs those of the dispatch before: the device never waits."""
        self.state, metrics = self._dispatch(self.state, block)
        jax.tree.map(lambda m: m.copy_to_host_async(), metrics)
        self.fetch()
        self._pending = [(step, metrics)]

    def fetch(self) -> None:
        for step, metrics in self._pending:
            host = {name: np.ravel(np.asarray(m)) for name, m in metrics.items()}
            for i, log in enumerate(self.logs):
                if self.frozen[i] is None:
                    log.take(step, {name: float(m[i]) for name, m in host.items() if name != "frozen_at"})
            self._note_frozen(host["frozen_at"])
        self._pending = []

    def _note_frozen(self, steps: Any) -> None:
        for i, at in enumerate(np.ravel(np.asarray(steps))):
            if at >= 0 and self.frozen[i] is None:
                self.frozen[i] = int(at)
                [log.flush() for log in self.logs[i : i + 1]]

    def add(self, step: int, report: Report) -> None:
        """Logs the numbers of a report."""
        self.fetch()
        numbers = {name: np.ravel(np.asarray(v)) for name, v in report.numbers(self.state).items()}
        for i, log in enumerate(self.logs):
            if self.frozen[i] is None:
                log.add(step, {name: float(v[i]) for name, v in numbers.items()})

    def close(self) -> None:
        [store.close() for store in self.stores]


def _restore(trained: Sequence[_Trained]) -> int:
    """Takes up the newest step that all members have; returns it."""
    like = [t.member(0) for t in trained]
    wanted = [(store, m.params, _rest(m)) for t, m in zip(trained, like, strict=True) for store in t.stores]
    found = restore_together(wanted)
    if found is None:
        return int(trained[0].state.step)
    parts = iter(found[1])
    for t, m in zip(trained, like, strict=True):
        t.restored([m.replace(params=params, **rest) for params, rest in itertools.islice(parts, len(t.stores))])
    return found[0]


def _save(trained: Sequence[_Trained], step: int, *, whole_lines: bool) -> None:
    """Writes the logs, then the checkpoints of all members. Only a stop may leave a line of the log unfinished: it is
    taken up by who resumes, whose lines are then those of an undisturbed run."""
    for t in trained:
        [log.flush() if whole_lines else log.suspend() for log in t.logs]
        [store.wait() for store in t.stores]  # no member is more than one checkpoint ahead of another
    # Of several processes Orbax writes one checkpoint at a time: the names of its barriers are the same for all stores.
    in_turn = this_process()[1] > 1 and sum(len(t.stores) for t in trained) > 1
    for t in trained:
        for i, store in enumerate(t.stores):
            member = t.member(i)
            store.save(step, member.params, _rest(member))
            if in_turn:
                store.wait()


def _check_frozen(trained: Sequence[_Trained], config: TrainConfig) -> None:
    at = [step for t in trained for step in t.frozen]
    if None not in at:
        path = trained[0].group.runs[0].path
        raise BadInput(
            f"{config.stop_after} steps in a row up to step {max(at)} had a loss or gradient that is not finite, and "
            f"were not applied: lower the learning rate; the checkpoints in {path} are from before"
        )


def member_of(state: State, i: int, group: Group) -> State:
    """The state of a group's i-th member, as if it were alone."""
    if not group.stacked:
        return state
    if group.take is None:
        shardings = tree_shardings(jax.eval_shape(_member, state, 0), group.rules, group.mesh)
        group.take = jax.jit(_member, out_shardings=shardings)
    return group.take(state, i)


def _member(state: State, i: int) -> State:
    return jax.tree.map(lambda x: x[i], state.replace(step=None)).replace(step=state.step)


def _joined(members: Sequence[State]) -> State:
    step = members[0].step
    return jax.tree.map(lambda *x: jnp.stack(x), *(m.replace(step=None) for m in members)).replace(step=step)


def _rest(state: State) -> dict[str, Any]:
    return {f.name: getattr(state, f.name) for f in dataclasses.fields(state) if f.name != "params"}
