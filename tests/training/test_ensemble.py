"""Several models in one loop, alone and stacked: one read of the batches, and checkpoints that belong together."""

from __future__ import annotations

import pathlib
import shutil

import jax
import numpy as np
import pytest

from monosem_jax.runtime.checkpoint import Checkpoints, checkpoint_steps
from monosem_jax.runtime.errors import BadInput, Stopped
from monosem_jax.training.ensemble import member_of
from monosem_jax.training.loop import FitResult, Report, Transform
from tests import small_loop as toy
from tests.small_loop import Batches, Crash, act_at, assert_same, crash, terminate

# A read that fails leaves futures and coroutines of Orbax behind that nobody waits for.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]
GROUPS = (((7, 0.1), (8, 0.2)), ((9, 0.3),))
PLACES = [(0, 0), (0, 1), (1, 0)]


def train(path: pathlib.Path, **changes) -> FitResult:
    return toy.train(path, **{"steps": 20, "members": GROUPS, **changes})


def folder(path: pathlib.Path, place: tuple[int, int]) -> pathlib.Path:
    return path / str(place[0]) / str(place[1])


def steps(path: pathlib.Path) -> list[list[int]]:
    return [checkpoint_steps(folder(path, p) / "checkpoints") for p in PLACES]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(path, result, calls of the batches) of twenty steps without interruption."""
    path, batches = tmp_path_factory.mktemp("whole"), Batches()
    return path, train(path, batches=batches), batches.calls


@pytest.fixture
def copied(whole, tmp_path) -> pathlib.Path:
    """The same, to be changed."""
    return shutil.copytree(whole[0], tmp_path / "copied")


def assert_same_end(path: pathlib.Path, found: FitResult, whole) -> None:
    """States, checkpoints and logs are those of the run without interruption."""
    for a, b in zip(found.states, whole[1].states, strict=True):
        assert_same(a, b)
    assert steps(path) == [[0, 10, 20]] * 3
    for p in PLACES:
        assert toy.lines(folder(path, p)) == toy.lines(folder(whole[0], p))


def test_all_groups_are_trained_on_one_read_of_the_batches(whole, tmp_path):
    alone = Batches()
    toy.train(tmp_path, steps=20, batches=alone)
    assert whole[2] == alone.calls


@pytest.mark.parametrize("place", PLACES)
def test_each_member_is_what_it_would_be_alone(whole, tmp_path, place):
    g, i = place
    alone = toy.train(tmp_path, steps=20, members=[[GROUPS[g][i]]])
    state = whole[1].states[g]
    assert_same(toy.member(state, i) if g == 0 else state, alone.states[0])
    assert toy.lines(folder(whole[0], place)) == toy.lines(tmp_path)


def test_members_are_told_apart_by_seed_and_hyper(whole):
    a, b = (toy.bits(toy.member(whole[1].states[0], i)) for i in range(2))
    assert not any(np.array_equal(a[name], b[name]) for name in (".params['w']", ".stats['seen']", ".hyper['pull']"))
    assert not np.array_equal(a[".key"], b[".key"])


def test_a_checkpoint_of_a_member_is_one_of_a_model_alone(whole, tmp_path):
    """It is taken up by a run of it alone."""
    toy.train(tmp_path, steps=1, members=[[GROUPS[0][1]]])
    shutil.rmtree(tmp_path / "checkpoints")
    shutil.copytree(folder(whole[0], (0, 1)) / "checkpoints", tmp_path / "checkpoints")
    shutil.rmtree(tmp_path / "checkpoints" / "20")
    found = toy.train(tmp_path, steps=20, members=[[GROUPS[0][1]]])
    assert found.steps == 10
    assert_same(found.states[0], toy.member(whole[1].states[0], 1))


def test_a_member_of_a_group_is_found_by_its_number():
    group = toy.group(toy.config_of(), [], GROUPS[0])
    for i in range(2):
        assert_same(member_of(group.state, i, group), toy.member(group.state, i))
    alone = toy.group(toy.config_of(), [], GROUPS[1])
    assert member_of(alone.state, 0, alone) is alone.state


def test_numbers_of_a_report_go_each_to_its_member(tmp_path):
    found = train(tmp_path, steps=8, reports=[Report(4, lambda s: {"now": s.params["w"][..., 0]})])
    for place, state in zip(
        PLACES, [*(toy.member(found.states[0], i) for i in range(2)), found.states[1]], strict=True
    ):
        numbers = toy.logged(folder(tmp_path, place), "now")
        assert list(numbers) == [4, 8] and numbers[8] == pytest.approx(float(state.params["w"][0]), rel=1e-6)


def test_a_transform_is_given_the_states_of_all_groups_in_their_order(tmp_path):
    seen = []

    def apply(states, step, batches):
        seen.append((step, [s.params["w"].shape for s in states]))
        return [s.replace(params={"w": s.params["w"] + 100 * (i + 1)}) for i, s in enumerate(states)]

    found = train(tmp_path, steps=4, transforms=[Transform((4, 2), apply)], learning_rate=1e-20)
    assert seen == [(2, [(2, 3), (3,)])]
    np.testing.assert_allclose(found.states[0].params["w"], np.add([[102], [103]], np.arange(3)))
    np.testing.assert_allclose(found.states[1].params["w"], np.arange(3.0) + 204)


@pytest.mark.parametrize(("act", "kind", "done"), [(crash, Crash, 10), (terminate, Stopped, 14)])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(whole, tmp_path, act, kind, done):
    run = lambda act: train(tmp_path, reports=[act_at(14, act, every=14)])  # noqa: E731
    with pytest.raises(kind):
        run(act)
    found = run(lambda: None)
    assert found.steps == 20 - done
    for a, b in zip(found.states, whole[1].states, strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("kept", [1, 2])
def test_killed_between_the_checkpoints_of_two_members_it_goes_on_from_the_one_that_all_have(whole, copied, kept):
    for p in PLACES[kept:]:
        shutil.rmtree(folder(copied, p) / "checkpoints" / "20")
    found = train(copied)
    assert found.steps == 10
    assert_same_end(copied, found, whole)


def test_killed_while_the_first_checkpoints_are_written_it_begins_anew(whole, copied):
    for p in PLACES:
        for step in (10, 20) if p == (0, 0) else (0, 10, 20):
            shutil.rmtree(folder(copied, p) / "checkpoints" / str(step))
    found = train(copied)
    assert found.steps == 20
    assert_same_end(copied, found, whole)


@pytest.mark.parametrize("place", PLACES)
def test_a_damaged_checkpoint_of_one_member_makes_all_go_back_one(whole, copied, capsys, place):
    shutil.rmtree(folder(copied, place) / "checkpoints" / "20" / "rest")
    found = train(copied)
    assert f"{folder(copied, place) / 'checkpoints' / '20'} cannot be read" in capsys.readouterr().err
    assert found.steps == 10
    assert_same_end(copied, found, whole)


def test_nothing_is_thrown_away_where_no_common_step_can_be_read(copied):
    for step in (0, 10, 20):
        shutil.rmtree(folder(copied, PLACES[step // 10]) / "checkpoints" / str(step) / "params")
    with pytest.raises(BadInput, match=r"none of the checkpoints \[20, 10, 0\] in .* can be read"):
        train(copied)
    assert steps(copied) == [[0, 10, 20]] * 3


def test_no_member_is_more_than_one_checkpoint_ahead_of_another(tmp_path, monkeypatch):
    """Before any member's is begun, that before is written for all."""
    events, save, complete = [], Checkpoints.save, Checkpoints._complete
    monkeypatch.setattr(Checkpoints, "save", lambda c, step, *a, **k: events.append(step) or save(c, step, *a, **k))
    monkeypatch.setattr(Checkpoints, "_complete", lambda c, step, *a: complete(c, step, *a) or events.append((step,)))
    train(tmp_path)
    assert [e for e in events if e in (0, 10, 20)] == [0] * 3 + [10] * 3 + [20] * 3
    for before, step in ((0, 10), (10, 20)):
        assert events[: events.index(step)].count((before,)) == 3


def test_states_of_members_lie_where_the_rules_say_after_a_resume(whole, copied):
    found = train(copied)
    assert found.steps == 0
    for a, b in zip(jax.tree.leaves(found.states), jax.tree.leaves(whole[1].states), strict=True):
        assert a.sharding.is_equivalent_to(b.sharding, a.ndim) and a.committed
