"""The loop: the order and arguments of its calls, and a stop at any point does not change the result."""

from __future__ import annotations

import json
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.runtime.checkpoint import checkpoint_steps
from monosem_jax.runtime.errors import Stopped
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.training.loop import Report, Transform
from monosem_jax.training.metric_log import MetricsLog
from tests import small_loop as toy
from tests.small_loop import Batches, Crash, Group, act_at, assert_same, crash, logged, terminate, train

EACH = {"steps": 20, "steps_per_dispatch": 1}


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
    assert_same(second.states[0], whole[1].states[0])


def test_a_finished_run_is_not_trained_further(tmp_path, whole):
    train(tmp_path, steps=20)
    batches = Batches()
    again = train(tmp_path, steps=20, batches=batches)
    assert again.steps == 0 and batches.calls == [] and again.frozen == [[None]]
    assert_same(again.states[0], whole[1].states[0])


def test_steps_per_dispatch_does_not_change_the_result(tmp_path, whole):
    found, expected = (toy.bits(r.states[0]) for r in (train(tmp_path, **EACH), whole[1]))
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)


def test_the_time_and_steps_of_this_process_alone_are_told(tmp_path):
    slow = act_at(7, lambda: threading.Event().wait(0.3))
    found = train(tmp_path, steps=12, reports=[slow])
    assert found.steps == 12 and 0.3 < found.seconds < 30


def test_the_log_has_the_means_since_the_line_before(tmp_path):
    """At a learning rate of nothing the loss of a batch is its squared distance to where w begins."""
    train(tmp_path, steps=20, learning_rate=1e-30, members=[[(5, 0.0)]])
    distances = ((np.asarray(Batches()(0, 20), np.float64) - np.arange(3)) ** 2).sum(axis=-1).mean(axis=-1)
    found, since = logged(tmp_path), 0
    assert list(found)[-1] == 20 and len(found) >= 4
    for step, value in found.items():
        assert value == pytest.approx(distances[since:step].mean(), rel=1e-5)
        since = step


def test_a_log_line_is_written_every_log_every_steps(tmp_path):
    train(tmp_path, **EACH)
    assert list(logged(tmp_path)) == [5, 10, 15, 20]


def test_a_resumed_run_logs_the_lines_of_an_uninterrupted_one(tmp_path):
    train(tmp_path / "whole", **EACH)
    train(tmp_path / "parts", **{**EACH, "steps": 10})
    train(tmp_path / "parts", **EACH)
    assert toy.lines(tmp_path / "parts") == toy.lines(tmp_path / "whole")


def test_lines_after_the_checkpoint_of_a_crashed_run_are_logged_once(tmp_path):
    run = lambda name, act: train(tmp_path / name, steps=20, reports=[act_at(18, act, every=9)])  # noqa: E731
    run("whole", lambda: None)
    with pytest.raises(Crash):
        run("crashed", crash)
    assert max(logged(tmp_path / "crashed")) > 10
    run("crashed", lambda: None)
    assert toy.lines(tmp_path / "crashed") == toy.lines(tmp_path / "whole")


def test_a_crashed_run_resumes_to_the_same_bits(tmp_path, whole):
    with pytest.raises(Crash):
        train(tmp_path, steps=20, reports=[act_at(18, crash, every=9)])
    resumed = train(tmp_path, steps=20)
    assert resumed.steps == 10
    assert_same(resumed.states[0], whole[1].states[0])


def test_sigterm_stops_at_the_next_commit_with_the_state_saved(tmp_path):
    with pytest.raises(Stopped, match=r"SIGTERM: step 7 of 20 is saved in .*; the same command resumes"):
        train(tmp_path, steps=20, reports=[act_at(7, terminate)])
    assert checkpoint_steps(tmp_path / "checkpoints")[-1] == 7


def test_a_run_stopped_by_sigterm_resumes_to_the_same_bits(tmp_path):
    """Step by step in both runs: dispatches of other lengths may round otherwise."""
    whole = train(tmp_path / "whole", **EACH)
    with pytest.raises(Stopped):
        train(tmp_path / "stopped", **EACH, reports=[act_at(7, terminate)])
    resumed = train(tmp_path / "stopped", **EACH)
    assert resumed.steps == 13
    assert_same(resumed.states[0], whole.states[0])


def test_a_run_stopped_by_sigterm_logs_the_lines_of_an_undisturbed_one(tmp_path, monkeypatch):
    """The signal comes while the line of step 5 is written, so the run stops in the middle of the next line."""
    train(tmp_path / "whole", **EACH)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        log = RunDir.log
        patch.setattr(RunDir, "log", lambda run, step, metrics: log(run, step, metrics) or terminate())
        train(tmp_path / "parts", **EACH)
    assert 5 < checkpoint_steps(tmp_path / "parts/checkpoints")[-1] < 10
    train(tmp_path / "parts", **EACH)
    assert toy.lines(tmp_path / "parts") == toy.lines(tmp_path / "whole")


def test_signals_have_their_own_handlers_again_after_training(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    train(tmp_path, steps=1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_state_before_the_first_step_is_checkpointed(tmp_path):
    train(tmp_path, steps=20, keep=1)
    assert checkpoint_steps(tmp_path / "checkpoints") == [0, 20]


def test_reports_are_called_at_the_multiples_after_the_first_step(tmp_path):
    seen = []
    report = Report(4, lambda state: seen.append(int(state.step)) or {"number": jnp.float32(2.5)})
    train(tmp_path, steps=10, reports=[report])
    assert seen == [4, 8]
    train(tmp_path, steps=12, reports=[report])
    assert seen == [4, 8, 12]
    assert list(logged(tmp_path, "number").items()) == [(4, 2.5), (8, 2.5), (12, 2.5)]


def test_a_report_every_zero_steps_is_never_called(tmp_path):
    train(tmp_path, steps=3, reports=[Report(0, lambda state: pytest.fail("called"))])


def test_a_report_comes_after_the_lines_of_the_steps_before_it(tmp_path):
    train(tmp_path, steps=8, log_every=100, reports=[Report(4, lambda state: {"number": 1.0})])
    order = [(line["step"], "number" in line) for line in toy.lines(tmp_path)]
    assert order == [(4, False), (4, True), (8, False), (8, True)]


def test_dispatches_follow_each_other_and_none_is_longer_than_configured(tmp_path):
    batches = Batches()
    train(tmp_path, steps=20, batches=batches)
    assert batches.calls == [(0, 3), (3, 3), (6, 3), (9, 1), (10, 3), (13, 3), (16, 3), (19, 1)]


def test_a_dispatch_that_begins_at_a_transform_is_not_cut_short_by_a_report(tmp_path):
    batches, seen = Batches(), []
    report = Report(6, lambda state: seen.append(int(state.step)) or {})
    train(tmp_path, steps=12, batches=batches, transforms=[Transform((5,), lambda s, *_: s)], reports=[report])
    assert batches.calls == [(0, 3), (3, 2), (5, 1), (6, 3), (9, 1), (10, 2)] and seen == [6, 12]


def adding(steps: tuple[int, ...], seen: list) -> Transform:
    """Adds to a statistic what the first batch after the step begins with."""

    def apply(states, step, batches):
        seen.append((step, [int(s.step) for s in states]))
        x = batches(step, 1)[0, 0, 0]
        return [s.replace(stats={**s.stats, "at": s.step + 0, "seen": s.stats["seen"] + 100 * x}) for s in states]

    return Transform(steps, apply)


STEPS = (5, 10, 11, 19)


@pytest.fixture(scope="module")
def transformed(tmp_path_factory):
    """The final state of a run with transforms, without interruption."""
    seen, path = [], tmp_path_factory.mktemp("transformed")
    batches = Batches()
    found = train(path, steps=20, transforms=[adding(STEPS, seen)], batches=batches)
    assert seen == [(step, [step]) for step in STEPS]
    assert {s for s, _ in batches.calls} >= set(STEPS) and sum(n for _, n in batches.calls) == 20 + len(STEPS)
    return found.states[0]


def test_a_transform_sees_the_state_and_the_batches_of_its_step(transformed):
    noise = sum(float(jax.random.uniform(jax.random.fold_in(jax.random.key(toy.SEED), i))) for i in range(20))
    first = sum(float(Batches()(i, 1)[0, 0, 0]) for i in STEPS)
    assert int(transformed.stats["at"]) == 19
    assert float(transformed.stats["seen"]) == pytest.approx(noise + 100 * first, rel=1e-5)


@pytest.mark.parametrize(("stop", "after"), [(9, [10, 11, 19]), (10, [10, 11, 19]), (12, [19])])
def test_a_transform_is_done_once_at_its_step_wherever_the_run_was_stopped(tmp_path, stop, after):
    """10 is both a checkpoint and due: what was saved then is from before."""
    seen = []
    whole = train(tmp_path / "whole", **EACH, transforms=[adding(STEPS, [])])
    with pytest.raises(Stopped):
        transforms = [adding(STEPS, seen)]
        train(tmp_path / "stopped", **EACH, transforms=transforms, reports=[act_at(stop, terminate)])
    assert [s for s, _ in seen] == [s for s in STEPS if s < stop]
    seen.clear()
    found = train(tmp_path / "stopped", **EACH, transforms=[adding(STEPS, seen)])
    assert [s for s, _ in seen] == after
    assert_same(found.states[0], whole.states[0])


def test_two_transforms_at_one_step_are_done_in_their_order(tmp_path):
    put = lambda value: lambda s, *_: [s[0].replace(stats={**s[0].stats, "at": s[0].stats["at"] * 2 + value})]  # noqa: E731
    transforms = [Transform((3,), put(jnp.int32(5))), Transform((2, 3), put(jnp.int32(1)))]
    found = train(tmp_path, steps=4, transforms=transforms)
    assert int(found.states[0].stats["at"]) == (((-1) * 2 + 1) * 2 + 5) * 2 + 1


def test_a_report_sees_the_state_before_the_transform_of_its_step(tmp_path):
    seen = []
    report = Report(5, lambda state: seen.append(int(state.stats["at"])) or {})
    train(tmp_path, steps=10, transforms=[adding((5,), [])], reports=[report])
    assert seen == [-1, 5]


def test_the_next_batches_are_made_while_the_dispatch_is_under_way(tmp_path, monkeypatch):
    """Each is asked for, in another thread, before the dispatch of those before begins."""
    events, batches = [], Batches()

    def made(start, n):
        events.append(("batches", start, threading.current_thread() is threading.main_thread()))
        return batches(start, n)

    compiled = Group.compile

    def compile(group, config):
        dispatch = compiled(group, config)
        return lambda state, *a: events.append(("dispatch", int(state.step))) or dispatch(state, *a)

    monkeypatch.setattr(Group, "compile", compile)
    train(tmp_path, steps=9, batches=made)
    assert [e for e in events if e[0] == "dispatch"] == [("dispatch", 0), ("dispatch", 3), ("dispatch", 6)]
    assert [e for e in events if e[0] == "batches"] == [("batches", i, False) for i in (0, 3, 6)]


def test_metrics_are_fetched_after_the_next_dispatch_was_given_to_the_device(tmp_path, monkeypatch):
    """So that the device never waits for the host."""
    events = []
    compiled, take = Group.compile, MetricsLog.take

    def compile(group, config):
        dispatch = compiled(group, config)
        return lambda *a: events.append("dispatch") or dispatch(*a)

    monkeypatch.setattr(Group, "compile", compile)
    monkeypatch.setattr(MetricsLog, "take", lambda *a: events.append("metrics") or take(*a))
    train(tmp_path, steps=9)
    assert events == ["dispatch", "dispatch", "metrics", "dispatch", "metrics", "metrics"]


def test_a_failure_while_batches_are_made_ends_the_run_and_leaves_it_resumable(tmp_path, whole):
    def failing(start, n):
        return Batches()(start, n) if start < 13 else crash()

    with pytest.raises(Crash):
        train(tmp_path, steps=20, batches=failing)
    assert_same(train(tmp_path, steps=20).states[0], whole[1].states[0])


def test_the_files_of_a_run_are_closed_and_its_lines_are_json(tmp_path):
    train(tmp_path, steps=3)
    train(tmp_path, steps=6)
    assert all(json.loads(line)["time"] > 0 for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
