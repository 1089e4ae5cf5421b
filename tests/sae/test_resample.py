"""A resampling event for one dictionary: its features, moments and statistics, and the inputs that are drawn."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.resample import ResampleConfig, input_weights, make_resampling
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.step import State
from tests import reference
from tests.conftest import mesh_of
from tests.engine import (
    CONFIG,
    DEAD,
    L1,
    SAE,
    SCALE,
    STEP,
    WINDOW,
    B,
    Batches,
    F,
    M,
    by_feature,
    event,
    group,
    moments,
    resampler,
    rows,
    state_at,
)
from tests.small_loop import assert_same

METHODS = pytest.mark.parametrize("method", ["paper", "kaiming"])


def directions(x: np.ndarray) -> np.ndarray:
    x = x.reshape(-1, M).astype(np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def drawn(after: State, x: np.ndarray, dead: np.ndarray = DEAD) -> list[int]:
    """For every dead feature the number of the row of x with the direction of its new vector."""
    cosines = np.asarray(after.params["W_dec"], np.float64)[dead] @ directions(x).T
    np.testing.assert_allclose(cosines.max(axis=1), 1, atol=1e-6)
    return [int(i) for i in cosines.argmax(axis=1)]


def systematic(state: State, x: np.ndarray, dead: np.ndarray = DEAD) -> list[int]:
    """The draws of the docstring, in float64, from all rows of x at once; for state at its step."""
    losses = reference.row_losses(state.params, x.reshape(-1, M) * float(SCALE), L1)
    weights = losses**2 * x.reshape(-1, M).any(axis=1)
    offset = float(jax.random.uniform(jax.random.fold_in(state.key, state.step)))
    at = (np.arange(dead.sum()) + offset) / dead.sum()
    return list(np.searchsorted(np.cumsum(weights) / weights.sum(), at, side="right"))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_event_equals_the_reference(seed):
    state, x = state_at(seed=seed), rows(STEP, 6)
    draws = dict(zip(np.flatnonzero(DEAD), systematic(state, x), strict=True))
    params, mu, nu, last_fired = reference.resample(
        state.params, *moments(state), state.stats["last_fired"], STEP, WINDOW, x.reshape(-1, M), draws
    )
    after = event(state)
    assert drawn(after, x) == list(draws.values())
    for name in params:
        np.testing.assert_allclose(after.params[name], params[name], rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(moments(after)[0][name], mu[name], err_msg=f"mu of {name}")
        np.testing.assert_allclose(moments(after)[1][name], nu[name], err_msg=f"nu of {name}")
    np.testing.assert_array_equal(after.stats["last_fired"], last_fired)


@pytest.mark.parametrize("per_dispatch", [6, 4, 1])
def test_inputs_streamed_in_blocks_give_what_one_block_gives(per_dispatch):
    streamed, batches = state_at(seed=3), Batches(mesh_of(1, 1))
    found = event(streamed, per_dispatch=per_dispatch, batches=batches)
    assert_same(found, event(state_at(seed=3), per_dispatch=100))
    sizes = {6: [6], 4: [4, 2], 1: [1] * 6}[per_dispatch]
    starts = [STEP + sum(sizes[:i]) for i in range(len(sizes))]
    assert batches.calls == 2 * list(zip(starts, sizes, strict=True))


@pytest.mark.parametrize(("n_inputs", "n_batches"), [(1, 1), (B, 1), (B + 1, 2), (2 * B - 1, 2), (2 * B, 2)])
def test_the_number_of_inputs_is_rounded_up_to_whole_batches(n_inputs, n_batches):
    batches = Batches(mesh_of(1, 1))
    after = event(state_at(), n_inputs=n_inputs, batches=batches)
    assert set(batches.calls) == {(STEP, n_batches)}
    assert drawn(after, rows(STEP, 2)) == systematic(state_at(), rows(STEP, n_batches))


def test_an_input_with_nearly_all_of_the_squared_loss_replaces_every_dead_feature():
    loud = rows(STEP + 5, 1)[0]
    loud[6] *= 100
    after = event(state_at(), batches=Batches(mesh_of(1, 1), {STEP + 5: loud}))
    assert set(drawn(after, rows(STEP, 6))) == {5 * B + 6}


BAD = {"nan": np.nan, "inf": np.inf, "overflowing": 1e30, "whose square overflows": 1e12, "zero": 0.0}


@pytest.mark.parametrize("kind", BAD)
def test_rows_that_are_zero_or_have_no_finite_loss_are_never_drawn(kind):
    """All rows but four are such; the others are drawn from as if they were alone."""
    good = [(STEP, 5), (STEP, 9), (STEP + 3, 0), (STEP + 5, 15)]
    changed, alone = {}, rows(STEP, 6)
    for i in range(6):
        bad = [slot for slot in range(B) if (STEP + i, slot) not in good]
        changed[STEP + i] = alone[i].copy()
        changed[STEP + i][bad] = BAD[kind] if kind == "zero" else alone[i][bad] * 0 + BAD[kind]
        alone[i, bad] = 0
    after = event(state_at(), batches=Batches(mesh_of(1, 1), changed))
    assert drawn(after, alone) == systematic(state_at(), alone)
    assert all(np.isfinite(p).all() for p in after.params.values())


def test_without_any_input_to_draw_new_features_are_zero_and_finite():
    """Only where every input is zero or not finite: such features can be resampled at the next event."""
    nothing = {STEP + i: np.full((B, M), np.nan if i % 2 else 0.0, np.float32) for i in range(6)}
    after = event(state_at(), batches=Batches(mesh_of(1, 1), nothing))
    assert all(np.isfinite(p).all() for p in after.params.values())
    assert not np.asarray(after.params["W_dec"])[DEAD].any()


def test_input_scale_does_not_change_the_size_of_a_new_encoder_vector():
    norms = np.linalg.norm(np.asarray(state_at().params["W_enc"], np.float64), axis=0)
    found = np.linalg.norm(np.asarray(event(state_at()).params["W_enc"], np.float64), axis=0)
    np.testing.assert_allclose(found[DEAD], 0.2 * norms[~DEAD].mean(), rtol=1e-5)


@METHODS
def test_an_event_leaves_everything_else_bit_identical(method):
    state, after = state_at(), event(state_at(), method=method)
    pairs = [(state.params, after.params), *zip(moments(state), moments(after), strict=True)]
    for old, new in pairs:
        for name in reference.FEATURE_AXES:
            np.testing.assert_array_equal(by_feature(name, new[name])[~DEAD], by_feature(name, old[name])[~DEAD])
        np.testing.assert_array_equal(new["b_dec"], old["b_dec"])
    fired = np.asarray(state.stats["last_fired"])
    np.testing.assert_array_equal(np.asarray(after.stats["last_fired"])[~DEAD], fired[~DEAD])
    assert_same(after, state, but=[".params", ".opt_state", ".stats"])


@METHODS
def test_adam_moments_of_dead_features_are_zeroed(method):
    for moment in moments(event(state_at(), method=method)):
        assert all(not by_feature(name, moment[name])[DEAD].any() for name in reference.FEATURE_AXES)


@METHODS
def test_nothing_changes_when_no_feature_is_dead(method):
    alive = np.zeros(F, bool)
    assert_same(event(state_at(dead=alive), method=method), state_at(dead=alive))


def test_new_features_are_finite_and_not_zero_when_all_were_dead():
    state = state_at(dead=np.ones(F, bool))
    norms = np.linalg.norm(np.asarray(state.params["W_enc"], np.float64), axis=0)
    after = reference.doubles(event(state).params)
    np.testing.assert_allclose(np.linalg.norm(after["W_enc"], axis=0), 0.2 * norms.mean(), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(after["W_dec"], axis=1), 1, rtol=1e-5)
    assert not after["b_enc"].any()


def test_a_feature_that_fired_within_the_window_is_alive():
    state, last = state_at(), np.full(F, STEP)
    last[:3] = STEP - WINDOW - 5, STEP - WINDOW, STEP - WINDOW + 1
    after = event(state.replace(stats={"last_fired": jnp.asarray(last, jnp.int32)}))
    changed = (np.asarray(after.params["W_dec"]) != np.asarray(state_at().params["W_dec"])).any(axis=1)
    assert list(np.flatnonzero(changed)) == [0, 1]


def test_weights_are_the_squared_losses_and_zero_for_inputs_of_zero():
    state, x = state_at(), rows(0, 3)
    expected = reference.row_losses(state.params, x.reshape(-1, M) * SCALE, L1) ** 2 * x.reshape(-1, M).any(axis=1)
    found = np.asarray(input_weights(SAE, state, x))
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-5)
    assert list(np.flatnonzero(found == 0)) == [3, B + 3, 2 * B + 3]


def test_kaiming_draws_dead_features_as_at_initialisation_and_reads_no_input():
    batches = Batches(mesh_of(1, 1))
    params = reference.doubles(event(state_at(dead=np.ones(F, bool)), method="kaiming", batches=batches).params)
    assert 0.9 / np.sqrt(M) < np.abs(params["W_enc"]).max() <= 1 / np.sqrt(M) * (1 + 1e-6)
    np.testing.assert_allclose(np.linalg.norm(params["W_dec"], axis=1), 1, rtol=1e-5)
    cosine = (params["W_enc"].T * params["W_dec"]).sum(axis=1) / np.linalg.norm(params["W_enc"], axis=0)
    assert np.abs(cosine).mean() < 0.6 and not params["b_enc"].any() and not batches.calls


@METHODS
@pytest.mark.parametrize("change", [{"step": STEP + 6}, {"seed": 1}], ids=["step", "seed"])
def test_another_step_or_seed_draws_differently(method, change):
    """On the same dictionary and the same inputs."""
    same = {STEP + i: rows(i % 6, 1)[0] for i in range(12)}
    first = event(state_at(), method=method, batches=Batches(mesh_of(1, 1), same))
    other = state_at(change.get("step", STEP)).replace(key=jax.random.key(change.get("seed", 0)))
    second = event(other, method=method, batches=Batches(mesh_of(1, 1), same))
    assert int(second.stats["last_fired"][1]) == change.get("step", STEP)
    assert not np.allclose(np.asarray(first.params["W_dec"])[DEAD], np.asarray(second.params["W_dec"])[DEAD])


def test_groups_of_several_sizes_share_one_read_of_the_batches():
    """Each gets what it would get alone."""
    batches, config, dead = Batches(mesh_of(1, 1)), TrainConfig(batch_size=B, steps_per_dispatch=4), np.arange(24) < 3
    resamplers = [resampler(), resampler(n_features=24)]
    states = [state_at(seed=1), state_at(seed=2, dead=dead)]
    found = make_resampling(resamplers, (STEP,), 6 * B, config).apply(states, STEP, batches)
    assert batches.calls == 2 * [(STEP, 4), (STEP + 4, 2)]
    assert_same(found[0], event(state_at(seed=1)))
    assert_same(found[1], event(state_at(seed=2, dead=dead), n_features=24))


def test_training_counts_the_steps_since_a_feature_fired():
    """Feature 0 fires on the first of three batches only: it has been silent for two steps after them."""
    one = np.eye(M, F, dtype=np.float32)
    params = {"W_enc": one, "b_enc": np.zeros(F), "W_dec": one.T, "b_dec": np.zeros(M)}
    params = {name: jnp.asarray(p, jnp.float32) for name, p in params.items()}
    state = state_at(0, l1=0, scale=1)
    still = jax.tree.map(jnp.zeros_like, state.opt_state)
    state = state.replace(params=params, opt_state=still, stats={"last_fired": jnp.zeros(F, jnp.int32)})
    x = np.zeros((3, B, M), np.float32)
    x[0, 5, 0] = x[:, 2, 1] = 1
    config = dataclasses.replace(CONFIG, learning_rate=1e-12)
    state, _ = group(state, mesh_of(1, 1), config).compile(config)(state, jnp.asarray(x))
    assert list(int(state.step) - np.asarray(state.stats["last_fired"])[:3]) == [2, 0, 3]


TRAIN = TrainConfig(steps=1000, batch_size=8, steps_per_dispatch=10)
RIGHT = {"steps": (0.1, 300), "window": 0.05, "n_inputs": 41}


def test_the_defaults_are_those_of_the_paper():
    assert ResampleConfig().resolve(TrainConfig())[:2] == ((25_000, 50_000, 75_000, 100_000), 12_500)
    assert ResampleConfig().n_inputs == 819_200 and ResampleConfig().method == "paper"


def test_values_below_one_are_fractions_of_the_steps():
    assert ResampleConfig(**RIGHT).resolve(TRAIN)[:2] == ((100, 300), 50)


def test_no_steps_resolve_to_never():
    assert ResampleConfig(steps=(), window=0, n_inputs=10**9).resolve(TRAIN)[:2] == ((), 0)


def test_the_transform_is_due_at_the_steps_alone():
    assert make_resampling([resampler()], (100, 300), 41, TRAIN).steps == (100, 300)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "magic"}, "resample.method is 'magic': expected paper or kaiming"),
        ({"window": 0.0001}, "resample.window is 0.0001, 0 steps of 1000: at least 1"),
        ({"steps": (20, 300)}, r"resample.steps \(20, 300\) must lie between the dead window of 50"),
        ({"steps": (100, 1000)}, "and train.steps 1000"),
        ({"n_inputs": 0}, "resample.n_inputs is 0: at least 1"),
    ],
)
def test_resolve_names_the_impossible_value(wrong, message):
    with pytest.raises(BadInput, match=message):
        ResampleConfig(**{**RIGHT, **wrong}).resolve(TRAIN)
