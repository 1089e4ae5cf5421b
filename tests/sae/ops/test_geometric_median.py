from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.sae.ops.geometric_median import geometric_median
from tests import reference


def median(x) -> np.ndarray:
    return np.asarray(jax.jit(geometric_median)(jnp.asarray(x, jnp.float32)))


def cloud(seed: int, n: int = 400, width: int = 6) -> np.ndarray:
    """Skewed rows, whose mean and geometric median lie apart."""
    return np.random.default_rng(seed).exponential(size=(n, width)).astype(np.float32) ** 2


def total_distance(x: np.ndarray, centre: np.ndarray) -> float:
    return float(np.sqrt(((np.asarray(x, np.float64) - centre) ** 2).sum(axis=1)).sum())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_median_equals_the_reference(seed):
    x = cloud(seed)
    np.testing.assert_allclose(median(x), reference.geometric_median(x), atol=1e-4)


def test_reference_median_has_no_pull_left():
    x = cloud(3)
    assert np.abs(reference.pull(x, reference.geometric_median(x))).max() < 1e-9


def test_median_has_no_pull_left():
    x = cloud(3)
    assert np.abs(reference.pull(x, median(x))).max() < 1e-4
    assert np.abs(reference.pull(x, x.mean(axis=0))).max() > 1e-2


def test_median_of_points_on_a_line_is_the_middle_one():
    direction = np.asarray([0.6, 0.0, 0.8])
    at = np.asarray([-1.0, 0.0, 0.25, 7.0, 100.0])
    np.testing.assert_allclose(median(at[:, None] * direction), 0.25 * direction, atol=1e-3)


def test_median_of_two_values_is_the_more_frequent():
    x = np.repeat([[1.0, 2.0], [5.0, -4.0]], [7, 3], axis=0)
    np.testing.assert_allclose(median(x), [1.0, 2.0], atol=1e-4)


def test_many_rows_at_the_mean_stay_the_median():
    x = np.concatenate([np.full((5, 2), 3.0), [[4.0, 3.0], [2.0, 3.0], [3.0, 9.0], [3.0, -3.0]]])
    np.testing.assert_allclose(median(x), [3.0, 3.0], atol=1e-6)


def test_a_row_that_happens_to_lie_at_the_mean_does_not_hold_the_centre():
    x = np.repeat([[-1.0, 0.0], [0.0, 0.0], [6.0, 0.0]], [6, 1, 1], axis=0)
    assert not np.any(x.mean(axis=0))
    np.testing.assert_allclose(median(x), [-1.0, 0.0], atol=1e-3)


def test_median_of_equal_rows_is_that_row():
    np.testing.assert_array_equal(median(np.full((4, 3), 2.5)), [2.5, 2.5, 2.5])


def test_median_of_zero_rows_is_zero():
    np.testing.assert_array_equal(median(np.zeros((4, 3))), [0, 0, 0])


def test_one_outlier_hardly_moves_the_median():
    x = np.random.default_rng(4).normal(size=(999, 4))
    far = np.concatenate([x, np.full((1, 4), 1e6)])
    assert np.abs(far.mean(axis=0)).min() > 900
    np.testing.assert_allclose(median(far), reference.geometric_median(x), atol=0.01)


def test_median_has_a_smaller_total_distance_than_its_neighbours():
    x = cloud(5)
    centre = median(x).astype(np.float64)
    for step in 0.02 * np.concatenate([np.eye(6), -np.eye(6)]):
        assert total_distance(x, centre) < total_distance(x, centre + step)


def test_bfloat16_rows_are_taken_as_float32():
    x = jnp.asarray(cloud(6), jnp.bfloat16)
    found = geometric_median(x)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, reference.geometric_median(np.asarray(x, np.float64)), atol=1e-4)
