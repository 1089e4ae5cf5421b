from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.sae.resample import draw_inputs


def draws(weights: np.ndarray, dead: np.ndarray, n_keys: int) -> np.ndarray:
    """[n_keys, dead features] inputs drawn."""
    keys = jax.random.split(jax.random.key(5), n_keys)
    draw = jax.jit(jax.vmap(draw_inputs, (0, None, None)))
    return np.asarray(draw(keys, jnp.asarray(dead), jnp.asarray(weights)))[:, dead]


@pytest.mark.parametrize("n_dead", [1, 2, 5])
def test_inputs_are_drawn_in_proportion_to_their_weights(n_dead):
    """Pearson's chi-square of 9 degrees of freedom exceeds 27.9 once in a thousand; the draws of one key depend on each
    other, at worst as if they were one draw counted n_dead times."""
    weights = np.asarray([1, 2, 3, 4, 5, 1, 0.5, 2, 3, 4], np.float32)
    found = draws(weights, np.arange(8) < n_dead, 4000)
    expected = weights / weights.sum() * found.size
    counts = np.bincount(found.ravel(), minlength=10)
    assert ((counts - expected) ** 2 / expected).sum() < 27.9 * n_dead


def test_each_dead_feature_draws_from_its_own_slice_of_the_weights():
    weights = np.random.default_rng(8).uniform(0.1, 1, size=50).astype(np.float32)
    dead = np.isin(np.arange(30), [0, 3, 4, 9, 20, 21, 29])
    high = np.cumsum(weights, dtype=np.float64) / weights.sum(dtype=np.float64)
    low = np.concatenate([[0.0], high[:-1]])
    for found in draws(weights, dead, 100):
        for i, j in enumerate(found):
            assert low[j] < (i + 1) / 7 + 1e-6 and high[j] > i / 7 - 1e-6


def test_no_input_is_drawn_twice_where_its_expected_count_is_below_one():
    weights = np.random.default_rng(6).uniform(0.1, 1, size=200).astype(np.float32)
    dead = np.arange(120) % 2 == 0
    assert dead.sum() * weights.max() / weights.sum() < 0.6
    for found in draws(weights, dead, 200):
        assert len(set(found)) == dead.sum()


def test_inputs_of_weight_zero_are_never_drawn():
    """As many inputs as the sums of fp32 weights are no longer exact for."""
    weights = np.random.default_rng(7).exponential(size=200_000).astype(np.float32) ** 3
    weights[::2] = weights[-100:] = 0
    assert weights[draws(weights, np.ones(1 << 16, bool), 4)].all()
