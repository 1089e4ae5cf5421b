"""Against float64 computations by the definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from monosem_jax.analysis.autointerp.agreement import balanced_accuracy, f1, interval_of, pearson, ranks, spearman


def rank_by_hand(x) -> np.ndarray:
    """1 + the values below + half of the other equal ones."""
    return np.asarray([1 + sum(b < a for b in x) + (sum(b == a for b in x) - 1) / 2 for a in x])


@pytest.mark.parametrize("levels", [2, 3, 10, 1000])
def test_ranks_and_spearman_with_ties(levels):
    rng = np.random.default_rng(levels)
    for n in (2, 3, 17, 200):
        x, y = rng.integers(0, levels, n), rng.normal(size=n).round(1)
        np.testing.assert_allclose(ranks(x), rank_by_hand(x))
        a, b = rank_by_hand(x), rank_by_hand(y)
        constant = len(set(x)) == 1 or len(set(y)) == 1
        expected = 0 if constant else np.corrcoef(a, b)[0, 1]
        assert spearman(x, y) == pytest.approx(expected, abs=1e-12)


def test_spearman_sees_order_only_and_pearson_sees_size():
    x = np.arange(1, 30.0)
    assert spearman(x, x**7) == pytest.approx(1) and spearman(x, -np.exp(x)) == pytest.approx(-1)
    assert pearson(x, 3 * x - 2) == pytest.approx(1) and 0.5 < pearson(x, x**7) < 0.9


@pytest.mark.parametrize("score", [pearson, spearman])
def test_a_constant_prediction_scores_0(score):
    x = np.random.default_rng(0).normal(size=20)
    assert score(np.full(20, 0.1), x) == score(x, np.zeros(20)) == score(np.full(20, 0.1), np.full(20, 3)) == 0


def test_balanced_accuracy_and_f1_by_counting_for_every_pair_of_short_lists():
    for truth, said in itertools.product(itertools.product([0, 1], repeat=4), repeat=2):
        hits = sum(t and s for t, s in zip(truth, said, strict=True))
        expected = 2 * hits / (sum(truth) + sum(said)) if sum(truth) + sum(said) else 0
        assert f1(truth, said) == pytest.approx(expected)
        if 0 < sum(truth) < 4:
            correct_no = sum(not t and not s for t, s in zip(truth, said, strict=True))
            assert balanced_accuracy(truth, said) == pytest.approx(
                (hits / sum(truth) + correct_no / (4 - sum(truth))) / 2
            )


def test_always_yes_has_a_balanced_accuracy_of_one_half_however_rare_no_is():
    assert balanced_accuracy(np.arange(100) < 95, np.ones(100)) == 0.5


def test_bootstrap_intervals_hold_the_statistic_and_depend_on_the_seed_only():
    x = np.random.default_rng(0).normal(3, 1, 400)
    low, high = interval_of(x, "mean", seed=1)
    half = 1.96 * x.std() / 20
    assert low == pytest.approx(x.mean() - half, abs=0.02) and high == pytest.approx(x.mean() + half, abs=0.02)
    assert (low, high) == interval_of(x, "mean", seed=1) != interval_of(x, "mean", seed=2)
    low, high = interval_of(x, "median", seed=1)
    assert low < np.median(x) < high
    assert interval_of(np.asarray([2.0]), "median", seed=0) == (2.0, 2.0)
