from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.sae.constraints import project_out_parallel, renormalise
from monosem_jax.sae.objective import dictionary_objective
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.optimizer import learning_rate, optimizer
from monosem_jax.training.step import State, make_step
from tests import reference
from tests.conftest import mesh_of
from tests.engine import relu_sae

WIDTH, N_FEATURES = 12, 30
CONFIG = TrainConfig(steps=100, batch_size=64, learning_rate=0.01)
L1 = 0.02


def rows(seed: int, n: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.2, 1.0, size=(n, WIDTH)).astype(np.float32)


@functools.cache
def begin(constrained: bool = True):
    """(state, jitted step) of a small dictionary."""
    links = {"before": [project_out_parallel()], "after": [renormalise()]} if constrained else {}
    tx = optimizer(CONFIG, **links)
    params = jax.tree.map(jnp.asarray, reference.random_dictionary(1, WIDTH, N_FEATURES))
    hyper = {"l1_coefficient": jnp.float32(L1), "input_scale": jnp.float32(1)}
    sae = relu_sae(WIDTH, N_FEATURES)
    state = State.create(params, tx, stats=sae.initial_stats(), hyper=hyper, key=jax.random.key(0))
    objective = dictionary_objective(sae, mesh_of(1, 1))
    return state, jax.jit(make_step(objective, tx, CONFIG.guard, learning_rate(CONFIG)))


def norms(state: State) -> np.ndarray:
    return np.sqrt((np.asarray(state.params["W_dec"], np.float64) ** 2).sum(axis=1))


def projected(seed: int):
    """(gradients before, gradients after, parameters)."""
    params = reference.random_dictionary(seed, WIDTH, N_FEATURES)
    grads = reference.random_dictionary(seed + 1, WIDTH, N_FEATURES)
    grads["W_dec"] = grads["W_dec"] * 5 + params["W_dec"]
    link = project_out_parallel()
    return grads, link.update(grads, link.init(params), params)[0], params


def test_projection_equals_the_formula():
    grads, found, params = projected(2)
    np.testing.assert_allclose(found["W_dec"], reference.project(grads["W_dec"], params["W_dec"]), atol=5e-6)


def test_projected_gradient_is_orthogonal_to_its_dictionary_vector():
    _, found, params = projected(3)
    along = (reference.doubles(found)["W_dec"] * params["W_dec"]).sum(axis=1)
    np.testing.assert_allclose(along, 0, atol=5e-6)


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "b_dec"])
def test_projection_leaves_the_other_gradients_as_they_are(name):
    grads, found, _ = projected(4)
    assert found[name] is grads[name]


def test_renormalisation_bends_the_update_to_unit_norm():
    params, updates = (reference.random_dictionary(s, WIDTH, N_FEATURES) for s in (5, 6))
    link = renormalise()
    found, _ = link.update(updates, link.init(params), params)
    moved = np.asarray(params["W_dec"], np.float64) + updates["W_dec"]
    expected = moved / np.sqrt((moved**2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(params["W_dec"] + found["W_dec"], expected, atol=5e-7)
    assert all(found[name] is updates[name] for name in ("W_enc", "b_enc", "b_dec"))


def test_dictionary_vectors_have_unit_norm_after_fifty_steps():
    state, step = begin()
    for i in range(50):
        state, _ = step(state, rows(100 + i))
    np.testing.assert_allclose(norms(state), 1, atol=1e-6)


def test_dictionary_vectors_lose_unit_norm_without_the_constraint():
    state, step = begin(constrained=False)
    for i in range(50):
        state, _ = step(state, rows(100 + i))
    assert np.abs(norms(state) - 1).max() > 1e-2


@pytest.mark.parametrize("n_steps", [1, 20])
def test_adam_steps_with_constraints_equal_the_formula(n_steps):
    state, step = begin()
    expected, moments = reference.doubles(state.params), reference.no_moments(state.params)
    for i in range(n_steps):
        state, _ = step(state, rows(200 + i))
        adam = CONFIG.optimizer
        rates = {"lr": CONFIG.learning_rate, "b1": adam.b1, "b2": adam.b2, "eps": adam.eps}
        expected, moments = reference.adam_step(expected, moments, rows(200 + i), l1=L1, **rates)
    for name, value in expected.items():
        np.testing.assert_allclose(state.params[name], value, atol=2e-3 * CONFIG.learning_rate, err_msg=name)
