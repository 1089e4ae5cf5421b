"""Matches of features against float64 correlations of all activations, and planted truth."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.universality.distribution import BINS, distribution
from monosem_jax.analysis.universality.matches import candidates, match_sets, one_to_one, stability
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json, write_json
from monosem_jax.sae import architectures
from monosem_jax.sae.published import PublishedSAE
from tests import planted
from tests.analysis.scan import material
from tests.conftest import mesh_of

TOKENS = planted.documents(200)[0]
ORDER = np.random.default_rng(3).permutation(planted.F)  # feature i of the twin is feature ORDER[i] of the planted one


def twin(order=ORDER, noise=0.02, name="twin") -> feature_sets.FeatureSet:
    """The planted dictionary in another order, with noise in its encoder."""
    p, rng = planted.dictionary_params(), np.random.default_rng(8)
    p |= {"W_enc": p["W_enc"][:, order], "b_enc": p["b_enc"][order], "W_dec": p["W_dec"][order]}
    p["W_enc"] = p["W_enc"] + noise * rng.normal(size=p["W_enc"].shape).astype(np.float32)
    of = planted.planted()
    module = architectures.build(dataclasses.replace(planted.SAE, n_features=len(order)), planted.M, jnp.float32, ())
    return feature_sets.dictionary(name, of.tapped, PublishedSAE(module, p))


def correlations(a, b, tokens, bos) -> np.ndarray:
    f, g = (s.activations(tokens)[tokens != bos].astype(np.float64) for s in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.corrcoef(f.T, g.T)[: f.shape[1], f.shape[1] :]
    r[f.std(0) <= 1e-5 * np.abs(f).max()] = np.nan
    r[:, g.std(0) <= 1e-5 * np.abs(g).max()] = np.nan
    return r


@pytest.mark.parametrize("how", ["plain", "other batches", "mesh 2x2"])
def test_matches_are_the_largest_correlations_of_all(how):
    a, (neurons, b) = material.features(), material.others()
    changes = {"other batches": {"batch": 7}, "mesh 2x2": {"batch": 8, "mesh": mesh_of(2, 2)}}.get(how, {"batch": 8})
    for other in (neurons, b):
        r = correlations(a, other, material.contexts(), material.BOS)
        found = match_sets(a, other, material.contexts(), **changes)
        alive = np.isfinite(r).any(axis=1)
        np.testing.assert_array_equal(found.alive, alive)
        np.testing.assert_array_equal(found.feature[alive], np.nanargmax(r[alive], axis=1))
        np.testing.assert_allclose(found.correlation[alive], np.nanmax(r[alive], axis=1), atol=2e-5)
        assert np.isnan(found.correlation[~alive]).all() and (found.feature[~alive] == -1).all()
        kept = found.one_to_one[found.one_to_one >= 0]
        assert len(set(kept)) == len(kept) == min(alive.sum(), np.isfinite(r).any(axis=0).sum())


def test_the_assignment_has_the_largest_sum_and_does_not_depend_on_which_set_is_first():
    rng = np.random.default_rng(0)
    r = rng.uniform(-1, 1, (6, 8)).astype(np.float32)
    r[2], r[:, 5] = np.nan, np.nan
    found, back = one_to_one(r), one_to_one(r.T)
    rows = [0, 1, 3, 4, 5]
    columns = [0, 1, 2, 3, 4, 6, 7]
    best = max(itertools.permutations(columns, 5), key=lambda at: r[rows, at].sum())
    assert found.tolist() == [best[0], best[1], -1, best[2], best[3], best[4]]
    assert {(i, j) for i, j in enumerate(found) if j >= 0} == {(i, j) for j, i in enumerate(back) if i >= 0}


def test_a_permuted_copy_with_noise_is_found_and_a_shuffled_one_is_not():
    a = planted.planted().features
    live = np.asarray(planted.LIVE)
    inverse = np.argsort(ORDER)
    found = match_sets(a, twin(), TOKENS)
    np.testing.assert_array_equal(found.feature[live], inverse[live])
    np.testing.assert_array_equal(found.one_to_one[live], inverse[live])
    assert found.correlation[live].min() > 0.97 and found.feature[planted.DEAD_FEATURE] == -1
    back = match_sets(twin(), a, TOKENS)
    np.testing.assert_allclose(back.correlation[inverse[live]], found.correlation[live], atol=1e-5)
    control = match_sets(a, planted.control().features, TOKENS)
    assert np.nanmedian(control.correlation) < 0.6 < np.nanmedian(found.correlation) - 0.3
    one = stability([found.correlation, -found.correlation])
    np.testing.assert_allclose(one[live], found.correlation[live] / 2)
    assert np.isnan(one[planted.DEAD_FEATURE])


def test_of_two_twins_one_is_left_without_an_assignment():
    order = np.concatenate([ORDER, [planted.SET_FEATURE]])
    found = match_sets(twin(order, name="more"), planted.planted().features, TOKENS)
    twins = [int(np.flatnonzero(ORDER == planted.SET_FEATURE)[0]), planted.F]
    assert (found.feature[twins] == planted.SET_FEATURE).all()
    assert sorted(found.one_to_one[twins] == planted.SET_FEATURE) == [False, True]


def test_candidates_have_exact_correlations_and_find_most_matches():
    a, b = material.features(n=40, name="a"), material.features(9, 60, "b")
    exact = match_sets(a, b, material.contexts())
    found = candidates(a, b, material.contexts(), batch=8, columns=128)
    assert not found.exact and found.error == pytest.approx(128**-0.5) and found.one_to_one is None
    same = found.feature == exact.feature
    assert same.mean() > 0.95
    np.testing.assert_allclose(found.correlation[same], exact.correlation[same], atol=2e-5)
    assert (found.correlation[~same] <= exact.correlation[~same]).all()
    small = match_sets(a, b, material.contexts(), most_bytes=100)
    assert not small.exact and (small.feature == exact.feature).mean() > 0.95


def test_what_cannot_be_compared_is_refused_in_one_line():
    a = planted.planted().features
    dead = dataclasses.replace(
        a, name="dead", encoder=PublishedSAE(a.encoder.module, {**a.encoder.params, "b_enc": np.full(planted.F, -99.0)})
    )
    with pytest.raises(BadInput, match="features and dead have no two features that fire on the"):
        match_sets(a, dead, TOKENS)
    with pytest.raises(BadInput, match="other tokenizers"):
        match_sets(a, material.features(), TOKENS)
    with pytest.raises(BadInput, match="token 60"):
        match_sets(a, twin(), TOKENS + 1)


def test_the_package_matches_directories_and_sets(tmp_path):
    planted.write_runs(tmp_path, 50)
    found = mj.match(tmp_path / "sae", twin(), TOKENS)
    np.testing.assert_array_equal(found.feature[planted.LIVE], np.argsort(ORDER)[planted.LIVE])
    again = mj.match(tmp_path / "sae", tmp_path / "sae", TOKENS)
    np.testing.assert_array_equal(again.feature[planted.LIVE], planted.LIVE)


def test_directories_of_another_tokenizer_are_not_matched(tmp_path):
    for name in "ab":
        planted.write_runs(tmp_path / name, 50)
    text = tmp_path / "b" / "transformer" / "text" / "text.json"
    write_json(text, {**read_json(text), "tokenizer_sha256": "another"})
    with pytest.raises(BadInput, match="with another tokenizer: expected the same"):
        mj.match(tmp_path / "a" / "sae", tmp_path / "b" / "sae", TOKENS)


def test_a_distribution_says_who_is_counted():
    values = np.array([0.5, np.nan, -1.0, 1.0, 0.25])
    found = distribution(values, seed=4)
    assert (found.features, found.alive, found.median, found.median_dead_0) == (5, 4, 0.375, 0.25)
    assert sum(found.counts) == 4 and found.counts[0] == found.counts[-1] == 1 and len(found.counts) == BINS
    assert found.interval == distribution(values, seed=4).interval and found.interval[0] <= 0.375 <= found.interval[1]
    none = distribution(np.full(3, np.nan))
    assert (none.alive, none.median, none.interval) == (0, None, None)


def test_the_interval_of_a_median_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = [low <= 0 <= high for _ in range(100) for low, high in [distribution(rng.uniform(-1, 1, 101)).interval]]
    assert 88 <= sum(hits) <= 100
    narrow = distribution(rng.uniform(-0.1, 0.1, 5000)).interval
    assert narrow[1] - narrow[0] < 0.02
