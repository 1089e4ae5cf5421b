"""Steering curves: the planted feature writes what was planted, a neuron and a random direction do not."""

import dataclasses

import numpy as np
import pytest

from monosem_jax.analysis.effects.direct import direct_test
from monosem_jax.analysis.effects.steering import (
    SteeringConfig,
    SteeringText,
    pinned_samples,
    random_beside,
    steer,
    steer_beside,
)
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.runtime.errors import BadInput
from tests import planted

HELDOUT, _ = planted.documents(40, seed=1)
CONFIG = SteeringConfig(prompt="w30 w41", strengths=(0.0, 1.0, 4.0), samples=12, new_tokens=15, contexts=10)
MAXIMUM = 1 - planted.EPSILON


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Holds on these tokens."""

    ids: tuple[int, ...]
    name: str = "tokens"

    def holds(self, token_ids):
        return np.isin(token_ids, self.ids)


EFFECT = Tokens(tuple(planted.EFFECT))


@pytest.fixture(scope="module")
def text() -> SteeringText:
    return SteeringText(planted.tokenizer(), HELDOUT)


@pytest.fixture(scope="module")
def curves(text):
    it = planted.planted()
    largest = it.neurons.activations(HELDOUT)
    f = it.features.activations(HELDOUT, [planted.SET_FEATURE])
    best = np.argmax([np.corrcoef(f.ravel(), largest[..., j].ravel())[0, 1] for j in range(planted.M)])
    neuron = (it.neurons, int(best), float(largest[..., best].max()))
    return steer_beside(it.features, planted.SET_FEATURE, MAXIMUM, text, CONFIG, proxy=EFFECT, neuron=neuron)


def test_the_share_of_recognised_text_grows_with_strength_for_the_feature_alone(curves):
    feature, neuron, *random = curves
    assert [c.set for c in curves] == ["features", "neurons", "random", "random"]
    assert (np.diff(feature.share) > 0.1).all() and feature.share[-1] > 0.9
    assert max(c.share[-1] for c in random) < 0.5
    assert neuron.share[1] < feature.share[1]
    assert feature.share_unsteered == pytest.approx(feature.share[0], abs=0.1)
    assert feature.tokens == 12 * 15 and feature.share_by_text.shape == (3, 12)
    np.testing.assert_allclose(feature.share_by_text.mean(axis=1), feature.share)


def test_the_cost_is_the_change_of_the_loss_on_heldout_text(curves):
    """By hand, from the planted logits: everything but the feature's share of them stays."""
    feature = curves[0]
    assert feature.heldout_tokens == 10 * (planted.T - 1) and (feature.loss_change[2] > feature.loss_change[1] > 0)
    config = dataclasses.replace(CONFIG, contexts=40)
    it = planted.planted()
    found = steer(
        it.features, planted.SET_FEATURE, MAXIMUM, SteeringText(planted.tokenizer(), HELDOUT), config, proxy=EFFECT
    )
    a, v = planted.activations(HELDOUT), planted.logit_weights()
    base = a @ v + np.log(planted.unigram())
    f, target = a[..., planted.SET_FEATURE], np.roll(HELDOUT, -1, axis=1)
    real = HELDOUT != planted.BOS

    def loss(scores):
        chosen = np.take_along_axis(scores, target[..., None], axis=-1)[..., 0]
        return (np.log(np.exp(scores).sum(axis=-1)) - chosen)[:, :-1].mean()

    for strength, change, shift in zip(found.strengths, found.loss_change, found.shift, strict=True):
        away = np.where(real, strength * MAXIMUM - f, 0)
        moved = base + away[..., None] * v[planted.SET_FEATURE]
        assert change == pytest.approx(loss(moved) - loss(base), abs=0.02 + 0.03 * strength)
        assert shift == pytest.approx(np.abs(away).sum() / real.sum(), rel=1e-2)


def test_random_directions_have_the_norm_of_the_feature_and_differ():
    it = planted.planted()
    beside = random_beside(it.features, 5, 3)
    assert beside.n_features == 3 and not beside.activations(HELDOUT[:2]).any()
    np.testing.assert_allclose(np.linalg.norm(beside.directions, axis=1), 1, rtol=1e-5)
    assert np.abs(np.corrcoef(beside.directions) - np.eye(3)).max() < 0.9
    again, other = random_beside(it.features, 5, 3), random_beside(it.features, 6, 3)
    assert (again.directions == beside.directions).all() and (other.directions != beside.directions).any()


def test_records_hold_texts_with_their_strengths(curves):
    feature = curves[0]
    records = feature.records(planted.tokenizer(), n=2)
    assert [r.strength for r in records] == [0, 0, 1, 1, 4, 4] and {r.prompt for r in records} == {"w30 w41"}
    assert records[-1].value == pytest.approx(4 * MAXIMUM)
    words = records[-1].text.split()
    assert len(words) == 15 and sum(w in ("north", "south", "east", "west") for w in words) > 10


def test_many_features_are_pinned_together_and_write_what_each_writes_alone(text, curves):
    it, n = planted.planted(), planted.F
    maxima = np.where(np.arange(n) == planted.DEAD_FEATURE, 0, MAXIMUM)
    config = dataclasses.replace(CONFIG, strengths=(1.0, 4.0), samples=2)
    found = pinned_samples(it.features, range(n), maxima, text.tokenizer, config, rows=7)
    assert sorted(found) == planted.LIVE and all(len(samples) == 4 for samples in found.values())
    assert [s.strength for s in found[0]] == [1, 1, 4, 4] and found[0][2].value == pytest.approx(4 * MAXIMUM, abs=1e-4)
    alone = curves[0].records(planted.tokenizer(), n=2)
    assert [s.text for s in found[planted.SET_FEATURE]] == [s.text for s in alone[2:]]
    successor = planted.WORDS[planted.SUCCESSORS[0]]
    assert found[6][2].text.split().count(successor) > 12 > 3 > found[0][2].text.split().count(successor)
    assert pinned_samples(it.features, [2], [0.0], text.tokenizer, config) == {}
    with pytest.raises(BadInput, match="maxima was given an array of shape"):
        pinned_samples(it.features, [0, 1], [1.0], text.tokenizer, config)


def test_without_a_proxy_there_is_no_share_but_everything_else(text):
    config = dataclasses.replace(CONFIG, samples=1, strengths=(1.0,), contexts=2)
    found = steer(planted.planted().features, 5, 1.0, text, config)
    assert np.isnan(found.share).all() and np.isfinite(found.loss_change).all() and found.texts.shape == (2, 1, 18)


def test_impossible_requests_are_refused(text):
    it = planted.planted()

    class Raises(Tokens):
        def holds(self, token_ids):
            raise RuntimeError("no")

    class Short(Tokens):
        def holds(self, token_ids):
            return np.zeros(3)

    def change(**keys):
        return dataclasses.replace(CONFIG, **keys)

    for feature, maximum, config, proxy, message in (
        (planted.DEAD_FEATURE, 0.0, CONFIG, None, "feature 2 of features has the maximum 0.0: expected one that fires"),
        (planted.F, 1.0, CONFIG, None, f"feature {planted.F}: expected 0 to {planted.F - 1}"),
        (0, 1.0, change(samples=0), None, "steering.samples is 0"),
        (0, 1.0, change(strengths=()), None, "steering.strengths is"),
        (0, 1.0, change(strengths=(np.nan,)), None, "steering.strengths is"),
        (0, 1.0, change(positions="x"), None, "steering.positions is 'x': expected all or generated"),
        (0, 1.0, change(temperature=0.0), None, "steering.temperature is 0.0"),
        (0, 1.0, change(new_tokens=99), None, "longer than a context, 24"),
        (0, 1.0, CONFIG, Raises(()), "the proxy tokens fails on sampled text: RuntimeError: no"),
        (0, 1.0, CONFIG, Short(()), r"the proxy tokens gives \[3\]: expected \[48, 18\]"),
    ):
        with pytest.raises(BadInput, match=message):
            steer(it.features, feature, maximum, text, config, proxy=proxy)


def test_logit_weights_are_what_happens_to_the_logits():
    it, usual = planted.planted(), np.arange(1, planted.V)
    live = [i for i in planted.LIVE if i != planted.DENSE_FEATURE]
    weights = logit_weights(it.tapped, planted.SITE, it.features.directions[live], usual)
    found = direct_test(it.features, HELDOUT[:6], live, [0.5] * len(live), weights, usual, batch=4)
    assert (found.correlation > 0.99).all()
    np.testing.assert_allclose(found.slope, 1, atol=0.03)
    other = direct_test(it.features, HELDOUT[:6], live, [0.5] * len(live), np.roll(weights, 1, axis=0), usual)
    assert np.median(other.correlation) < 0.3
    with pytest.raises(BadInput, match="weights was given an array of shape"):
        direct_test(it.features, HELDOUT[:6], live, [0.5] * len(live), weights[:, 1:], usual)


def test_a_direct_test_is_the_brute_force_mean_over_positions(of, tokens):
    values, features = [1.0, -0.5], [0, 3]
    usual = np.arange(5, 30)
    weights = logit_weights(of.tapped, "mlp_hidden.0", of.directions[features], usual)
    found = direct_test(of, tokens, features, values, weights, usual)
    for row, (i, value) in enumerate(zip(features, values, strict=True)):
        carry, x = of.tapped.cut(tokens)
        f = of.activations(tokens, [i])[..., 0]
        real = tokens != of.tapped.bos
        away = np.where(real, value - f, 0)
        model, variables = of.tapped.model, {"params": of.tapped.params}
        after = model.apply(
            variables, carry, x + away[..., None] * of.directions[i], "mlp_hidden.0", method=model.from_acts
        )
        change = np.asarray(after - model.apply(variables, tokens), np.float64)[real][:, usual].mean(axis=0)
        assert found.correlation[row] == pytest.approx(np.corrcoef(change, weights[row])[0, 1], abs=1e-3)
        slope = np.polyfit(weights[row], change, 1)[0] / (away.sum() / real.sum())
        assert found.slope[row] == pytest.approx(slope, rel=1e-2)
