"""Logit weights, attribution vectors and directions of matched features, against brute force in float64."""

import numpy as np
import pytest

from monosem_jax.analysis.universality.directions import cosines, covariance
from monosem_jax.analysis.universality.effects import attributions, row_correlations, weights_of
from monosem_jax.analysis.universality.matches import match_sets
from monosem_jax.runtime.errors import BadInput
from tests import planted
from tests.analysis.scan import material
from tests.analysis.universality.test_matches import ORDER, TOKENS, twin
from tests.conftest import mesh_of

USUAL = np.arange(1, 30)  # the others are rare
SAMPLE = [1, 3, 17]


def vectors(features) -> np.ndarray:
    """[n,F] attribution vectors, a row for each token that counts."""
    tokens, rows = material.contexts(), []
    f, v = features.activations(tokens).astype(np.float64), weights_of(features, USUAL)
    for c, t in np.argwhere(tokens[:, :-1] != material.BOS):
        if tokens[c, t + 1] in USUAL:
            rows.append(f[c, t] * v[:, tokens[c, t + 1] - 1])
    return np.asarray(rows)


def expected(a, b) -> np.ndarray:
    x, y = vectors(a), vectors(b)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.corrcoef(x.T, y.T)[: x.shape[1], x.shape[1] :]
    return np.where(np.outer(x.std(0) > 0, y.std(0) > 0), r, np.nan)


@pytest.mark.parametrize("how", ["plain", "other batches", "mesh 2x2"])
@pytest.mark.parametrize("which", [0, 1])  # neurons, another dictionary
def test_attribution_vectors_are_those_of_all_tokens(which, how):
    a, b = material.features(), material.others()[which]
    changes = {"other batches": {"batch": 7}, "mesh 2x2": {"batch": 8, "mesh": mesh_of(2, 2)}}.get(how, {"batch": 8})
    matched = np.arange(a.n_features)[::-1].copy()
    matched[4] = -1
    found = attributions(a, b, material.contexts(), USUAL, matched, SAMPLE, **changes)
    r = expected(a, b)
    assert found.tokens == len(vectors(a))
    truth = np.where(matched < 0, np.nan, r[np.arange(len(r)), matched])
    np.testing.assert_allclose(found.matched, truth, atol=1e-4)
    np.testing.assert_allclose(found.table, r[SAMPLE], atol=1e-4)


def test_a_planted_twin_has_the_same_effects_and_directions():
    a, b, live = planted.planted().features, twin(), np.asarray(planted.LIVE)
    matched = match_sets(a, b, TOKENS).feature
    usual = np.arange(4, planted.V)
    logits = row_correlations(weights_of(a, usual), weights_of(b, usual)[matched])
    np.testing.assert_allclose(logits[[i for i in live if i != planted.RARE_FEATURE]], 1, atol=1e-5)
    found = attributions(a, b, TOKENS, usual, matched, live)
    assert np.nanmin(found.matched[live]) > 0.9
    some = np.isfinite(found.table).any(axis=1)
    best = np.nanargmax(found.table[some], axis=1)
    np.testing.assert_array_equal(best, np.argsort(ORDER)[live[some]])
    got = cosines(a, b, matched, covariance(a, TOKENS))
    for values in (got.largest, got.matched, got.data):
        np.testing.assert_allclose(values[live], 1, atol=1e-5)
        assert np.isnan(values[planted.DEAD_FEATURE])
    assert 0.5 < np.min(got.encoder[live]) < 1


def test_the_cosine_in_the_data_is_the_correlation_of_projections():
    a, b = material.features(), material.others()[1]
    rows = np.asarray(material.tapped().rows(material.contexts()), np.float64)[material.real()]
    c = covariance(a, material.contexts(), batch=8)
    np.testing.assert_allclose(c, np.cov(rows.T, bias=True), atol=1e-6)
    np.testing.assert_allclose(covariance(a, material.contexts(), batch=7), c, atol=1e-6)
    matched = np.arange(a.n_features)
    matched[3] = -1
    got = cosines(a, b, matched, c)
    for i in (0, 7, 12):
        x, y = rows @ a.directions[i].astype(float), rows @ b.directions[i].astype(float)
        np.testing.assert_allclose(got.data[i], np.corrcoef(x, y)[0, 1], atol=1e-6)
        d, e = a.directions[i].astype(float), b.directions.astype(float)
        all_cosines = e @ d / np.linalg.norm(d) / np.linalg.norm(e, axis=1)
        np.testing.assert_allclose((got.matched[i], got.largest[i]), (all_cosines[i], all_cosines.max()), atol=1e-6)
    assert np.isnan(got.matched[3])


def test_attributions_without_a_usual_token_are_refused():
    a, b = material.features(), material.others()[1]
    with pytest.raises(BadInput, match="no token is followed by one that has logit weights"):
        attributions(a, b, np.full((1, 4), 3), np.array([39]), np.zeros(20, int), [0])
