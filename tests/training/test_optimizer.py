from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from monosem_jax.runtime.config import from_dict, upgrade
from monosem_jax.runtime.errors import BadInput
from monosem_jax.training.config import MOVED, TrainConfig
from monosem_jax.training.metrics import Mean
from monosem_jax.training.optimizer import learning_rate, optimizer
from monosem_jax.training.step import BatchResult, State, make_step
from tests.small_loop import keys

LR = 0.02
COUNTS = ("steps", "batch_size", "steps_per_dispatch", "micro_batches", "log_every", "checkpoint_every")


def rates(n: int, **config) -> np.ndarray:
    """The first n learning rates: of a gradient that is always 1, Adam makes 1."""
    tx = optimizer(keys(learning_rate=LR, eps=1e-12, **config))
    params = jnp.zeros(())
    update = jax.jit(tx.update)
    found, state = [], tx.init(params)
    for _ in range(n):
        step, state = update(jnp.ones(()), state, params)
        found.append(-float(step))
    return np.asarray(found)


def test_a_constant_schedule_is_constant():
    np.testing.assert_allclose(rates(30, steps=20), LR, rtol=1e-4)


def test_the_warm_up_is_linear_from_zero_and_constant_after():
    expected = [LR * min(i / 8, 1) for i in range(20)]
    np.testing.assert_allclose(rates(20, steps=20, warmup_steps=8), expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("warmup", [0, 5])
def test_a_cosine_falls_to_its_final_fraction_at_the_last_step(warmup):
    expected = []
    for i in range(25):
        done = min((i - warmup) / (20 - warmup), 1)
        cosine = 0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2
        expected.append(LR * (i / warmup if i < warmup else cosine))
    found = rates(25, steps=20, warmup_steps=warmup, kind="cosine", final_fraction=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
    assert found[20] == pytest.approx(0.1 * LR, rel=1e-4)


@pytest.mark.parametrize(
    ("warmup", "decay", "begin"), [(0, 0.25, 15), (5, 0.25, 15), (5, 0.75, 5), (0, 1.0, 0), (0, 0.0, 20)]
)
def test_a_linear_schedule_falls_over_the_last_fraction_of_the_steps_alone(warmup, decay, begin):
    config = {"steps": 20, "warmup_steps": warmup, "decay_fraction": decay, "final_fraction": 0.1}
    found = rates(25, kind="linear", **config)
    for i, rate in enumerate(found):
        fallen = min((i - begin) / (20 - begin), 1) if i > begin and begin < 20 else 0
        assert rate == pytest.approx(LR * (i / warmup if i < warmup else 1 - 0.9 * fallen), rel=1e-4, abs=1e-9), i
    assert keys(kind="linear", **config).decay_begins() == begin


def test_steps_that_are_not_applied_do_not_count_for_the_schedule():
    """The second of three is not; the third has the rate of a second one."""
    config = keys(steps=10, learning_rate=LR, warmup_steps=5, eps=1e-12, batch_size=1)
    tx = optimizer(config)

    def objective(state, x):
        return BatchResult({"w": x}, {}, Mean(x, jnp.float32(1)), {})

    state, rates, told = State.create({"w": jnp.zeros(())}, tx, stats={}, hyper={}, key=jax.random.key(0)), [], []
    for x in (1.0, np.nan, 1.0):
        after, metrics = make_step(objective, tx, config.guard, learning_rate(config))(state, jnp.float32(x))
        rates.append(float(state.params["w"] - after.params["w"]))
        told.append(float(metrics["learning_rate"].number()))
        state = after
    assert rates == pytest.approx([0, 0, LR / 5], rel=1e-4) and int(state.step) == 3
    assert told == pytest.approx([0, math.nan, LR / 5], nan_ok=True)


def test_updates_are_those_of_adam():
    rng, b1, b2, eps = np.random.default_rng(0), 0.8, 0.95, 0.01
    tx = optimizer(keys(learning_rate=LR, b1=b1, b2=b2, eps=eps))
    state, mu, nu = tx.init(jnp.zeros(4)), np.zeros(4), np.zeros(4)
    for t in range(1, 6):
        g = rng.normal(size=4)
        found, state = tx.update(jnp.asarray(g, jnp.float32), state, jnp.zeros(4))
        mu, nu = b1 * mu + (1 - b1) * g, b2 * nu + (1 - b2) * g**2
        expected = -LR * (mu / (1 - b1**t)) / (np.sqrt(nu / (1 - b2**t)) + eps)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_weight_decay_is_apart_from_adam_and_for_matrices_alone():
    params = {"matrix": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0)}
    tx = optimizer(keys(learning_rate=LR, weight_decay=0.1))
    found, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    np.testing.assert_allclose(found["matrix"], -LR * 0.1 * 3, rtol=1e-6)
    np.testing.assert_array_equal(found["bias"], 0)


@pytest.mark.parametrize(("clip", "scale"), [(0.0, 1.0), (1.0, 0.2), (10.0, 1.0)])
def test_gradients_are_clipped_by_their_norm_before_adam(clip, scale):
    tx = optimizer(keys(learning_rate=1, clip_norm=clip, eps=1.0))
    found, _ = tx.update(jnp.asarray([3.0, 4.0]), tx.init(jnp.zeros(2)), jnp.zeros(2))
    g = scale * np.asarray([3, 4])
    np.testing.assert_allclose(found, -g / (g + 1), rtol=1e-5)


def test_links_before_see_gradients_and_links_after_the_finished_update():
    seen = {}

    def note(name):
        def update(updates, state, params):
            seen[name] = float(updates)
            return updates, state

        return optax.GradientTransformation(lambda params: optax.EmptyState(), update)

    tx = optimizer(TrainConfig(learning_rate=LR), before=[note("before")], after=[note("after")])
    tx.update(jnp.asarray(7.0), tx.init(jnp.zeros(())), jnp.zeros(()))
    assert seen == pytest.approx({"before": 7, "after": -LR}, rel=1e-4)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        *((name, 0) for name in COUNTS),
        ("evaluate_every", -1),
        *(("learning_rate", value) for value in (0.0, -1e-3, math.nan, math.inf)),
        ("compute_dtype", "float16"),
        *((f"optimizer.{name}", value) for name in ("b1", "b2") for value in (-0.1, 1.0, math.nan)),
        *((f"optimizer.{name}", value) for name in ("eps", "clip_norm", "weight_decay") for value in (-0.1, math.inf)),
        ("optimizer.weight_decay", math.nan),
        ("schedule.kind", "exponential"),
        *(("schedule.decay_fraction", value) for value in (-0.1, 1.1)),
        *(("schedule.final_fraction", value) for value in (math.nan, 1.1)),
        ("schedule.warmup_steps", -1),
        *(("guard.spike_factor", value) for value in (1.0, -2.0, math.nan)),
        ("guard.stop_after", 0),
        *(("checkpoint.keep", value) for value in (0, -1)),
        ("checkpoint.keep_every", -5),
        ("checkpoint.keep_best", "max:"),
        ("checkpoint.when_disk_full", "wait"),
    ],
    ids=str,
)
def test_config_check_names_the_impossible_value(key, wrong):
    section, _, name = key.rpartition(".")
    config = from_dict(TrainConfig, {section: {name: wrong}} if section else {name: wrong})
    with pytest.raises(BadInput, match=rf"^train\.{key} is {wrong!r}: expected "):
        config.check()


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"warmup_steps": 10, "steps": 10}, "train.schedule.warmup_steps is 10: expected 0 to steps - 1 = 9"),
        (
            {"warmup_steps": 9, "steps": 10, "kind": "linear"},
            "train.schedule.warmup_steps is 9: the decay begins before, at step 8",
        ),
    ],
)
def test_config_check_names_values_that_do_not_go_together(wrong, line):
    with pytest.raises(BadInput) as e:
        keys(**wrong).check()
    assert str(e.value) == line


@pytest.mark.parametrize(("name", "dtype"), [("auto", "float32"), ("float32", "float32"), ("bfloat16", "bfloat16")])
def test_matmuls_run_in_float32_on_the_cpu_unless_told_otherwise(name, dtype):
    assert jnp.dtype(TrainConfig(compute_dtype=name).dtype()) == dtype


@pytest.mark.parametrize("right", [{}, {"spike_factor": 1.5}, {"warmup_steps": 8, "steps": 10, "kind": "linear"}])
def test_config_check_takes_what_is_possible(right):
    keys(**right).check()


OLD = {
    "b1": 0.5, "b2": 0.5, "eps": 0.5, "weight_decay": 0.5, "clip_norm": 0.5, "schedule": "cosine", "warmup_steps": 5,
    "decay_fraction": 0.5, "final_fraction": 0.5, "spike_factor": 2.5, "stop_after": 5, "keep_checkpoints": 5,
    "keep_every": 5, "keep_best": "loss", "when_disk_full": "continue", "wandb": "project",
}  # fmt: skip


@pytest.mark.parametrize("key", OLD)
def test_an_old_key_is_answered_with_its_new_name(key):
    """From Python and from a file."""
    line = rf"^train\.{key} is now train\.{MOVED[key]}$"
    with pytest.raises(BadInput, match=line):
        TrainConfig(**{key: OLD[key]})
    with pytest.raises(BadInput, match=line):
        from_dict(TrainConfig, {key: OLD[key]}, prefix="config.train")


def test_every_old_key_has_its_value_under_the_new_name():
    """And none is left: they are all of the 26 keys that there were but the ten that stay."""
    assert OLD.keys() == MOVED.keys() and len(OLD) == 16
    found = from_dict(TrainConfig, upgrade(TrainConfig, {"steps": 7, **OLD}))
    assert found.steps == 7
    for old, new in MOVED.items():
        section, name = new.split(".")
        assert getattr(getattr(found, section), name) == OLD[old] != getattr(getattr(TrainConfig(), section), name)
