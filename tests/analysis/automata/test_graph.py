"""Edges and transitions against float64 loops; no result depends on order or batches."""

import numpy as np
import pytest

from monosem_jax.analysis.automata.graph import feature_graph
from monosem_jax.analysis.automata.rates import PRIOR, TokenRates, token_rates
from monosem_jax.analysis.automata.transitions import transitions
from monosem_jax.runtime.errors import BadInput
from tests import planted

RNG = np.random.default_rng(3)
F, V = 9, 14
OCCURRENCES = RNG.integers(1, 60, V)
FIRED = RNG.binomial(OCCURRENCES, RNG.beta(0.3, 1, (F, V))).astype(np.int32)
W = RNG.normal(size=(F, V))
STRENGTH = RNG.uniform(0.5, 3, F)
TOKENS = np.array([0, 2, 3, 4, 6, 7, 8, 10, 11, 13])
RATES = TokenRates("features", OCCURRENCES, FIRED, np.ones(F, np.float32))


def graph(rates=RATES, strength=STRENGTH, w=W, **more):
    return feature_graph(
        rates, lambda rows: w[rows][:, TOKENS], strength, TOKENS, **{"per_feature": F, "least_weight": 0, **more}
    )


def plain() -> dict:
    """(source, target) → (weight, rate, base), one edge at a time."""
    p = OCCURRENCES[TOKENS] / OCCURRENCES[TOKENS].sum()
    overall = FIRED[:, TOKENS].sum(axis=1) / OCCURRENCES[TOKENS].sum()
    found = {}
    for i in range(F):
        after = p * np.exp(STRENGTH[i] * W[i, TOKENS])
        after /= after.sum()
        for j in range(F):
            on = [(FIRED[j, v] + PRIOR * overall[j]) / (OCCURRENCES[v] + PRIOR) for v in TOKENS]
            rate, base = float(np.dot(after, on)), float(np.dot(p, on))
            if rate > base:
                weight = rate * np.log(rate / base) + (1 - rate) * np.log((1 - rate) / (1 - base))
                found[i, j] = (weight, rate, base)
    return found


def test_edges_are_those_of_a_plain_loop():
    found, expected = graph(least_firings=1), plain()
    assert set(zip(found.source.tolist(), found.target.tolist(), strict=True)) == set(expected)
    for n, key in enumerate(zip(found.source.tolist(), found.target.tolist(), strict=True)):
        assert (found.weight[n], found.rate[n], found.base[n]) == pytest.approx(expected[key], rel=2e-5, abs=1e-9)


@pytest.mark.parametrize("block", [1, 4])
def test_blocks_do_not_matter_and_the_largest_are_kept(block):
    whole, part = graph(), graph(per_feature=3, block=block)
    for i in range(F):
        kept = part.target[part.source == i]
        assert kept.tolist() == whole.target[whole.source == i][:3].tolist()


def test_the_order_of_features_does_not_matter():
    order = RNG.permutation(F)
    rates = TokenRates("features", OCCURRENCES, FIRED[order], np.ones(F, np.float32))
    a, b = graph(), graph(rates, STRENGTH[order], W[order])
    named = {(int(order[i]), int(order[j])): w for i, j, w in zip(b.source, b.target, b.weight, strict=True)}
    expected = {(int(i), int(j)): w for i, j, w in zip(a.source, a.target, a.weight, strict=True)}
    assert named == pytest.approx(expected)


def test_a_feature_without_effect_or_firings_has_no_edges():
    fired = FIRED.copy()
    fired[4] = 0
    w = W.copy()
    w[2] = 0
    found = graph(TokenRates("features", OCCURRENCES, fired, np.ones(F, np.float32)), w=w, least_firings=1)
    assert 4 not in found.source and 4 not in found.target and 2 not in found.source
    with pytest.raises(BadInput, match="not finite"):
        graph(w=np.full((F, V), np.nan))


@pytest.mark.parametrize("batch", [3, 32])
def test_counts_are_those_of_a_plain_loop(batch):
    it, tokens = planted.planted().features, planted.documents(7)[0]
    tokens[2, 9] = planted.BOS  # a document ends
    f = it.activations(tokens) > 0
    rates = token_rates(it, tokens, batch=batch)
    for v in range(planted.V):
        here = (tokens == v) & (tokens != planted.BOS)
        assert rates.occurrences[v] == here.sum()
        np.testing.assert_array_equal(rates.fired[:, v], f[here].sum(axis=0))
    np.testing.assert_array_equal(rates.maximum, it.activations(tokens).max(axis=(0, 1)))
    source, target = (x.reshape(-1) for x in np.indices((planted.F, planted.F)))
    for found in transitions(it, tokens, source, target, distances=(1, 3, 99), batch=batch):
        joint, first, second, places = (np.zeros(n, int) for n in (len(source), planted.F, planted.F, 1))
        for c, t in np.ndindex(*tokens.shape):
            later = t + found.distance
            if later < tokens.shape[1] and (tokens[c, t : later + 1] != planted.BOS).all():
                places += 1
                first += f[c, t]
                second += f[c, later]
                joint += f[c, t, source] & f[c, later, target]
        assert found.places == places[0]
        np.testing.assert_array_equal(found.joint, joint)
        np.testing.assert_array_equal(found.first, first[source])
        np.testing.assert_array_equal(found.second, second[target])


def test_transitions_of_the_text_say_which_token_follows_which():
    """After a single comes its successor, seven times out of ten: `dense` fires on some of them."""
    it, tokens = planted.planted().features, planted.documents(60)[0]
    near, apart = transitions(it, tokens, [planted.SET_FEATURE], [planted.SET_FEATURE])
    assert near.distance == 1 and near.lift[0] < apart.lift[0], "after a token of SET comes one of EFFECT"
