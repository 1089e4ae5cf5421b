from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.errors import BadInput
from monosem_jax.objective import dictionary_loss, initial_stats
from monosem_jax.resample import ResampleConfig, input_weights, make_resampling
from monosem_jax.sae.constraints import project_out_parallel, renormalise
from monosem_jax.sae.relu import Relu
from monosem_jax.train import State, TrainConfig, make_dispatch, optimizer
from tests import reference

M, F, K, B = 6, 20, 4, 16
STEP, WINDOW, SCALE, L1 = 30, 10, 0.5, 0.05
DEAD = np.isin(np.arange(F), [1, 4, 5, 11, 19])
SAE = Relu(M, F)
TX = optimizer(TrainConfig(learning_rate=1e-3), before=[project_out_parallel()], after=[renormalise()])


def state_at(step: int = STEP, dead: np.ndarray = DEAD, seed: int = 0) -> State:
    """A state whose dead features last fired WINDOW steps ago, the others WINDOW - 1 ago; no moment is zero."""
    rng = np.random.default_rng(seed)
    params = jax.tree.map(jnp.asarray, reference.random_dictionary(seed, M, F))
    hyper = {"l1_coefficient": jnp.float32(L1), "input_scale": jnp.float32(SCALE)}
    state = State.create(params, TX, stats=initial_stats(F), hyper=hyper, key=jax.random.key(seed))
    fill = lambda x: jnp.asarray(rng.uniform(0.1, 1, x.shape), x.dtype) if x.ndim else x  # noqa: E731
    last_fired = jnp.asarray(np.where(dead, step - WINDOW, step - WINDOW + 1), jnp.int32)
    return state.replace(
        step=jnp.int32(step), opt_state=jax.tree.map(fill, state.opt_state), stats={"last_fired": last_fired}
    )


def batches(seed: int = 1) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(0.3, 1.0, size=(K, B, M)).astype(np.float32)
    rows[0, 3] = rows[2, 7] = 0
    return rows


def event(state: State, rows: np.ndarray, *, steps=(STEP,), n_inputs: int = 2 * B, method: str = "paper") -> State:
    return compiled(steps, n_inputs, method)(state, rows)


@functools.cache
def compiled(steps, n_inputs: int, method: str):
    return jax.jit(make_resampling(SAE, steps, WINDOW, n_inputs, method))


def moments(state: State):
    """(mu, nu) of Adam as NumPy."""
    found = [s for s in jax.tree.leaves(state.opt_state, is_leaf=lambda s: hasattr(s, "mu")) if hasattr(s, "mu")]
    return reference.doubles(found[0].mu), reference.doubles(found[0].nu)


def by_feature(name: str, value) -> np.ndarray:
    """A parameter or moment with its features along the first axis."""
    return np.moveaxis(np.asarray(value), reference.FEATURE_AXES[name], 0)


def assert_same(a: State, b: State) -> None:
    plain = lambda s: jax.tree.leaves(s.replace(key=jax.random.key_data(s.key)))  # noqa: E731
    for x, y in zip(plain(a), plain(b), strict=True):
        np.testing.assert_array_equal(x, y)


def nearest_rows(vectors: np.ndarray, rows: np.ndarray) -> list[int]:
    """For every vector the row with its direction."""
    x = rows.reshape(-1, M) / np.maximum(np.linalg.norm(rows.reshape(-1, M), axis=1, keepdims=True), 1e-9)
    assert np.abs((vectors @ x.T).max(axis=1) - 1).max() < 1e-5
    return [int(i) for i in (vectors @ x.T).argmax(axis=1)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_event_equals_the_reference_given_the_inputs_drawn(seed):
    state, rows = state_at(seed=seed), batches(seed)
    after = event(state, rows)
    drawn = dict(zip(np.flatnonzero(DEAD), nearest_rows(np.asarray(after.params["W_dec"])[DEAD], rows), strict=True))
    params, mu, nu, last_fired = reference.resample(
        state.params, *moments(state), state.stats["last_fired"], STEP, WINDOW, rows.reshape(-1, M), drawn
    )
    for name in params:
        np.testing.assert_allclose(after.params[name], params[name], rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(moments(after)[0][name], mu[name], err_msg=f"mu of {name}")
        np.testing.assert_allclose(moments(after)[1][name], nu[name], err_msg=f"nu of {name}")
    np.testing.assert_array_equal(after.stats["last_fired"], last_fired)


def test_replacement_inputs_come_from_the_first_n_inputs_rows():
    for seed in range(8):
        after = event(state_at(seed=seed), batches(), n_inputs=B)
        assert max(nearest_rows(np.asarray(after.params["W_dec"])[DEAD], batches())) < B


def test_an_input_with_nearly_all_of_the_squared_loss_replaces_every_dead_feature():
    rows = batches()
    rows[1, 6] *= 100
    after = event(state_at(), rows)
    assert set(nearest_rows(np.asarray(after.params["W_dec"])[DEAD], rows)) == {B + 6}


def test_input_scale_does_not_change_the_size_of_a_new_encoder_vector():
    state = state_at()
    norms = np.linalg.norm(np.asarray(state.params["W_enc"], np.float64), axis=0)
    found = np.linalg.norm(np.asarray(event(state, batches()).params["W_enc"], np.float64), axis=0)
    np.testing.assert_allclose(found[DEAD], 0.2 * norms[~DEAD].mean(), rtol=1e-5)


@pytest.mark.parametrize("method", ["paper", "kaiming"])
def test_an_event_leaves_everything_else_bit_identical(method):
    state = state_at()
    after = event(state, batches(), method=method)
    for name in reference.FEATURE_AXES:
        for old, new in [(state.params, after.params), *zip(moments(state), moments(after), strict=True)]:
            np.testing.assert_array_equal(by_feature(name, new[name])[~DEAD], by_feature(name, old[name])[~DEAD])
    for old, new in [(state.params, after.params), *zip(moments(state), moments(after), strict=True)]:
        np.testing.assert_array_equal(new["b_dec"], old["b_dec"])
    fired = np.asarray(state.stats["last_fired"])
    np.testing.assert_array_equal(np.asarray(after.stats["last_fired"])[~DEAD], fired[~DEAD])
    assert int(after.step) == STEP and after.key == state.key


@pytest.mark.parametrize("method", ["paper", "kaiming"])
def test_adam_moments_of_dead_features_are_zeroed(method):
    for moment in moments(event(state_at(), batches(), method=method)):
        assert all(not by_feature(name, moment[name])[DEAD].any() for name in reference.FEATURE_AXES)


@pytest.mark.parametrize("method", ["paper", "kaiming"])
def test_nothing_changes_when_no_feature_is_dead(method):
    state = state_at(dead=np.zeros(F, bool))
    assert_same(event(state, batches(), method=method), state)


@pytest.mark.parametrize("step", [STEP - 1, STEP + 1])
def test_nothing_changes_at_a_step_that_is_not_due(step):
    state = state_at(step)
    assert_same(event(state, batches()), state)


def test_no_steps_never_resample():
    state = state_at()
    assert make_resampling(SAE, (), WINDOW, B, "paper")(state, batches()) is state


def test_new_features_are_finite_and_not_zero_when_all_were_dead():
    state = state_at(dead=np.ones(F, bool))
    after = reference.doubles(event(state, batches()).params)
    norms = np.linalg.norm(np.asarray(state.params["W_enc"], np.float64), axis=0)
    np.testing.assert_allclose(np.linalg.norm(after["W_enc"], axis=0), 0.2 * norms.mean(), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(after["W_dec"], axis=1), 1, rtol=1e-5)
    assert not after["b_enc"].any()


def test_a_feature_that_fired_within_the_window_is_alive():
    state, last = state_at(), np.full(F, STEP)
    last[:3] = STEP - WINDOW - 5, STEP - WINDOW, STEP - WINDOW + 1
    after = event(state.replace(stats={"last_fired": jnp.asarray(last, jnp.int32)}), batches())
    changed = (np.asarray(after.params["W_dec"]) != np.asarray(state.params["W_dec"])).any(axis=1)
    assert list(np.flatnonzero(changed)) == [0, 1]


def test_the_loss_counts_the_steps_since_a_feature_fired():
    """Feature 0 fires on the first of three batches only: it has been silent for two steps after them."""
    params = {"W_enc": jnp.eye(M, F), "b_enc": jnp.zeros(F), "W_dec": jnp.eye(F, M), "b_dec": jnp.zeros(M)}
    tx = optimizer(TrainConfig(learning_rate=1e-12))
    hyper = {"l1_coefficient": jnp.float32(0), "input_scale": jnp.float32(1)}
    state = State.create(params, tx, stats=initial_stats(F), hyper=hyper, key=jax.random.key(0))
    rows = np.zeros((3, B, M), np.float32)
    rows[0, 5, 0] = rows[:, 2, 1] = 1
    state, _ = make_dispatch(dictionary_loss(SAE), tx)(state, rows)
    assert list(int(state.step) - np.asarray(state.stats["last_fired"])[:3]) == [2, 0, 3]


def test_weights_are_the_squared_losses():
    state, rows = state_at(), batches()
    x = rows.reshape(-1, M) * SCALE
    expected = reference.row_losses(state.params, x, L1) ** 2 * x.any(axis=1)
    np.testing.assert_allclose(input_weights(SAE, state, rows), expected, rtol=1e-5)


def test_weights_of_zero_inputs_are_zero():
    weights = np.asarray(input_weights(SAE, state_at(), batches()))
    assert list(np.flatnonzero(weights == 0)) == [3, 2 * B + 7]


def test_kaiming_draws_dead_features_as_at_initialisation():
    state = state_at(dead=np.ones(F, bool))
    params = reference.doubles(event(state, batches(), method="kaiming").params)
    assert 0.9 / np.sqrt(M) < np.abs(params["W_enc"]).max() <= 1 / np.sqrt(M) * (1 + 1e-6)
    np.testing.assert_allclose(np.linalg.norm(params["W_dec"], axis=1), 1, rtol=1e-5)
    assert not params["b_enc"].any()


def test_two_events_of_a_run_draw_differently():
    """Every step of the schedule is due; the key is folded with the step."""
    first, second = (event(state_at(step), batches(), steps=(20, 30)) for step in (20, 30))
    assert list(np.asarray([first.stats["last_fired"], second.stats["last_fired"]])[:, 1]) == [20, 30]
    assert not np.array_equal(np.asarray(first.params["W_dec"])[DEAD], np.asarray(second.params["W_dec"])[DEAD])


def test_due_and_not_due_dispatches_are_one_program():
    resampling = make_resampling(SAE, (STEP,), WINDOW, K * B, "paper")
    dispatch = jax.jit(make_dispatch(dictionary_loss(SAE), TX, [resampling]))
    state = state_at(STEP - K)
    silenced = jnp.where(DEAD, -100.0, state.params["b_enc"])
    state = state.replace(params={**state.params, "b_enc": silenced})
    biases = []
    for _ in range(3):
        state, _ = dispatch(state, batches())
        biases.append(np.asarray(state.params["b_enc"])[DEAD])
    assert biases[0].max() < -99 and np.abs(biases[1:]).max() < 1
    assert dispatch._cache_size() == 1 and int(state.step) == STEP + 2 * K


def test_an_event_in_a_dispatch_comes_before_its_steps():
    state, rows = state_at(), batches()
    resampling = make_resampling(SAE, (STEP,), WINDOW, K * B, "paper")
    with_event, _ = jax.jit(make_dispatch(dictionary_loss(SAE), TX, [resampling]))(state, rows)
    expected, _ = jax.jit(make_dispatch(dictionary_loss(SAE), TX))(event(state, rows, n_inputs=K * B), rows)
    for name, value in expected.params.items():
        np.testing.assert_allclose(with_event.params[name], value, rtol=1e-5, atol=1e-6)


TRAIN = TrainConfig(steps=1000, batch_size=8, steps_per_dispatch=10)
RIGHT = {"steps": (0.1, 300), "window": 0.05, "n_inputs": 40}


def test_the_defaults_are_the_steps_of_the_paper():
    assert ResampleConfig().resolve(TrainConfig()) == ((25_000, 50_000, 75_000, 100_000), 12_500)


def test_values_below_one_are_fractions_of_the_steps():
    assert ResampleConfig(**RIGHT).resolve(TRAIN) == ((100, 300), 50)


def test_no_steps_resolve_to_never():
    assert ResampleConfig(steps=(), window=0, n_inputs=10**9).resolve(TRAIN) == ((), 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "magic"}, "resample.method is 'magic': expected paper or kaiming"),
        ({"window": 0.0001}, "resample.window is 0.0001, 0 steps of 1000: at least 1"),
        ({"steps": (20, 300)}, r"resample.steps \(20, 300\) must lie between the dead window of 50"),
        ({"steps": (100, 1000)}, "and train.steps 1000"),
        ({"n_inputs": 0}, "resample.n_inputs is 0: expected 1 to .* = 80"),
        ({"n_inputs": 88}, "resample.n_inputs is 88: expected 1 to .* = 80"),
        ({"n_inputs": 41}, "resample.n_inputs 41 is not a multiple of batch_size 8"),
    ],
)
def test_resolve_names_the_impossible_value(wrong, message):
    with pytest.raises(BadInput, match=message):
        ResampleConfig(**{**RIGHT, **wrong}).resolve(TRAIN)


@pytest.mark.parametrize("steps", [(100, 104), (100, 998)])
def test_resolve_refuses_events_that_would_find_too_few_rows(steps):
    """Five batches are needed; the dispatch at 100 or 998 ends at the next event or at the end of training."""
    with pytest.raises(BadInput, match="n_inputs"):
        ResampleConfig(**{**RIGHT, "steps": steps}).resolve(TRAIN)
