from __future__ import annotations

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from monosem_jax.checkpoint import checkpoint_steps
from monosem_jax.errors import BadInput, Stopped
from monosem_jax.run import Run
from monosem_jax.train import Report, State, TrainConfig, create, fit, optimizer
from tests.conftest import mesh_of

RULES = {"*": PartitionSpec()}
SHAPE = {"batch_size": 4, "learning_rate": 0.05, "steps_per_dispatch": 3, "checkpoint_every": 10, "log_every": 5}


def loss(state: State, x):
    """The squared distance of w to the rows, and what of the state may change: a statistic, from a random number."""
    distances = jnp.sum(jnp.square(x - state.params["w"]), axis=-1)
    noise = jax.random.uniform(jax.random.fold_in(state.key, state.step))
    stats = {"seen": state.stats["seen"] + noise}
    return jnp.mean(distances), (stats, {"loss": jnp.sum(distances), "count": jnp.float32(len(x))})


class Batches:
    """Batch i is made from i alone; `calls` are the (start, n) of the dispatches."""

    def __init__(self, bad_from: int = 10**9):
        self.calls, self.bad_from = [], bad_from

    def __call__(self, start: int, n: int):
        self.calls.append((start, n))
        rows = [np.random.default_rng(i).normal(1, 1, size=(4, 3)) for i in range(start, start + n)]
        bad = (np.arange(start, start + n) >= self.bad_from)[:, None, None]
        return jnp.asarray(np.where(bad, np.nan, rows), jnp.float32)


def train(path, *, batches=None, reports=(), transforms=(), boundaries=(), **config):
    """A call as a new process would make it: new state, programs and run."""
    config = TrainConfig(**{**SHAPE, **config})
    config.check()
    tx, mesh = optimizer(config), mesh_of(1, 1)

    def initial() -> State:
        stats = {"seen": jnp.zeros(()), "at": jnp.full((), -1, jnp.int32)}
        return State.create({"w": jnp.zeros(3)}, tx, stats=stats, hyper={}, key=jax.random.key(7))

    def keeping(state, x):
        mean, (stats, metrics) = loss(state, x)
        return mean, ({**state.stats, **stats}, metrics)

    with Run(path, "toy", {}, {}) as run:
        return fit(
            create(initial, RULES, mesh), config=config, loss=keeping, tx=tx, batches=batches or Batches(), run=run,
            rules=RULES, mesh=mesh, reports=reports, transforms=transforms, boundaries=boundaries,
        )  # fmt: skip


def bits(state: State) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(state.replace(key=jax.random.key_data(state.key)))]


def assert_same(a: State, b: State) -> None:
    for x, y in zip(bits(a), bits(b), strict=True):
        np.testing.assert_array_equal(x, y)


def logged(path) -> dict[int, float]:
    """step -> mean loss, of a log that has every step once."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    found = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert len(found) == sum("loss" in line for line in lines)
    return found


def interrupt_at(step: int, act, every: int = 1) -> Report:
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(path, result) of twenty steps without interruption."""
    path = tmp_path_factory.mktemp("whole")
    return path, train(path, steps=20)


def test_the_loss_falls(whole):
    values = list(logged(whole[0]).values())
    assert values[-1] < 0.8 * values[0]


def test_ten_steps_and_ten_more_in_another_process_equal_twenty(tmp_path, whole):
    first = train(tmp_path, steps=10)
    second = train(tmp_path, steps=20)
    assert (first.steps, second.steps) == (10, 10)
    assert_same(second.state, whole[1].state)


def test_a_finished_run_is_not_trained_further(tmp_path, whole):
    train(tmp_path, steps=20)
    batches = Batches()
    again = train(tmp_path, steps=20, batches=batches)
    assert again.steps == 0 and batches.calls == []
    assert_same(again.state, whole[1].state)


def test_steps_per_dispatch_does_not_change_the_result(tmp_path, whole):
    for x, y in zip(bits(train(tmp_path, steps=20, steps_per_dispatch=1).state), bits(whole[1].state), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_the_log_has_the_means_since_the_line_before(tmp_path):
    """At a learning rate of nothing the loss of a batch is its squared distance to zero."""
    train(tmp_path, steps=20, learning_rate=1e-30)
    batch = np.asarray(Batches()(0, 20), np.float64)
    expected = (batch**2).sum(axis=-1).mean(axis=-1)
    found, since = logged(tmp_path), 0
    assert list(found)[-1] == 20 and len(found) >= 4
    for step, value in found.items():
        assert value == pytest.approx(expected[since:step].mean(), rel=1e-5)
        since = step


def test_a_log_line_is_written_every_log_every_steps(tmp_path):
    train(tmp_path, steps=20, steps_per_dispatch=1)
    assert list(logged(tmp_path)) == [5, 10, 15, 20]


def test_a_resumed_run_logs_the_lines_of_an_uninterrupted_one(tmp_path):
    config = {"steps": 20, "steps_per_dispatch": 1}
    train(tmp_path / "whole", **config)
    train(tmp_path / "parts", **{**config, "steps": 10})
    train(tmp_path / "parts", **config)
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")


def test_lines_after_the_checkpoint_of_a_crashed_run_are_logged_once(tmp_path):
    with pytest.raises(Crash):
        train(tmp_path, steps=20, reports=[interrupt_at(18, crash, every=9)])
    assert max(logged(tmp_path)) > 10
    train(tmp_path, steps=20)
    assert max(logged(tmp_path)) == 20


def test_a_crashed_run_resumes_to_the_same_bits(tmp_path, whole):
    with pytest.raises(Crash):
        train(tmp_path, steps=20, reports=[interrupt_at(18, crash, every=9)])
    resumed = train(tmp_path, steps=20)
    assert resumed.steps == 10
    assert_same(resumed.state, whole[1].state)


def test_sigterm_stops_at_the_next_commit_with_the_state_saved(tmp_path):
    with pytest.raises(Stopped, match=r"SIGTERM: step 7 of 20 is saved .* the same command resumes"):
        train(tmp_path, steps=20, reports=[interrupt_at(7, terminate)])
    assert checkpoint_steps(tmp_path / "checkpoints")[-1] == 7


def test_a_run_stopped_by_sigterm_resumes_to_the_same_bits(tmp_path, whole):
    with pytest.raises(Stopped):
        train(tmp_path, steps=20, reports=[interrupt_at(7, terminate)])
    resumed = train(tmp_path, steps=20)
    assert resumed.steps == 13
    assert_same(resumed.state, whole[1].state)


def test_a_run_stopped_by_sigterm_logs_the_lines_of_an_undisturbed_one(tmp_path, monkeypatch):
    """The signal comes while the line of step 5 is written, so the run stops in the middle of the next line."""
    config = {"steps": 20, "steps_per_dispatch": 1}
    train(tmp_path / "whole", **config)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        log = Run.log
        patch.setattr(Run, "log", lambda run, step, metrics: log(run, step, metrics) or terminate())
        train(tmp_path / "parts", **config)
    assert 5 < checkpoint_steps(tmp_path / "parts/checkpoints")[-1] < 10
    train(tmp_path / "parts", **config)
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")


def test_signals_have_their_own_handlers_again_after_training(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    train(tmp_path, steps=1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_loss_that_is_not_finite_is_refused_with_the_step(tmp_path):
    with pytest.raises(BadInput, match="the loss is not finite by step 8"):
        train(tmp_path, steps=20, steps_per_dispatch=1, batches=Batches(bad_from=7))


def test_no_state_after_a_loss_that_is_not_finite_is_checkpointed(tmp_path):
    with pytest.raises(BadInput):
        train(tmp_path, steps=20, checkpoint_every=2, batches=Batches(bad_from=7))
    assert max(checkpoint_steps(tmp_path / "checkpoints")) == 6


def test_the_state_before_the_first_step_is_checkpointed(tmp_path):
    train(tmp_path, steps=20, keep_checkpoints=1)
    assert checkpoint_steps(tmp_path / "checkpoints") == [0, 20]


def test_reports_are_called_at_the_multiples_after_the_first_step(tmp_path):
    seen = []
    report = Report(4, lambda state: seen.append(int(state.step)) or {"number": 2.5})
    train(tmp_path, steps=10, reports=[report])
    assert seen == [4, 8]
    train(tmp_path, steps=12, reports=[report])
    assert seen == [4, 8, 12]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line.get("number") == 2.5] == [4, 8, 12]


def test_a_report_every_zero_steps_is_never_called(tmp_path):
    train(tmp_path, steps=3, reports=[Report(0, lambda state: pytest.fail("called"))])


def test_dispatches_follow_each_other_and_none_is_longer_than_configured(tmp_path):
    batches = Batches()
    train(tmp_path, steps=20, batches=batches)
    assert batches.calls == [(0, 3), (3, 3), (6, 3), (9, 1), (10, 3), (13, 3), (16, 3), (19, 1)]


def test_a_dispatch_begins_at_every_boundary(tmp_path):
    batches = Batches()
    train(tmp_path, steps=20, batches=batches, boundaries=(5, 9, 10))
    assert {5, 9, 10} <= {start for start, _ in batches.calls}


def test_a_dispatch_that_begins_at_a_boundary_is_not_cut_short_by_a_report(tmp_path):
    batches, seen = Batches(), []
    report = Report(6, lambda state: seen.append(int(state.step)) or {})
    train(tmp_path, steps=12, batches=batches, boundaries=(5,), reports=[report])
    assert (5, 3) in batches.calls and seen == [8, 12]


def test_a_transform_sees_the_state_and_the_batches_of_its_boundary(tmp_path):
    def note(state, x):
        due = state.step == 5
        stats = {**state.stats, "at": jnp.where(due, state.step, state.stats["at"])}
        return state.replace(stats={**stats, "seen": jnp.where(due, x[0, 0, 0], stats["seen"])})

    state = train(tmp_path, steps=6, boundaries=(5,), transforms=[note]).state
    noise = jax.random.uniform(jax.random.fold_in(jax.random.key(7), 5))
    assert int(state.stats["at"]) == 5
    assert float(state.stats["seen"]) == pytest.approx(float(Batches()(5, 1)[0, 0, 0] + noise), rel=1e-6)
