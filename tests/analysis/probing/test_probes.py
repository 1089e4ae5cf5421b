from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from monosem_jax.analysis.probing.labelled_rows import PROXY, Concept, LabelledRows, Picks
from monosem_jax.analysis.probing.probes import KS, accuracy, logistic_regression, mean_accuracy, probe
from monosem_jax.analysis.probing.sparse_rows import SparseRows

CONCEPT = Concept("kind", PROXY)


def rows_of(seed: int, shuffled: bool = False) -> LabelledRows:
    """300 rows: feature 4 fires on nearly all rows with the concept and few others, 6 and 7 a little more often."""
    rng = np.random.default_rng(seed)
    truth = np.repeat([True, False], 150)
    x = np.where(rng.random((300, 12)) < 0.3, rng.uniform(0.5, 1, (300, 12)), 0)
    x[:, 4] = np.where(rng.random(300) < np.where(truth, 0.95, 0.05), 2, 0)
    x[:, [6, 7]] *= np.where(truth, 1.2, 1)[:, None]
    rows = rng.permutation(300) if shuffled else np.arange(300)
    sparse = SparseRows.of(x.astype(np.float32))
    return LabelledRows(sparse, sparse, {CONCEPT: Picks(rows[:150], rows[150:])})


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("separable", [False, True])
def test_the_regression_is_the_minimum(k, separable):
    rng = np.random.default_rng(k)
    y = rng.random(200) < 0.4
    x = rng.normal(size=(200, k)) * [1, 30, 0.1][:k] + 0.7 * y[:, None]
    if separable:
        x[:, 0] += 20 * y
    w = logistic_regression(x, y)

    def objective(w: np.ndarray) -> float:
        margin = np.where(y, 1, -1) * (x @ w[:-1] + w[-1])
        return 0.5 * np.sum(w[:-1] ** 2) + np.sum(np.logaddexp(0, -margin))

    best = minimize(objective, np.zeros(k + 1), method="BFGS", options={"gtol": 1e-9})
    assert objective(w) <= best.fun + 1e-8
    np.testing.assert_allclose(w, best.x, rtol=1e-3, atol=1e-3)


def test_a_feature_that_is_never_active_is_no_trouble():
    y = np.repeat([True, False], 10)
    w = logistic_regression(np.zeros((20, 2)), y)
    np.testing.assert_allclose(w, 0, atol=1e-9)
    assert accuracy(w, np.zeros((20, 2)), y) == 0.5


def test_a_probe_chooses_by_the_difference_of_means_and_is_measured_on_the_other_rows():
    training, heldout = rows_of(0), rows_of(1)
    row = probe("features", training, heldout, CONCEPT)
    assert row.features[0] == 4 and row.ks == KS == (1, 2, 5)
    x = heldout.places.dense(np.arange(300), np.array([4]))[:, 0]
    truth = np.repeat([True, False], 150)
    assert row.accuracy[0] == pytest.approx(np.mean((x > 1) == truth))
    assert (row.training_rows, row.heldout_rows, row.kind) == (300, 300, PROXY)
    assert mean_accuracy([row], "features", 1) == row.accuracy[0] and mean_accuracy([row], "neurons", 1) is None


def test_shuffled_rows_tell_nothing():
    row = probe("features", rows_of(0, shuffled=True), rows_of(1, shuffled=True), CONCEPT)
    assert all(abs(a - 0.5) < 0.1 for a in row.accuracy)


def test_the_regression_is_that_of_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    y = rng.random(200) < 0.4
    x = rng.normal(size=(200, 3)) + y[:, None]
    theirs = linear.LogisticRegression(max_iter=1000, tol=1e-8).fit(x, y)
    w = logistic_regression(x, y)
    np.testing.assert_allclose(w, [*theirs.coef_[0], theirs.intercept_[0]], atol=1e-4)
