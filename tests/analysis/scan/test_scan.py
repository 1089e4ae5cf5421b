"""Every field of a scan against a brute-force computation in float64 on the activations that the device gives."""

from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis.scan.result import LOG_EDGES, N_LINEAR
from tests import reference
from tests.analysis.scan.material import (
    BOS,
    CONSTANT,
    DEAD,
    LABELS,
    LENGTH,
    N_FEATURES,
    SMALL,
    Proxies,
    activations,
    contexts,
    found,
    others,
    parameters,
    real,
    tapped,
    token_labels,
)

FEATURES = range(N_FEATURES)


def of_tokens() -> np.ndarray:
    """[tokens,F] the activations on all tokens but BOS."""
    return activations()[real()]


def test_the_activations_are_those_of_the_dictionary():
    expected = reference.encode(parameters(), np.asarray(tapped().rows(contexts()), np.float64))[real()]
    np.testing.assert_allclose(of_tokens(), expected, atol=2e-5 * expected.max())


def test_tokens_and_contexts_are_counted():
    assert found().tokens == real().sum() and found().contexts == len(contexts())
    occurrences = np.bincount(contexts()[real()], minlength=40)
    np.testing.assert_array_equal(found().token_occurrences, occurrences)
    assert not found().token_occurrences[BOS]


def test_firings_sums_and_maxima():
    f = of_tokens()
    np.testing.assert_array_equal(found().fired, (f > 0).sum(axis=0))
    np.testing.assert_array_equal(found().density, (f > 0).mean(axis=0))
    np.testing.assert_array_equal(found().maximum, f.max(axis=0))
    np.testing.assert_allclose(found().total, f.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found().square, np.square(f).sum(axis=0), rtol=1e-12)
    mean = [f[f[:, i] > 0, i].mean() if (f[:, i] > 0).any() else 0 for i in FEATURES]
    np.testing.assert_allclose(found().mean, mean, rtol=1e-12)


def test_the_logarithmic_histogram():
    f = of_tokens()
    for i in FEATURES:
        expected = np.bincount(np.searchsorted(LOG_EDGES, f[f[:, i] > 0, i]), minlength=len(LOG_EDGES) + 1)
        np.testing.assert_array_equal(found().log_counts[i], expected)


def in_interval(f: np.ndarray, n: int, i: int) -> np.ndarray:
    """Where f lies in interval i of n: compared as products of whole fp32 numbers, which float64 holds."""
    top = f.max()
    return (f * n > top * i) & (f * n <= top * (i + 1))


def test_the_linear_histogram():
    f = of_tokens()
    for i in FEATURES:
        expected = [in_interval(f[:, i], N_LINEAR, j).sum() for j in range(N_LINEAR)]
        np.testing.assert_array_equal(found().linear_counts[i], expected)


def test_top_contexts():
    f = activations()
    for i in FEATURES:
        best = f[:, :, i].max(axis=1)
        order = [c for c in np.argsort(-best, kind="stable")[: SMALL.top_contexts] if best[c] > 0]
        k = len(order)
        np.testing.assert_array_equal(found().top_context[i, :k], order)
        np.testing.assert_array_equal(found().top_value[i, :k], best[order])
        np.testing.assert_array_equal(found().top_position[i, :k], f[order, :, i].argmax(axis=1))
        assert (found().top_context[i, k:] == -1).all() and not found().top_value[i, k:].any()


@pytest.mark.parametrize("n", [11, 12])
def test_intervals_count_firings_and_hold_different_ones_of_them(n):
    f, r = activations(), found().intervals[n]
    for i in FEATURES:
        for j in range(n):
            inside = in_interval(f[:, :, i], n, j) & real()
            assert r.count[i, j] == inside.sum()
            k = min(SMALL.per_interval, inside.sum())
            places = list(zip(r.context[i, j, :k], r.position[i, j, :k], strict=True))
            assert len(set(places)) == k and all(inside[p] for p in places)
            np.testing.assert_array_equal(r.value[i, j, :k], [f[(*p, i)] for p in places])
            assert (r.context[i, j, k:] == -1).all() and (r.position[i, j, k:] == -1).all()
            assert not r.value[i, j, k:].any()


def test_random_tokens_are_different_ones_but_bos():
    places = list(zip(found().random_context, found().random_position, strict=True))
    assert len(set(places)) == SMALL.random_tokens and all(real()[p] for p in places)


def test_top_tokens():
    f, ids = of_tokens(), contexts()[real()]
    assert found().tokens_exact
    for i in FEATURES:
        count = np.bincount(ids[f[:, i] > 0], minlength=40)
        total = np.bincount(ids, f[:, i], minlength=40)
        order = [t for t in np.argsort(-count, kind="stable")[: SMALL.top_tokens] if count[t]]
        k = len(order)
        np.testing.assert_array_equal(found().token_id[i, :k], order)
        np.testing.assert_array_equal(found().token_fired[i, :k], count[order])
        np.testing.assert_allclose(found().token_total[i, :k], total[order], rtol=1e-12)
        assert (found().token_id[i, k:] == -1).all() and not found().token_fired[i, k:].any()


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[X,Y] between columns, NaN where one does not vary."""
    x, y = (a - a.mean(axis=0) for a in (x, y))
    scale = np.outer(np.linalg.norm(x, axis=0), np.linalg.norm(y, axis=0))
    return x.T @ y / np.where(scale > 1e-9, scale, np.nan)


def test_labels():
    f, y = of_tokens(), token_labels()[real()]
    assert found().labels == LABELS
    for j in range(3):
        np.testing.assert_array_equal(found().label_fired[j], (f[y == j] > 0).sum(axis=0))
        expected = np.nan_to_num(pearson((y == j)[:, None].astype(float), f)[0])
        np.testing.assert_allclose(found().label_correlation[j], expected, atol=1e-12)
    np.testing.assert_array_equal(found().label_tokens, [(y == j).sum() for j in range(4)])
    assert np.isnan(found().label_correlation[3]).all() and not found().label_fired[3].any()


def test_proxies():
    f, p, m = of_tokens(), Proxies().all[:, real()].T.astype(np.float64), found().proxies
    assert m.names == Proxies.names
    np.testing.assert_allclose(m.mean, p.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(m.deviation, p.std(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(m.positive, (p > 0).sum(axis=0))
    for got, values in ((m.correlation, p), (m.binary_correlation, (p > 0).astype(float))):
        np.testing.assert_allclose(got[:2], np.nan_to_num(pearson(values, f))[:2], atol=1e-10)
        assert np.isnan(got[2]).all()
    np.testing.assert_allclose(m.hit_value, (p > 0).T @ f, rtol=1e-12)
    for i in FEATURES:
        for j in range(12):
            expected = (in_interval(f[:, i], 12, j)[:, None] & (p > 0)).sum(axis=0)
            np.testing.assert_array_equal(m.hits[:, i, j], expected)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    return (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T


@pytest.mark.parametrize("which", [None, 0, 1], ids=["itself", "neurons", "another dictionary"])
def test_neighbours(which):
    other = None if which is None else others()[which]
    n = found().neighbours["features" if other is None else other.name]
    g = of_tokens() if other is None else activations(which)[real()]
    r = pearson(of_tokens(), g)
    directions = parameters()["W_dec"]
    cosine = cosines(directions, directions if other is None else other.directions)
    if other is None:
        np.fill_diagonal(r, np.nan)
        np.fill_diagonal(cosine, np.nan)
    assert n.exact and n.error == 0 and n.tokens == real().sum()
    for index, correlation, angle, by in (
        (n.index, n.correlation, n.cosine, r),
        (n.nearest, n.nearest_correlation, n.nearest_cosine, cosine),
    ):
        assert index.shape == (N_FEATURES, SMALL.neighbours)
        for i in FEATURES:
            order = np.argsort(-by[i])  # NaN last
            k = min(int((~np.isnan(by[i])).sum()), SMALL.neighbours)
            np.testing.assert_array_equal(index[i, :k], order[:k])
            np.testing.assert_allclose(correlation[i, :k], r[i, order[:k]], atol=1e-6)
            np.testing.assert_allclose(angle[i, :k], cosine[i, order[:k]], atol=1e-6)
            assert (index[i, k:] == -1).all() and np.isnan(correlation[i, k:]).all()


@pytest.mark.parametrize("feature", [DEAD, CONSTANT])
def test_features_that_do_not_vary_are_like_no_other(feature):
    n = found().neighbours["features"]
    assert (n.index[feature] == -1).all() and np.isnan(n.correlation[feature]).all()
    assert (n.nearest[feature] >= 0).all() and not (n.index == feature).any()
    assert not found().label_correlation[:3, feature].any()


def test_a_dead_feature_is_empty():
    s = found()
    assert s.fired[DEAD] == s.maximum[DEAD] == s.mean[DEAD] == s.density[DEAD] == 0
    assert not s.log_counts[DEAD].any() and not s.linear_counts[DEAD].any()
    assert (s.top_context[DEAD] == -1).all() and (s.token_id[DEAD] == -1).all()
    assert all((r.context[DEAD] == -1).all() and not r.count[DEAD].any() for r in s.intervals.values())


def test_positions_are_those_within_a_context():
    assert found().top_position.max() < LENGTH and found().intervals[11].position.max() < LENGTH
