"""Logit weights of every kind of set against a computation by hand, and what a second mode is."""

import dataclasses

import numpy as np
import pytest

from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.logit_weights import (
    histogram,
    logit_statistics,
    logit_table,
    logit_weights,
    second_modes,
    usual_tokens,
)
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput
from tests import planted

USUAL = np.flatnonzero(np.bincount(planted.documents(400)[0].ravel(), minlength=planted.V) >= 20)


def by_hand(params, directions: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """[F,n] d W_down, without its mean, times the scale of the final LayerNorm and W_unembed, with median 0; fp64."""
    p = {name: np.asarray(x, np.float64) for name, x in (
        ("down", params["blocks_0"]["down"]["kernel"]), ("scale", params["ln_final"]["scale"]),
        ("unembed", params["unembed"]["kernel"]),
    )}  # fmt: skip
    resid = np.asarray(directions, np.float64) @ p["down"]
    v = ((resid - resid.mean(axis=1, keepdims=True)) * p["scale"] @ p["unembed"])[:, tokens]
    return v - np.median(v, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def sets(tiny) -> dict[str, feature_sets.FeatureSet]:
    """Neurons and random directions of a lively model."""
    model, params = tiny
    tapped = TappedModel(model, params, "mlp_hidden.0", bos=0)
    n = model.config.d_mlp
    random = feature_sets.random_directions(tapped, 50, np.zeros(n), np.ones(n))
    return {"neurons": feature_sets.neurons(tapped), "random": random}


@pytest.mark.parametrize("name", ["neurons", "random"])
@pytest.mark.parametrize("block", [0, 1, 7])
def test_statistics_are_those_of_a_computation_by_hand_whatever_the_block(sets, name, block):
    of, tokens = sets[name], np.arange(3, 38)
    v = by_hand(of.tapped.params, of.directions, tokens)
    found = logit_statistics(of, tokens, k=5, block=block)
    z = (v - v.mean(axis=1, keepdims=True)) / v.std(axis=1, keepdims=True)
    np.testing.assert_allclose(found.deviation, v.std(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.skewness, np.mean(z**3, axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.kurtosis, np.mean(z**4, axis=1), rtol=1e-4)
    np.testing.assert_allclose(found.top_value, -np.sort(-v, axis=1)[:, :5], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.bottom_value, np.sort(v, axis=1)[:, :5], rtol=1e-4, atol=1e-5)
    places = np.searchsorted(tokens, found.top_token)
    np.testing.assert_allclose(np.take_along_axis(v, places, axis=1), found.top_value, rtol=1e-4, atol=1e-5)
    assert (np.searchsorted(tokens, found.bottom_token) < len(tokens)).all()
    some = logit_statistics(of, tokens, [8, 2], k=5, block=block)
    np.testing.assert_array_equal(some.top_token, found.top_token[[8, 2]])
    summary = some.summary(1)
    assert summary.n_tokens == 35 and summary.kurtosis == pytest.approx(found.kurtosis[2], abs=1e-4)


def test_what_was_planted_is_found_among_the_tokens_that_are_not_rare():
    it = planted.planted()
    found = logit_statistics(it.features, USUAL, k=4)
    assert planted.RARE in USUAL, "it occurs in every tenth context"
    assert set(found.top_token[planted.SET_FEATURE]) == set(planted.EFFECT)
    np.testing.assert_allclose(found.top_value[planted.SET_FEATURE], planted.LOGIT[0], rtol=1e-3)
    for single, successor in zip(range(6, planted.F), planted.SUCCESSORS, strict=True):
        top, _ = found.pairs(single, planted.WORDS)
        assert top[0] == (planted.WORDS[successor], pytest.approx(4, rel=1e-3)) and abs(top[1][1]) < 1e-3
    shuffled = logit_statistics(planted.control().features, USUAL, k=4)
    assert not set(shuffled.top_token[planted.SET_FEATURE]) >= set(planted.EFFECT)
    table = logit_table([found, logit_statistics(it.neurons, USUAL), shuffled], {"features": np.arange(planted.F) != 2})
    assert [row["set"] for row in table] == ["features", "neurons", "control"]
    assert table[0]["features"] == planted.F - 1 and table[1]["features"] == planted.M
    assert table[0]["median_kurtosis"] > 2 * table[1]["median_kurtosis"] > 0


def test_tokens_that_are_rare_or_special_are_left_out():
    occurrences = np.full(30, 25)
    occurrences[[4, 9]] = 19, 0
    assert usual_tokens(occurrences, special=[0]).tolist() == [i for i in range(30) if i not in (0, 4, 9)]
    assert len(usual_tokens(occurrences, least=1)) == 29
    with pytest.raises(BadInput, match="0 of 30 tokens occur 100 times or more in training text: expected 10 of them"):
        usual_tokens(occurrences, least=100)


def test_weights_of_chosen_tokens_have_their_own_median(sets):
    of, tokens = sets["random"], np.arange(5, 20)
    v = logit_weights(of.tapped, "mlp_hidden.0", of.directions, tokens)
    np.testing.assert_allclose(v, by_hand(of.tapped.params, of.directions, tokens), rtol=1e-4, atol=1e-5)
    assert np.abs(np.median(v, axis=1)).max() == 0


def test_a_second_mode_is_found_where_there_is_one_and_rarely_elsewhere():
    rng = np.random.default_rng(0)
    for draw in (rng.normal, rng.laplace, rng.uniform, rng.logistic):
        assert np.mean(second_modes(draw(size=(2000, 1000))) > 0) < 0.005, draw
    v = rng.normal(size=(300, 1000))
    v[:, 100:108] = rng.normal(6, 0.5, size=(300, 8))
    found = second_modes(v)
    assert np.mean(found > 0) > 0.9 and np.mean(abs(found[found > 0] - 8) <= 1) > 0.95
    assert (second_modes(-v) == 0).mean() > 0.99, "the left end does not count"
    v[:, 100:108] = 0
    v[:, 100] = 50
    assert (second_modes(v) == 0).mean() > 0.99, "one token is no mode"
    few = np.zeros((1, 1000))
    few[0, :5] = 3
    assert second_modes(few).tolist() == [5] and second_modes(few * 0).tolist() == [0]
    assert second_modes(few[:, :40]).tolist() == [0], "too few values"


def test_a_histogram_counts_every_weight_once():
    weights = np.array([-1.0, -0.5, 0, 0, 0.25, 1])
    found = histogram(weights, bins=4)
    assert found.edges == (-1.0, -0.5, 0.0, 0.5, 1.0) and found.counts == (2, 2, 1, 1)
    assert sum(histogram(np.zeros(7)).counts) == 7


def test_a_feature_without_effect_has_no_shape(sets):
    of = sets["random"]
    none = dataclasses.replace(of, directions=np.zeros_like(of.directions))
    found = logit_statistics(none, np.arange(40))
    assert np.isnan(found.kurtosis).all() and (found.deviation == 0).all()
    assert found.summary(0).kurtosis == 0
    assert logit_table([found]) == [{
        "set": "random", "features": 0, "tokens": 40, "median_deviation": None, "median_skewness": None,
        "median_kurtosis": None, "second_mode": None,
    }]  # fmt: skip
    with pytest.raises(BadInput, match="given no features"):
        logit_statistics(of, np.arange(40), [])
