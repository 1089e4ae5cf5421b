"""Features are active as often, and together, as they are said to be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.toy.features import OCCURRENCES, occur

P = np.array([0.2, 0.2, 0.1, 0.1], np.float32)


def made(occurrence: str, p=P, rows: int = 200_000) -> np.ndarray:
    u = jax.random.uniform(jax.random.key(0), (rows, len(p)))
    return np.asarray(occur(occurrence, u, jnp.asarray(p)), np.float64)


@pytest.mark.parametrize("occurrence", OCCURRENCES)
def test_every_feature_is_as_dense_as_p_and_uniform_where_it_is_active(occurrence):
    x = made(occurrence)
    np.testing.assert_allclose((x > 0).mean(axis=0), P, atol=0.005)
    for own in x.T:
        values = np.sort(own[own > 0])
        assert values[0] >= 0 and values[-1] <= 1
        assert np.abs(values - np.linspace(0, 1, len(values))).max() < 0.015


def test_which_features_are_active_together():
    active = {name: made(name) > 0 for name in OCCURRENCES}
    both = {name: (a[:, 0] & a[:, 1]).mean() for name, a in active.items()}
    assert both["independent"] == pytest.approx(0.04, abs=0.003)
    assert both["together"] == pytest.approx(0.2, abs=0.005) and both["apart"] == 0
    child = made("parent", np.array([0.2, 0.05], np.float32)) > 0
    assert not (child[:, 1] & ~child[:, 0]).any()
    assert (child[:, 0] & child[:, 1]).mean() == pytest.approx(0.05, abs=0.003)
    for a in active.values():  # groups know nothing of each other
        assert (a[:, 0] & a[:, 2]).mean() == pytest.approx(0.02, abs=0.003)


@pytest.mark.parametrize("occurrence", ["together", "apart", "independent"])
def test_the_values_of_features_that_are_active_together_are_independent(occurrence):
    x = made(occurrence, np.array([0.5, 0.5], np.float32))
    x = x[(x > 0).all(axis=1)]
    assert len(x) == 0 if occurrence == "apart" else abs(np.corrcoef(x.T)[0, 1]) < 0.02
