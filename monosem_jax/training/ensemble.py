"""Models during training: their states on the devices, their checkpoints, their logs."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.runtime.checkpoint import Checkpoints, restore_together
from monosem_jax.runtime.errors import BadInput, listed
from monosem_jax.runtime.mesh import Rules, tree_shardings
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.training.config import GuardConfig, TrainConfig
from monosem_jax.training.metric_log import MetricsLog
from monosem_jax.training.metrics import member_metrics
from monosem_jax.training.step import DispatchResult, Objective, State, make_dispatch, over_members

Dispatch = Callable[..., tuple[State, DispatchResult]]  # (state, batches [K,B,...], signals or None)


@dataclasses.dataclass
class Ensemble:
    """The models that one program trains: a single model, or members of equal shape stacked along the first axis of
    `state`. Every member has its own run directory. `together`: the number of stacked members computed at a time; 0 for
    a single model."""

    state: State
    objective: Objective
    tx: optax.GradientTransformationExtraArgs
    runs: Sequence[RunDir]
    rules: Rules
    mesh: Mesh
    together: int = 0
    take: Callable[[State, int], State] | None = dataclasses.field(default=None, repr=False)  # compiled by `member_of`

    @property
    def stacked(self) -> bool:
        return self.together > 0

    def compile(self, config: TrainConfig) -> Dispatch:
        """The jitted dispatch (state, batches [K,B,...], signals) -> (state, result); it reuses the state's memory.

        `signals` [devices] come from `PreemptionSync.signals`; unless they are None, the result has the largest.
        """
        outputs = (
            tree_shardings(self.state, self.rules, self.mesh, stacked=self.stacked),
            NamedSharding(self.mesh, PartitionSpec()),
        )
        steps = over_members(make_dispatch(self.objective, self.tx, config), self.together)

        def dispatch(state: State, batches: Any, signals: Any = None) -> tuple[State, DispatchResult]:
            state, result = steps(state, batches)
            return state, result if signals is None else result._replace(signal=jnp.max(signals))

        return jax.jit(dispatch, donate_argnums=0, out_shardings=outputs)


@dataclasses.dataclass(frozen=True)
class Report:
    """Numbers to log every `every` steps (0: never), computed from the state at that step: scalars, or [S] for S
    members. `names` are those that it logs, None if they are not known before."""

    every: int
    numbers: Callable[[State], dict[str, Any]]
    names: tuple[str, ...] | None = None


class EnsembleTrainer:
    """An ensemble in training, with the checkpoints and logs of its members.

    `frozen` has, for each member, the step at which the guard stopped it, or None; `signal` is the largest signal
    number in the dispatch results fetched so far.
    """

    def __init__(self, group: Ensemble, config: TrainConfig):
        self.group, self.state = group, group.state
        retention, patient = config.retention(), config.checkpoint.when_disk_full == "continue"
        self.stores = [Checkpoints(run.path / "checkpoints", retention, patient=patient) for run in group.runs]
        for run in group.runs:
            run.log_with(patient=patient, wandb=config.logging.wandb)
        self.logs: list[MetricsLog] = []
        self.frozen: list[int | None] = [None] * len(group.runs)
        self.signal = 0
        self._log_every = config.log_every
        self._pending: tuple[int, DispatchResult] | None = None
        self._dispatch = group.compile(config)

    def member(self, i: int) -> State:
        return member_of(self.state, i, self.group)

    def restored(self, members: list[State]) -> None:
        """Replaces the ensemble's state with these states of its members."""
        if self.group.stacked:
            shardings = tree_shardings(self.state, self.group.rules, self.group.mesh, stacked=True)
            self.state = jax.jit(_joined, out_shardings=shardings)(members)
        else:
            self.state = members[0]
        self._note_frozen(self.state.guard["frozen_at"])

    def open_logs(self, step: int) -> None:
        """Opens the logs of all members for steps after `step`."""
        self.logs = [MetricsLog(run, self._log_every, step) for run in self.group.runs]

    def dispatch(self, step: int, block: Any, signals: Any = None) -> None:
        """Starts the steps up to `step`, then logs the previous dispatch, so that the device never waits."""
        self.state, result = self._dispatch(self.state, block, signals)
        for array in jax.tree.leaves(result):
            array.copy_to_host_async()
        self.fetch()
        self._pending = step, result

    def metric_names(self, block: Any) -> set[str]:
        """The names of what a dispatch of these batches [K,B,...] logs; nothing is computed."""
        return set(jax.eval_shape(self._dispatch, self.state, block)[1].metrics)

    def fetch(self) -> None:
        """Waits for the result of the last dispatch, and logs its metrics."""
        if self._pending is None:
            return
        step, result = self._pending
        self._pending = None
        host: DispatchResult = jax.tree.map(lambda array: np.ravel(np.asarray(array)), result)
        if host.signal is not None:
            self.signal = max(self.signal, int(host.signal[0]))
        for i, log in enumerate(self.logs):
            if self.frozen[i] is None:
                log.take(step, member_metrics(host.metrics, i))
        self._note_frozen(host.frozen_at)

    def _note_frozen(self, steps: Any) -> None:
        for i, at in enumerate(np.ravel(np.asarray(steps))):
            if at >= 0 and self.frozen[i] is None:
                self.frozen[i] = int(at)
                for log in self.logs[i : i + 1]:  # logs are not open yet while states are restored
                    log.flush()

    def add(self, step: int, report: Report) -> None:
        """Logs the numbers of a report."""
        self.fetch()
        numbers = {name: np.ravel(np.asarray(v)) for name, v in report.numbers(self.state).items()}
        for i, log in enumerate(self.logs):
            if self.frozen[i] is None:
                log.add(step, {name: float(v[i]) for name, v in numbers.items()})

    def close(self) -> None:
        """Waits until all checkpoints are written."""
        for store in self.stores:
            store.close()


def restore(trained: Sequence[EnsembleTrainer]) -> int:
    """Restores the newest step for which all members have a checkpoint; returns it, or the current step if none."""
    like = [t.member(0) for t in trained]
    wanted = [(store, m.params, _rest(m)) for t, m in zip(trained, like, strict=True) for store in t.stores]
    found = restore_together(wanted)
    if found is None:
        return int(trained[0].state.step)
    parts = iter(found[1])
    for t, m in zip(trained, like, strict=True):
        t.restored([m.replace(params=params, **rest) for params, rest in itertools.islice(parts, len(t.stores))])
    return found[0]


def save(trained: Sequence[EnsembleTrainer], step: int, *, whole_lines: bool, needed: bool) -> float:
    """Writes the logs and starts writing the checkpoints of all members; returns the seconds that the devices wait.

    Args:
      whole_lines: whether to end the current line of each log. False after a stop: the unfinished line is saved and the
        resuming process continues it, so that its lines are those of an uninterrupted run.
      needed: whether this checkpoint is the last one, so that the process waits for it.
    """
    jax.block_until_ready([t.state for t in trained])
    begin = time.perf_counter()
    for t in trained:
        for log in t.logs:
            if whole_lines:
                log.flush()
            else:
                log.suspend()
        for store in t.stores:
            store.wait()  # no member is more than one checkpoint ahead of another
    for t in trained:
        for i, (store, log) in enumerate(zip(t.stores, t.logs, strict=True)):
            member = t.member(i)
            store.save(step, member.params, _rest(member), log.latest, needed=needed)
    return time.perf_counter() - begin


def check_best(trained: Sequence[EnsembleTrainer], block: Any, reports: Sequence[Report], config: TrainConfig) -> None:
    """Raises BadInput unless `train.checkpoint.keep_best` is a metric that is logged; `block` is what a dispatch
    reads."""
    best = config.retention().metric
    if not best or any(r.names is None for r in reports if r.every):
        return
    if any(best in (r.names or ()) for r in reports if not r.every):
        raise BadInput(f"train.checkpoint.keep_best is {best}, which is logged every train.evaluate_every = 0 steps")
    known = set().union(*(t.metric_names(block) for t in trained), *(r.names or () for r in reports if r.every))
    if best not in known:
        raise BadInput(f"train.checkpoint.keep_best is {best!r}: expected {listed(best, sorted(known))}")


def check_frozen(trained: Sequence[EnsembleTrainer], guard: GuardConfig) -> None:
    """Raises BadInput if the guard has stopped every member."""
    at = [step for t in trained for step in t.frozen if step is not None]
    if len(at) == sum(len(t.frozen) for t in trained):
        path, last = trained[0].group.runs[0].path, max(at)
        told = f"{guard.stop_after} steps in a row up to step {last} had a loss or gradient that is not finite, and "
        if last <= guard.stop_after:
            raise BadInput(f"{told}were not applied: they are the first, so the rows or the coefficients are too large")
        raise BadInput(f"{told}were not applied: lower the learning rate; the checkpoints in {path} are from before")


def member_of(state: State, i: int, group: Ensemble) -> State:
    """The state of an ensemble's i-th member, in the form of a single model."""
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
