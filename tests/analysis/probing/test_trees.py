from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis.probing.trees import best_split, grow, root_gains


def gini(y: np.ndarray) -> float:
    p = np.mean(y)
    return float(2 * p * (1 - p))


def slow_splits(x: np.ndarray, y: np.ndarray) -> dict[tuple[int, float], float]:
    """{(feature, threshold): the decrease of Gini impurity} of all splits."""
    found = {}
    for i in range(x.shape[1]):
        values = np.unique(x[:, i])
        for t in (values[1:] + values[:-1]) / 2:
            low = x[:, i] <= t
            left = gini(y) - low.mean() * gini(y[low]) - (~low).mean() * gini(y[~low])
            found[i, float(t)] = left
    return found


def data(seed: int, n: int = 60, m: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((n, m)) < 0.5, rng.integers(1, 6, (n, m)) / 2, 0).astype(np.float64)
    return x, (x[:, 1] > 1) ^ (rng.random(n) < 0.2)


@pytest.mark.parametrize("seed", range(4))
def test_a_split_is_the_best_of_all(seed):
    x, y = data(seed)
    every = slow_splits(x, y)
    assert every[best_split(x, y)] == pytest.approx(max(every.values()))
    gains = [max((v for (i, _), v in every.items() if i == f), default=0) for f in range(x.shape[1])]
    np.testing.assert_allclose(root_gains(x, y), gains, atol=1e-12)


def test_a_tree_is_pure_and_greedy_and_can_be_cut_off():
    x, y = data(7)
    x = np.concatenate([x, np.arange(len(x))[:, None]], axis=1)  # tells all rows apart
    tree = grow(x, y)
    assert (tree.predict(x) == y).all()
    assert (tree.predict(x, 0) == (y.mean() > 0.5)).all()
    feature, threshold = best_split(x, y)
    low = x[:, feature] <= threshold
    expected = np.where(low, y[low].mean() > 0.5, y[~low].mean() > 0.5)
    np.testing.assert_array_equal(tree.predict(x, 1), expected)
    np.testing.assert_array_equal(tree.predict(x, 2), grow(x, y, 2).predict(x))
    assert grow(x, y, 2).height == 2 < tree.height


def test_rows_that_cannot_be_told_apart_are_a_leaf():
    tree = grow(np.ones((4, 2)), np.array([True, True, True, False]))
    assert tree.height == 0 and tree.predict(np.zeros((1, 2))).tolist() == [True]
    assert grow(np.ones((4, 0)), np.array([True, False, False, False])).height == 0
    assert root_gains(np.ones((4, 2)), np.array([True, True, False, False])).tolist() == [0, 0]


def test_neighbouring_numbers_can_be_told_apart():
    x = np.array([[1.0], [np.nextafter(1.0, 2)]])
    assert (grow(x, np.array([False, True])).predict(x) == [False, True]).all()


@pytest.mark.parametrize("depth", [1, 3, None])
def test_the_tree_is_that_of_scikit_learn(depth):
    sklearn = pytest.importorskip("sklearn.tree")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)).astype(np.float32).astype(np.float64)
    y = x[:, 2] + 0.3 * rng.normal(size=300) > 0
    test = rng.normal(size=(200, 6)).astype(np.float32).astype(np.float64)
    # Deeper down several features split equally well, and scikit-learn takes one at random.
    theirs = sklearn.DecisionTreeClassifier(max_depth=depth, random_state=0).fit(x, y)
    ours = grow(x, y, depth)
    assert depth is None or ours.height == theirs.get_depth() == depth
    assert np.mean(ours.predict(x) == y) == pytest.approx(np.mean(theirs.predict(x) == y), abs=0.005)
    assert np.mean(ours.predict(test) == theirs.predict(test)) > (1 - 1e-9 if depth == 1 else 0.9)
