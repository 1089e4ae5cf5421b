from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.training.optimizer import optimizer
from monosem_jax.training.step import State, TrainConfig, make_step

LR = 0.02
COUNTS = (
    "steps", "batch_size", "steps_per_dispatch", "micro_batches", "stop_after", "log_every", "checkpoint_every",
    "keep_checkpoints",
)  # fmt: skip


def rates(n: int, **config) -> np.ndarray:
    """The first n learning rates: of a gradient that is always 1, Adam makes 1."""
    tx = optimizer(TrainConfig(learning_rate=LR, eps=1e-12, **config))
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
    found = rates(25, steps=20, warmup_steps=warmup, schedule="cosine", final_fraction=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
    assert found[20] == pytest.approx(0.1 * LR, rel=1e-4)


@pytest.mark.parametrize(
    ("warmup", "decay", "begin"), [(0, 0.25, 15), (5, 0.25, 15), (5, 0.75, 5), (0, 1.0, 0), (0, 0.0, 20)]
)
def test_a_linear_schedule_falls_over_the_last_fraction_of_the_steps_alone(warmup, decay, begin):
    config = {"steps": 20, "warmup_steps": warmup, "decay_fraction": decay, "final_fraction": 0.1}
    found = rates(25, schedule="linear", **config)
    for i, rate in enumerate(found):
        fallen = min((i - begin) / (20 - begin), 1) if i > begin and begin < 20 else 0
        assert rate == pytest.approx(LR * (i / warmup if i < warmup else 1 - 0.9 * fallen), rel=1e-4, abs=1e-9), i
    assert TrainConfig(schedule="linear", **config).decay_begins() == begin


def test_steps_that_are_not_applied_do_not_count_for_the_schedule():
    """The second of three is not; the third has the rate of a second one."""
    config = TrainConfig(steps=10, learning_rate=LR, warmup_steps=5, eps=1e-12, batch_size=1)
    tx = optimizer(config)
    objective = lambda s, x: ({"w": x}, {}, {"loss": x, "count": jnp.float32(1)})  # noqa: E731
    state, rates = State.create({"w": jnp.zeros(())}, tx, stats={}, hyper={}, key=jax.random.key(0)), []
    for x in (1.0, np.nan, 1.0):
        after, _ = make_step(objective, tx, config)(state, jnp.float32(x))
        rates.append(float(state.params["w"] - after.params["w"]))
        state = after
    assert rates == pytest.approx([0, 0, LR / 5], rel=1e-4) and int(state.step) == 3


def test_updates_are_those_of_adam():
    rng, b1, b2, eps = np.random.default_rng(0), 0.8, 0.95, 0.01
    tx = optimizer(TrainConfig(learning_rate=LR, b1=b1, b2=b2, eps=eps))
    state, mu, nu = tx.init(jnp.zeros(4)), np.zeros(4), np.zeros(4)
    for t in range(1, 6):
        g = rng.normal(size=4)
        found, state = tx.update(jnp.asarray(g, jnp.float32), state, jnp.zeros(4))
        mu, nu = b1 * mu + (1 - b1) * g, b2 * nu + (1 - b2) * g**2
        expected = -LR * (mu / (1 - b1**t)) / (np.sqrt(nu / (1 - b2**t)) + eps)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_weight_decay_is_apart_from_adam_and_for_matrices_alone():
    params = {"matrix": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0)}
    tx = optimizer(TrainConfig(learning_rate=LR, weight_decay=0.1))
    found, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    np.testing.assert_allclose(found["matrix"], -LR * 0.1 * 3, rtol=1e-6)
    np.testing.assert_array_equal(found["bias"], 0)


@pytest.mark.parametrize(("clip", "scale"), [(0.0, 1.0), (1.0, 0.2), (10.0, 1.0)])
def test_gradients_are_clipped_by_their_norm_before_adam(clip, scale):
    tx = optimizer(TrainConfig(learning_rate=1, clip_norm=clip, eps=1.0))
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
    "wrong",
    [
        *({name: 0} for name in COUNTS),
        {"learning_rate": 0.0},
        {"learning_rate": -1e-3},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"schedule": "exponential"},
        {"decay_fraction": -0.1},
        {"decay_fraction": 1.1},
        {"final_fraction": math.nan},
        {"final_fraction": 1.1},
        {"clip_norm": -1.0},
        {"clip_norm": math.inf},
        {"weight_decay": math.nan},
        {"weight_decay": -0.1},
        {"spike_factor": 1.0},
        {"spike_factor": -2.0},
        {"spike_factor": math.nan},
        {"compute_dtype": "float16"},
        {"warmup_steps": -1},
        {"warmup_steps": 10, "steps": 10},
        {"warmup_steps": 9, "steps": 10, "schedule": "linear"},
    ],
    ids=str,
)
def test_config_check_names_the_impossible_value(wrong):
    name = next(iter(wrong))
    with pytest.raises(BadInput, match=rf"train\.{name} is '?{wrong[name]}'?: "):
        TrainConfig(**wrong).check()


@pytest.mark.parametrize(("name", "dtype"), [("auto", "float32"), ("float32", "float32"), ("bfloat16", "bfloat16")])
def test_matmuls_run_in_float32_on_the_cpu_unless_told_otherwise(name, dtype):
    assert jnp.dtype(TrainConfig(compute_dtype=name).dtype()) == dtype


@pytest.mark.parametrize("right", [{}, {"spike_factor": 1.5}, {"warmup_steps": 8, "steps": 10, "schedule": "linear"}])
def test_config_check_takes_what_is_possible(right):
    TrainConfig(**right).check()
