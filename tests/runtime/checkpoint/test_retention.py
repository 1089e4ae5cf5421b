"""Which checkpoints are kept, for any history, on disk and after a resume."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.runtime.checkpoint import Checkpoints, Retention, checkpoint_steps
from monosem_jax.runtime.checkpoint import read as saved
from monosem_jax.runtime.errors import BadInput, Stopped
from monosem_jax.training.loop import Report
from tests import small_loop as toy
from tests.cases import cases


def reference(steps: dict, last: int, every: int, best: str, regular: int) -> set[int]:
    """The rules one after the other, step by step."""
    counting = [s for s in steps if regular == 0 or s % regular == 0]
    newest, kept, winner = max(steps), set(), None
    for s in sorted(counting):
        later = [t for t in steps if t > s and (t in counting or t == newest)]
        if s == 0 or len(later) < last or (every and s % every == 0):
            kept.add(s)
        value = steps[s]
        if best and value is not None and math.isfinite(value):
            better = winner is None or (value > steps[winner] if best.startswith("max:") else value < steps[winner])
            winner = s if better else winner
    return kept | {newest} | ({winner} if winner is not None else set())


@cases("seed", range(300))
def test_what_stays_of_a_random_history(seed):
    rng = np.random.default_rng(seed)
    steps = sorted({0, *rng.integers(0, 60, size=rng.integers(1, 15)).tolist()} if seed % 3 else {*range(5, 60, 5)})
    values = [None, math.nan, math.inf, *(float(v) for v in range(4))]  # few, so that some are equal
    history = {s: values[rng.integers(len(values))] for s in steps}
    last, every, regular = (int(rng.choice(c)) for c in ([1, 2, 3, 10], [0, 1, 7, 10], [0, 1, 5, 6]))
    best = ["", "loss", "min:loss", "max:loss"][seed % 4]
    assert Retention(last, every, best, regular).stay(history) == reference(history, last, every, best, regular)


HISTORY = {0: 9.0, 10: 3.0, 20: 1.0, 30: None, 40: 1.0, 50: 4.0, 60: math.nan, 70: 5.0}


@pytest.mark.parametrize(
    ("retention", "kept"),
    [
        (Retention(), {0, 60, 70}),
        (Retention(1), {0, 70}),
        (Retention(99), HISTORY.keys()),
        (Retention(1, 20), {0, 20, 40, 60, 70}),
        (Retention(1, 35), {0, 70}),
        (Retention(1, 0, "loss"), {0, 20, 70}),
        (Retention(1, 0, "min:loss"), {0, 20, 70}),
        (Retention(1, 0, "max:loss"), {0, 70}),
        (Retention(2, 30, "max:loss", 20), {0, 60, 70}),
        (Retention(2, 0, "loss", 40), {0, 40, 70}),
        (Retention(1, 10, "", 7), {0, 70}),
    ],
)
def test_what_stays_of_a_history(retention, kept):
    assert retention.stay(HISTORY) == kept


def test_nothing_is_best_where_no_metric_is_known():
    assert Retention(1, 0, "loss").stay({10: None, 20: math.nan, 30: -math.inf, 40: None}) == {40}
    assert Retention(1).stay({}) == set()


def test_the_best_does_not_wander_among_equals():
    for n in range(1, 6):
        assert 0 in Retention(1, 0, "loss").stay(dict.fromkeys(range(n), 2.0))
        assert 1 in Retention(1, 0, "max:loss").stay(dict.fromkeys(range(1, n + 1), 2.0))


@pytest.mark.parametrize(
    ("retention", "line"),
    [
        (Retention(1, 0, "max:"), "train.checkpoint.keep_best is 'max:': expected the name of a metric, or max:NAME"),
        (Retention(1, 0, "a b"), "train.checkpoint.keep_best is 'a b': expected the name of a metric, or max:NAME"),
        (
            Retention(1, 0, "mean:loss"),
            "train.checkpoint.keep_best is 'mean:loss': expected the name of a metric, or max:NAME",
        ),
    ],
)
def test_an_impossible_value_is_named(retention, line):
    with pytest.raises(BadInput) as e:
        retention.check()
    assert str(e.value) == line


@pytest.mark.parametrize("best", ["", "loss", "min:loss", "max:grad_norm"])
def test_a_possible_value_is_taken(best):
    Retention(1, 0, best).check()
    assert Retention(1, 0, best).metric == best.rpartition(":")[2]


def test_a_configuration_says_what_stays():
    config = toy.config_of(keep=3, keep_every=40, keep_best="max:l0", checkpoint_every=20)
    assert config.retention() == Retention(3, 40, "max:l0", 20)
    with pytest.raises(BadInput, match="keep_every is -1"):
        toy.config_of(keep_every=-1)


def numbers(step: int) -> tuple[dict, dict]:
    return {"w": jnp.full(3, step, jnp.float32)}, {"step": jnp.int32(step)}


METRICS = {0: 5.0, 10: 2.0, 20: 7.0, 30: 3.0, 40: 4.0, 50: 3.5}


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize(
    ("retention", "kept"),
    [
        (Retention(1, 0, "loss"), [0, 10, 50]),
        (Retention(1, 0, "max:loss"), [0, 20, 50]),
        (Retention(2, 30, "loss"), [0, 10, 30, 40, 50]),
        (Retention(1, 0, "other"), [0, 50]),
    ],
)
def test_what_stays_on_the_disk(tmp_path, retention, kept, reopened):
    """`reopened`: every step is saved by a process of its own, which must know the metrics of those before."""
    store = Checkpoints(tmp_path, retention)
    for step, loss in METRICS.items():
        if reopened:
            store.close()
            store = Checkpoints(tmp_path, retention)
        store.save(step, *numbers(step), {"loss": loss, "l0": 1.0})
    store.close()
    assert checkpoint_steps(tmp_path) == store.steps() == kept
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(map(str, kept))
    assert {s: saved.metric(tmp_path / str(s), "loss") for s in kept} == {s: METRICS[s] for s in kept}


def test_a_step_without_the_metric_is_saved_and_never_the_best(tmp_path):
    store = Checkpoints(tmp_path, Retention(1, 0, "loss"))
    for step, metrics in ((0, None), (10, {"loss": 3.0}), (20, {"l0": 1.0}), (30, {})):
        store.save(step, *numbers(step), metrics)
    store.close()
    assert checkpoint_steps(tmp_path) == [0, 10, 30]


STEPS = 63  # the last is no multiple of checkpoint_every
KEPT = [
    {"keep": 1, "keep_best": "bumpy"},
    {"keep": 2, "keep_best": "max:bumpy"},
    {"keep": 3, "keep_every": 15},
]


def train(path, *stops: int, **changes) -> list[int]:
    """The steps that are left by processes that were stopped at `stops` and the one that finished. The metric "bumpy"
    changes from step to step."""
    bumpy = Report(1, lambda state: {"bumpy": float(np.random.default_rng(int(state.step)).uniform())})
    for stop, last in [*((s, False) for s in stops), (None, True)]:
        reports = [bumpy] if last else [bumpy, toy.act_at(stop, toy.terminate)]
        if last:
            toy.train(path, steps=STEPS, reports=reports, **changes)
        else:
            with pytest.raises(Stopped):
                toy.train(path, steps=STEPS, reports=reports, **changes)
    return checkpoint_steps(path / "checkpoints")


@pytest.mark.parametrize("changes", KEPT, ids=str)
def test_a_run_that_was_stopped_keeps_what_an_undisturbed_one_does(tmp_path, changes):
    expected = train(tmp_path / "undisturbed", **changes)
    assert expected[0] == 0 and expected[-1] == STEPS
    assert train(tmp_path / "stopped", 15, 30, 33, 58, **changes) == expected


@pytest.mark.parametrize("best", ["bumpy", "max:bumpy"])
def test_the_best_of_a_training_is_the_one_with_the_best_metric(tmp_path, best):
    bumpy = [float(np.random.default_rng(step).uniform()) for step in range(0, STEPS, 10)]
    wanted = (np.argmin if best == "bumpy" else np.argmax)(bumpy[1:]) + 1  # step 0 comes before all reports
    assert train(tmp_path, keep=1, keep_best=best) == sorted({0, int(wanted) * 10, STEPS})


def test_the_step_of_a_stop_stays_until_the_next_is_saved():
    retention = Retention(2, 0, "loss", 10)
    history = {0: 5.0, 10: 1.0, 20: 2.0, 30: 3.0}
    assert retention.stay({**history, 34: 0.5}) == {0, 10, 30, 34}
    assert retention.stay({**history, 34: 0.5, 40: 4.0}) == {0, 10, 30, 40}
    for a, b in itertools.pairwise((34, 37, 38)):
        assert retention.stay({**history, a: 0.5, b: 0.5}) == {0, 10, 30, b}
