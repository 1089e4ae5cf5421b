"""A model of three numbers, whose training takes no time, and its loop: for one of them or several stacked ones."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import signal
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from monosem_jax.runtime.config import from_dict, sections
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.training import loop as fit
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.loop import FitResult, Report
from monosem_jax.training.metrics import Mean
from monosem_jax.training.optimizer import optimizer
from monosem_jax.training.step import BatchResult, State, create_state
from tests.conftest import mesh_of

RULES = {"*": PartitionSpec()}
SECTIONS = sections(TrainConfig)
SHAPE = {"batch_size": 4, "learning_rate": 0.05, "steps_per_dispatch": 3, "checkpoint_every": 10, "log_every": 5}
SEED, PULL = 7, 0.1


def objective(state: State, x):
    """The squared distance of w to the rows and, as much as `pull` says, to zero; a statistic from a random number."""

    def loss(w):
        distances = jnp.sum(jnp.square(x - w), axis=-1) + state.hyper["pull"] * jnp.sum(jnp.square(w))
        return jnp.mean(distances), Mean(jnp.sum(distances), jnp.float32(len(x)))

    grads, found = jax.grad(loss, has_aux=True)(state.params["w"])
    noise = jax.random.uniform(jax.random.fold_in(state.key, state.step))
    return BatchResult({"w": grads}, {**state.stats, "seen": state.stats["seen"] + noise}, found, {})


class Batches:
    """Batch i is made from i alone, times what `factors` says of i; `calls` are the (start, n) asked for."""

    def __init__(self, factors: dict[int, float] | None = None):
        self.calls, self.factors = [], factors or {}

    def __call__(self, start: int, n: int) -> jax.Array:
        self.calls.append((start, n))
        return jnp.asarray(np.stack([self.batch(i) for i in range(start, start + n)]), jnp.float32)

    def batch(self, i: int) -> np.ndarray:
        return np.random.default_rng(i).normal(1, 1, size=(4, 3)) * self.factors.get(i, 1.0)


class Group(fit.Ensemble):
    """A group whose program is compiled once for all calls that make the same one."""

    def compile(self, config: TrainConfig) -> Callable:
        return compiled(TrainConfig(learning_rate=config.learning_rate, guard=config.guard), self.together)


@functools.cache
def compiled(config: TrainConfig, together: int) -> Callable:
    made = group(config, [], [(SEED, PULL)] * (2 if together else 1))
    return fit.Ensemble.compile(made, config)


def keys(**changes) -> TrainConfig:
    """A configuration with these keys of TrainConfig or of any of its sections."""
    values: dict[str, Any] = {}
    for key, value in changes.items():
        section = next((s for s, kind in SECTIONS.items() if key in {f.name for f in dataclasses.fields(kind)}), None)
        place = values.setdefault(section, {}) if section else values
        place[key] = value
    return from_dict(TrainConfig, values)


def config_of(**changes) -> TrainConfig:
    config = keys(**{**SHAPE, **changes})
    config.check()
    return config


def initial(tx: Any, seed: Any = SEED, pull: Any = PULL) -> State:
    stats = {"seen": jnp.zeros(()), "at": jnp.full((), -1, jnp.int32)}
    params = {"w": jnp.arange(3.0) + seed % 5}
    return State.create(params, tx, stats=stats, hyper={"pull": jnp.float32(pull)}, key=jax.random.key(seed))


def group(config: TrainConfig, runs: Sequence[RunDir], members: Sequence[tuple[int, float]]) -> Group:
    """A group of members (seed, pull), stacked where there are several, and then computed one at a time."""
    tx, mesh, together = optimizer(config), mesh_of(1, 1), int(len(members) > 1)
    seeds, pulls = (np.asarray(x, t) for x, t in zip(zip(*members, strict=True), ("uint32", "f4"), strict=True))
    if together:
        state = create_state(lambda seed, pull: initial(tx, seed, pull), RULES, mesh, seeds, pulls)
    else:
        state = create_state(lambda: initial(tx, *members[0]), RULES, mesh)
    return Group(state, objective, tx, runs, RULES, mesh, together)


def train(
    path: pathlib.Path | Sequence[pathlib.Path], *, batches: Batches | None = None, reports=(), transforms=(),
    members: Sequence[Sequence[tuple[int, float]]] = (((SEED, PULL),),), **changes,
) -> FitResult:  # fmt: skip
    """A call as a new process would make it: new states and runs. `members` are those of each group; with
    several, member i of group g has the directory path/g/i."""
    config, several = config_of(**changes), len(members) > 1 or len(members[0]) > 1
    with contextlib.ExitStack() as stack:
        where = lambda g, i: path / str(g) / str(i) if several else path  # noqa: E731
        run = lambda g, i: stack.enter_context(RunDir(where(g, i), "toy", {}, {}))  # noqa: E731
        groups = [group(config, [run(g, i) for i in range(len(m))], m) for g, m in enumerate(members)]
        return fit.fit(
            groups, config=config, batches=batches or Batches(), reports=reports, transforms=transforms
        )  # fmt: skip


def member(state: State, i: int) -> State:
    """One member of a stacked state."""
    return jax.tree.map(lambda x: x[i], state.replace(step=None)).replace(step=state.step)


def bits(state: State) -> dict[str, np.ndarray]:
    """The leaves of a state by their path."""
    plain = jax.tree_util.tree_leaves_with_path(state.replace(key=jax.random.key_data(state.key)))
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in plain}


def assert_same(a: State, b: State, but: Sequence[str] = ()) -> None:
    """Bit for bit, but for leaves of the names `but`."""
    found, expected = bits(a), bits(b)
    assert found.keys() == expected.keys()
    for name in found:
        if not any(word in name for word in but):
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def lines(path: pathlib.Path) -> list[dict]:
    """What was logged, without the time."""
    found = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time"} for line in found]


def logged(path: pathlib.Path, name: str = "loss") -> dict[int, float]:
    """step -> a metric, of a log that has every step once."""
    found = [(line["step"], line[name]) for line in lines(path) if name in line]
    assert len(dict(found)) == len(found)
    return dict(found)


def act_at(step: int, act: Callable[[], Any], every: int = 1) -> Report:
    """A report that calls `act` at the step."""

    def numbers(state):
        if int(state.step) == step:
            act()
        return {}

    return Report(every, numbers)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class Crash(Exception):
    pass


def crash() -> None:
    raise Crash
