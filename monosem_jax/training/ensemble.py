"""Models while they are trained: their states on the devices, their checkpoints, their logs."""

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
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import Rules, tree_shardings
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.training.metric_log import MetricsLog
from monosem_jax.training.step import Objective, State, TrainConfig, make_dispatch, over_members


@dataclasses.dataclass
class Ensemble:
    """What is trained by one program: a model alone, or members of equal shape stacked along the first axis of `state`.
    Every member has a run directory of its own. `together`: how many of the stacked members are computed at a time; 0
    for a model alone."""

    state: State
    objective: Objective
    tx: optax.GradientTransformation
    runs: Sequence[RunDir]
    rules: Rules
    mesh: Mesh
    together: int = 0
    take: Callable | None = dataclasses.field(default=None, repr=False)  # the program of `member_of`

    @property
    def stacked(self) -> bool:
        return self.together > 0

    def compile(self, config: TrainConfig) -> Callable:
        """The jitted dispatch (state, batches [K,B,...]) -> (state, metrics); it takes the state's memory over.

        With `signals` [devices], the metric "signal" is the largest of them.
        """
        outputs = (
            tree_shardings(self.state, self.rules, self.mesh, stacked=self.stacked),
            NamedSharding(self.mesh, PartitionSpec()),
        )
        steps = over_members(make_dispatch(self.objective, self.tx, config), self.together)

        def dispatch(state: State, batches: Any, signals: Any = None) -> tuple[State, dict]:
            state, metrics = steps(state, batches)
            return state, metrics if signals is None else {**metrics, "signal": jnp.max(signals)}

        return jax.jit(dispatch, donate_argnums=0, out_shardings=outputs)


@dataclasses.dataclass(frozen=True)
class Report:
    """Numbers to be logged every `every` steps, of a group's state as it is then: scalars, or [S] for S members."""

    every: int
    numbers: Callable[[State], dict[str, Any]]


class EnsembleTrainer:
    """A group while it is trained, with the checkpoints and logs of its members. `frozen` says at which step each of
    them was given up, `signal` is the largest number among the `signals` of the dispatches that were fetched."""

    def __init__(self, group: Ensemble, config: TrainConfig):
        self.group, self.state = group, group.state
        retention, patient = config.retention(), config.when_disk_full == "continue"
        self.stores = [Checkpoints(run.path / "checkpoints", retention, patient=patient) for run in group.runs]
        for run in group.runs:
            run.log_with(patient=patient, wandb=config.wandb)
        self.logs: list[MetricsLog] = []
        self.frozen: list[int | None] = [None] * len(group.runs)
        self.signal = 0
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

    def dispatch(self, step: int, block: Any, signals: Any = None) -> None:
        """Starts the steps up to `step`, and then logs those of the dispatch before: the device never waits."""
        self.state, metrics = self._dispatch(self.state, block, signals)
        jax.tree.map(lambda m: m.copy_to_host_async(), metrics)
        self.fetch()
        self._pending = [(step, metrics)]

    def fetch(self) -> None:
        """Waits for the metrics of the last dispatch, and logs them."""
        for step, metrics in self._pending:
            self.signal = max(self.signal, int(metrics.pop("signal", 0)))
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


def restore(trained: Sequence[EnsembleTrainer]) -> int:
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


def save(trained: Sequence[EnsembleTrainer], step: int, *, whole_lines: bool, needed: bool) -> float:
    """Writes the logs, and starts writing the checkpoints of all members; returns the seconds that the devices wait.

    `needed`: nothing comes after it, so it is waited for. Only a stop may leave a line of the log unfinished: it is
    taken up by who resumes, whose lines are then those of an undisturbed run.
    """
    jax.block_until_ready([t.state for t in trained])
    begin = time.perf_counter()
    for t in trained:
        [log.flush() if whole_lines else log.suspend() for log in t.logs]
        [store.wait() for store in t.stores]  # no member is more than one checkpoint ahead of another
    for t in trained:
        for i, (store, log) in enumerate(zip(t.stores, t.logs, strict=True)):
            member = t.member(i)
            store.save(step, member.params, _rest(member), log.latest, needed=needed)
    return time.perf_counter() - begin


def check_frozen(trained: Sequence[EnsembleTrainer], config: TrainConfig) -> None:
    at = [step for t in trained for step in t.frozen]
    if None not in at:
        path = trained[0].group.runs[0].path
        raise BadInput(
            f"{config.stop_after} steps in a row up to step {max(at)} had a loss or gradient that is not finite, and "
            f"were not applied: lower the learning rate; the checkpoints in {path} are from before"
        )


def member_of(state: State, i: int, group: Ensemble) -> State:
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
