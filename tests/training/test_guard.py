"""Steps that must not be applied, and when training stops as diverged: for a single model, and for a stacked member."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.runtime.checkpoint import checkpoint_steps, load_params
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.params import RULES
from monosem_jax.training.config import GuardConfig, OptimizerConfig, ScheduleConfig
from monosem_jax.training.metrics import Mean
from monosem_jax.training.optimizer import learning_rate, optimizer
from monosem_jax.training.step import BatchResult, DispatchResult, State, create_state, make_step
from tests import engine
from tests import small_loop as toy
from tests.conftest import mesh_of
from tests.small_loop import SEED, assert_same, logged


def told(state: State, x):
    """An objective whose loss and gradient are those of the batch (loss, gradient)."""
    loss = Mean(x[0] * 4, jnp.float32(4))
    return BatchResult({"w": x[1] * jnp.asarray([1.0, 0.0])}, {"n": state.stats["n"] + 1}, loss, {})


def judged(batches, **changes) -> tuple[list[bool], list[dict[str, float]]]:
    """Whether each step was applied, and the guard after it."""
    config = toy.config_of(**changes)
    tx = optimizer(config)
    state = State.create({"w": jnp.zeros(2)}, tx, stats={"n": jnp.int32(0)}, hyper={}, key=jax.random.key(0))
    step, applied, guards = jax.jit(make_step(told, tx, config.guard, learning_rate(config))), [], []
    for batch in batches:
        after, metrics = step(state, jnp.asarray(batch, jnp.float32))
        applied.append(bool(after.stats["n"] > state.stats["n"]))
        assert applied[-1] == (float(after.params["w"][0]) != float(state.params["w"][0]))
        assert metrics["skipped"].total == (not applied[-1]) and metrics["learning_rate"].seen == applied[-1]
        assert metrics["loss"].count == metrics["grad_norm"].count == 4 * applied[-1]
        guards.append({name: float(v) for name, v in after.guard.items()})
        state = after
    return applied, guards


def expected(losses, factor: float) -> tuple[list[bool], list[float]]:
    """What the configuration says of finite losses: whether each step is applied, and the running mean after it."""
    applied, levels, level = [], [], 0.0
    for loss in losses:
        applied.append(not level or loss <= factor * level)
        level = 0.99 * level + 0.01 * min(loss, factor * level) if level else loss
        levels.append(level)
    return applied, levels


STEADY = [(1.0, 1.0)] * 4


@pytest.mark.parametrize(
    "bad", [(math.nan, 1), (math.inf, 1), (-math.inf, 1), (1, math.nan), (1, math.inf), (1, 1e20), (1, -1e20)], ids=str
)
def test_a_step_whose_loss_or_gradient_is_not_finite_is_not_applied(bad):
    """Nor one whose gradient has a square that overflows: Adam's second moment would be infinite for ever."""
    applied, guards = judged([*STEADY, bad, *STEADY])
    assert applied == [True] * 4 + [False] + [True] * 4
    assert [g["skipped"] for g in guards] == [0] * 4 + [1] * 5
    assert [g["in_a_row"] for g in guards] == [0] * 4 + [1] + [0] * 4
    assert {g["frozen_at"] for g in guards} == {-1} and {g["level"] for g in guards} == {1}


def test_a_large_gradient_whose_square_is_finite_is_applied():
    assert judged([(1, 1e18), (1e30, 1)])[0] == [True, True]


BAD = (math.nan, 1.0)


@pytest.mark.parametrize("n", [1, 3])
def test_so_many_steps_in_a_row_freeze_and_what_comes_after_is_not_applied(n):
    applied, guards = judged([*STEADY, *[BAD] * n, *STEADY], stop_after=n)
    assert applied == [True] * 4 + [False] * (n + 4)
    assert [g["frozen_at"] for g in guards] == [-1] * (3 + n) + [4 + n] * 5
    assert [g["skipped"] for g in guards] == [0] * 4 + list(range(1, n + 5))
    assert guards[-1]["in_a_row"] == n and guards[-1]["level"] == 1


def test_one_step_less_in_a_row_does_not_freeze():
    applied, guards = judged([*STEADY, BAD, BAD, (1.0, 1.0), BAD, BAD, *STEADY], stop_after=3)
    assert applied == [True] * 4 + [False, False, True, False, False] + [True] * 4
    assert {g["frozen_at"] for g in guards} == {-1} and guards[-1]["in_a_row"] == 0


@pytest.mark.parametrize("spike", [5.1, 1e6])
def test_a_step_whose_loss_is_a_spike_is_not_applied(spike):
    losses = [1.0, 1.2, 0.9, spike, 1.0, 5.0, 1.1]
    applied, guards = judged([(x, 1.0) for x in losses], spike_factor=5.0)
    assert applied == expected(losses, 5.0)[0] == [True] * 3 + [False] + [True] * 3
    np.testing.assert_allclose([g["level"] for g in guards], expected(losses, 5.0)[1], rtol=1e-5)
    assert guards[-1]["skipped"] == 1 and {g["in_a_row"] for g in guards} == {0}


def test_a_lasting_change_of_the_loss_is_accepted_after_a_while():
    losses = [1.0] * 5 + [20.0] * 60
    applied, guards = judged([(x, 1.0) for x in losses], spike_factor=5.0, stop_after=3)
    wanted, levels = expected(losses, 5.0)
    assert applied == wanted and 20 < wanted.count(False) < 50 and wanted[-1]
    np.testing.assert_allclose([g["level"] for g in guards], levels, rtol=1e-4)
    assert {g["frozen_at"] for g in guards} == {-1}


def test_without_a_spike_factor_any_finite_loss_is_applied():
    assert all(judged([(1.0, 1.0), (1e6, 1.0), (1.0, 1.0)])[0])


def test_a_first_step_that_is_not_finite_sets_no_level():
    applied, guards = judged([BAD, (3.0, 1.0), (100.0, 1.0)], spike_factor=5.0)
    assert applied == [False, True, False] and [g["level"] for g in guards][:2] == [0, 3]


# Kinds of poison in a batch of rows: what one row is multiplied by, or gets in one place.
POISON = {
    "nan": lambda x: x.__setitem__((5, 2), np.nan), "inf": lambda x: x.__setitem__((5, 2), -np.inf),
    "1e30": lambda x: x.__setitem__(5, 1e30), "1e15": lambda x: x.__setitem__(5, 1e15),
}  # fmt: skip


# All that an optimizer may have a state for.
CONFIG = dataclasses.replace(
    engine.CONFIG,
    optimizer=OptimizerConfig(eps=1e-4, clip_norm=1.0, weight_decay=0.01),
    schedule=ScheduleConfig("linear", warmup_steps=4),
)


def beginning(mesh) -> State:
    return create_state(lambda: engine.state_at(config=CONFIG), RULES, mesh)


@functools.cache
def dispatch_of(shape: tuple[int, int]):
    mesh = mesh_of(*shape)
    return engine.group(beginning(mesh), mesh, CONFIG).compile(CONFIG)


def trained(shape: tuple[int, int], batches: list[np.ndarray]) -> tuple[list[State], list[DispatchResult]]:
    """The states after each batch, and the results."""
    mesh, states, results = mesh_of(*shape), [], []
    state = beginning(mesh)
    for x in batches:
        state, result = dispatch_of(shape)(
            state, engine.device_put_sharded(x[None], mesh, engine.PartitionSpec(None, "data"))
        )
        states.append(jax.device_get(state))
        results.append(jax.device_get(result))
    return states, results


@functools.cache
def clean(shape: tuple[int, int]) -> list[State]:
    return trained(shape, list(engine.rows(0, 5)))[0]


@pytest.mark.parametrize("kind", POISON)
@pytest.mark.parametrize("shape", [(1, 1), (2, 4)], ids=["1x1", "2x4"])
def test_a_poisoned_batch_leaves_no_trace_but_its_count(shape, kind):
    """Bit for bit, apart from the numbers of steps since then."""
    batches = list(engine.rows(0, 5))
    bad = batches[2].copy()
    POISON[kind](bad)
    states, results = trained(shape, [*batches[:2], bad, *batches[2:]])
    assert_same(states[2], states[1], but=[".step", "'skipped'", "'in_a_row'"])
    assert [name for name, metric in results[2].metrics.items() if any(metric)] == ["skipped"]
    assert results[2].metrics["skipped"].number() == 1 and results[2].frozen_at == -1
    last, alone = states[-1], clean(shape)[-1]
    assert_same(last, alone, but=[".step", "'skipped'", "'last_fired'"])
    assert int(last.guard["skipped"]) == 1 and int(last.step) == int(alone.step) + 1
    fired = np.asarray(alone.stats["last_fired"])
    np.testing.assert_array_equal(last.stats["last_fired"], np.where(fired > engine.STEP + 2, fired + 1, fired))


def test_steps_that_were_not_applied_are_counted_where_they_are_logged(tmp_path):
    found = toy.train(tmp_path, steps=20, batches=toy.Batches({3: math.nan, 11: math.inf, 12: 1e30}))
    assert sum(logged(tmp_path, "skipped").values()) == 3 == int(found.states[0].guard["skipped"])
    assert all(np.isfinite(list(logged(tmp_path).values()))) and found.frozen == [[None]]


def test_a_line_of_which_no_step_was_applied_has_no_loss(tmp_path):
    bad = dict.fromkeys(range(5, 10), math.nan)
    toy.train(tmp_path, steps=15, steps_per_dispatch=5, batches=toy.Batches(bad))
    assert logged(tmp_path, "skipped") == {5: 0, 10: 5, 15: 0}
    assert [step for step, loss in logged(tmp_path).items() if loss is None] == [10]


def from_step(first: int) -> toy.Batches:
    return toy.Batches(dict.fromkeys(range(first, 200), math.nan))


def test_where_no_step_was_ever_applied_the_learning_rate_is_not_blamed(tmp_path):
    with pytest.raises(BadInput, match=r"^3 steps in a row up to step 3 .*: they are the first, so the rows or"):
        toy.train(tmp_path, steps=9, stop_after=3, batches=from_step(0))


@pytest.mark.parametrize("steps", [10, 11, 12, 20])
def test_training_stops_with_one_line_and_the_checkpoints_from_before(tmp_path, steps):
    """Also when it ends just then."""
    message = (
        rf"^3 steps in a row up to step 10 had a loss or gradient that is not finite, and were not applied: lower the "
        rf"learning rate; the checkpoints in {tmp_path} are from before$"
    )
    with pytest.raises(BadInput, match=message):
        toy.train(tmp_path, steps=steps, stop_after=3, checkpoint_every=2, batches=from_step(7))
    assert not (tmp_path / "summary.json").exists()
    good = toy.train(tmp_path / "good", steps=7)
    newest = checkpoint_steps(tmp_path / "checkpoints")[-1]
    assert newest >= 6
    saved = load_params(tmp_path / "checkpoints")["params"]["w"]
    if newest > 6:
        np.testing.assert_array_equal(saved, good.states[0].params["w"])
    assert np.isfinite(saved).all()


@pytest.mark.parametrize("steps", [10, 20])
def test_a_run_that_was_given_up_is_not_taken_for_one_that_is_done(tmp_path, steps):
    for _ in range(2):
        with pytest.raises(BadInput, match="3 steps in a row up to step 10"):
            toy.train(tmp_path, steps=steps, stop_after=3, checkpoint_every=2, batches=from_step(7))


def test_steps_that_are_not_finite_but_fewer_in_a_row_change_nothing(tmp_path):
    """A dispatch and the next one have two of them each, and a resume lies between."""
    gaps = dict.fromkeys((4, 5, 9, 10), math.nan)
    config = {"stop_after": 3, "steps_per_dispatch": 5, "checkpoint_every": 10}
    toy.train(tmp_path, steps=10, batches=toy.Batches(gaps), **config)
    found = toy.train(tmp_path, steps=20, batches=toy.Batches(gaps), **config)
    assert int(found.states[0].guard["skipped"]) == 4 and found.frozen == [[None]]


def test_steps_in_a_row_are_counted_across_a_resume(tmp_path):
    toy.train(tmp_path, steps=9, stop_after=3, batches=from_step(7))
    with pytest.raises(BadInput, match="3 steps in a row up to step 10"):
        toy.train(tmp_path, steps=20, stop_after=3, batches=from_step(7))


GROUPS = (((SEED, 0.1), (8, math.inf), (9, 0.3)), ((4, 0.2),), ((5, math.nan), (6, 0.1)))
FROZEN = [[None, 4, None], [None], [4, None]]


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """(path, result) of six models in three groups, of which two are given up at step 4."""
    path = tmp_path_factory.mktemp("frozen")
    return path, toy.train(path, steps=20, members=GROUPS, stop_after=4)


def test_a_member_that_is_given_up_is_named_with_its_step(frozen):
    assert frozen[1].frozen == FROZEN


def member(result, g: int, i: int) -> State:
    return toy.member(result.states[g], i) if len(GROUPS[g]) > 1 else result.states[g]


@pytest.mark.parametrize(("g", "i"), [(0, 0), (0, 2), (1, 0), (2, 1)])
def test_the_others_are_what_they_would_be_alone(frozen, tmp_path, g, i):
    path, result = frozen
    alone = toy.train(tmp_path, steps=20, members=[[GROUPS[g][i]]], stop_after=4)
    assert_same(member(result, g, i), alone.states[0])
    assert toy.lines(path / str(g) / str(i)) == toy.lines(tmp_path)


@pytest.mark.parametrize(("g", "i"), [(0, 1), (2, 0)])
def test_a_member_that_is_given_up_stays_as_it_was_and_logs_no_more(frozen, g, i):
    path, result = frozen
    tx = optimizer(toy.config_of())
    assert_same(member(result, g, i), toy.initial(tx, *GROUPS[g][i]), but=[".step", "guard"])
    assert int(member(result, g, i).guard["frozen_at"]) == 4
    assert [line["step"] for line in toy.lines(path / str(g) / str(i))] == [6]


def test_what_was_given_up_stays_so_when_training_resumes(frozen, tmp_path):
    with pytest.raises(toy.Crash):
        toy.train(
            tmp_path, steps=20, members=GROUPS, stop_after=4, reports=[toy.act_at(15, toy.crash, every=15)]
        )  # fmt: skip
    again = toy.train(tmp_path, steps=20, members=GROUPS, stop_after=4)
    assert again.steps == 10 and again.frozen == FROZEN
    for a, b in zip(again.states, frozen[1].states, strict=True):
        assert_same(a, b)
    for g, members in enumerate(GROUPS):
        for i in range(len(members)):
            assert toy.lines(tmp_path / str(g) / str(i)) == toy.lines(frozen[0] / str(g) / str(i))


def test_when_all_members_are_given_up_training_stops(tmp_path):
    with pytest.raises(BadInput, match=r"4 steps in a row up to step 4 .* not finite"):
        toy.train(tmp_path, steps=20, members=[[(1, math.inf), (2, math.nan)], [(3, math.inf)]], stop_after=4)


def test_a_config_without_a_guard_does_not_exist():
    """Defaults: any step that is not finite is skipped, ten in a row stop, spikes are applied."""
    assert GuardConfig() == GuardConfig(spike_factor=0.0, stop_after=10)
