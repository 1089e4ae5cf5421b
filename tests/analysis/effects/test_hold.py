"""Holding features at values: against a computation written out in float64, and what must not change it."""

import dataclasses

import numpy as np
import pytest

from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.effects import hold as hold_lib
from monosem_jax.analysis.effects.hold import hold
from monosem_jax.runtime.errors import BadInput
from tests.analysis.effects import reference
from tests.analysis.effects.conftest import BOS, DEAD, F

PAIRS = [(c, f, v) for c in (3, 0, 6) for f, v in ((0, 0.0), (2, 1.5), (7, 0.0), (DEAD, 0.0))]
CONTEXTS, FEATURES, VALUES = (np.asarray(x) for x in zip(*PAIRS, strict=True))


def by_hand(of, tokens, context: int, feature: int, value: float):
    """(change of losses [T-1], activations [T], change of logits [T,V]) of one pair."""
    t, params, sae = tokens[context], of.tapped.params, of.encoder.params
    n_heads, activation = of.tapped.model.config.n_heads, []

    def held(layer, x):
        activation[:] = reference.encode(sae, x)[:, feature] * (t != BOS)
        shift = (value - np.asarray(activation)) * (t != BOS)
        return x + shift[:, None] * np.asarray(sae["W_dec"], np.float64)[feature]

    before, after = reference.forward(params, t, n_heads), reference.forward(params, t, n_heads, held)
    return reference.losses(after, t) - reference.losses(before, t), np.asarray(activation), after - before


@pytest.fixture(scope="module")
def expected(of, tokens):
    return [np.stack(part) for part in zip(*(by_hand(of, tokens, *pair) for pair in PAIRS), strict=True)]


@pytest.mark.parametrize("batch", [1, 5, 32])
def test_effects_are_those_of_a_computation_by_hand_whatever_the_batch(of, tokens, expected, batch):
    loss, f, moved = expected
    watch, seen = [3, 17], []
    found = hold(
        of, tokens, CONTEXTS, FEATURES, VALUES, watch=watch, mean_logits=True, batch=batch, advance=seen.append
    )
    np.testing.assert_allclose(found.activation, f, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.loss_change, loss, rtol=1e-3, atol=1e-4)
    assert np.abs(loss).max() > 0.1
    np.testing.assert_allclose(found.logit_change, moved[..., watch], rtol=1e-3, atol=1e-4)
    real = (tokens[CONTEXTS] != BOS)[..., None]
    np.testing.assert_allclose(
        found.mean_logit_change, (moved * real).sum(axis=1) / real.sum(axis=1), rtol=1e-3, atol=1e-4
    )
    assert found.forward_passes == len(PAIRS) + 3 and sum(seen) == len(PAIRS)


def test_few_contexts_are_open_at_a_time_where_memory_is_short(of, tokens, expected, monkeypatch):
    monkeypatch.setattr(hold_lib, "CONTEXT_BYTES", 1)
    found = hold(of, tokens, CONTEXTS, FEATURES, VALUES, batch=5)
    np.testing.assert_allclose(found.loss_change, expected[0], rtol=1e-3, atol=1e-4)


def test_a_dead_feature_and_a_feature_at_its_own_value_change_nothing_at_all(of, tokens):
    found = hold(of, tokens, np.arange(7), [DEAD] * 7, [0] * 7, watch=[1], batch=3)
    assert not found.loss_change.any() and not found.logit_change.any() and not found.activation.any()
    f = of.activations(tokens, [1])[..., 0]
    first = np.argmax(f > 0, axis=1)
    change = hold(of, tokens, np.arange(7), [1] * 7, [0] * 7).loss_change
    for c in range(7):
        assert not change[c, : first[c]].any(), "nothing changes before the first firing"


def test_neurons_are_held_by_the_same_code(of, tokens):
    units = feature_sets.neurons(of.tapped)
    found = hold(units, tokens, [2], [5], [0.0])
    params, t, n_heads = of.tapped.params, tokens[2], of.tapped.model.config.n_heads

    def without(layer, x):
        x[1:, 5] = 0
        return x

    after, before = reference.forward(params, t, n_heads, without), reference.forward(params, t, n_heads)
    change = reference.losses(after, t) - reference.losses(before, t)
    np.testing.assert_allclose(found.loss_change[0], change, rtol=1e-3, atol=1e-4)


def test_the_features_of_several_sites_are_held_at_the_last_one(of, tokens):
    from monosem_jax.models.tapped import TappedModel
    from monosem_jax.sae import architectures
    from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
    from monosem_jax.sae.published import PublishedSAE
    from tests.analysis.effects.conftest import random_dictionary

    model, d = of.tapped.model, of.tapped.model.config.d_model
    tapped = TappedModel(model, of.tapped.params, "resid_mid.0+mlp_out.0", BOS)
    params = random_dictionary(2 * d)
    module = architectures.build(CrosscoderConfig(n_features=F), 2 * d, np.float32, (d, d))
    both = feature_sets.dictionary("crosscoder", tapped, PublishedSAE(module, params))
    found = hold(both, tokens, [1, 4], [2, 2], [0.5, 0.0], watch=[9])
    alone = TappedModel(model, of.tapped.params, "mlp_out.0", BOS)
    for row, (context, value) in enumerate(((1, 0.5), (4, 0.0))):
        t = tokens[context][None]
        f = both.activations(t, [2])[0, :, 0]
        carry, x = alone.cut(t)
        shift = np.where(t[0] != BOS, value - f, 0)
        moved = np.asarray(x) + (shift[:, None] * both.directions[2, d:])[None]
        change = np.asarray(alone.losses_with(carry, moved, t, "mlp_out.0")) - np.asarray(
            alone.losses_with(carry, x, t, "mlp_out.0")
        )
        np.testing.assert_allclose(found.loss_change[row], change[0], rtol=1e-3, atol=1e-5)


def test_what_does_not_exist_is_refused_in_one_line(of, tokens):
    for change, message in (
        ({"contexts": [7]}, "hold features: context 7: expected a whole number, 0 to 6|context 7: expected 0 to 6"),
        ({"features": [F]}, f"feature {F}: expected 0 to {F - 1}"),
        ({"features": [-1]}, "feature -1: expected 0 to"),
        ({"features": [0.5]}, "expected a whole number"),
        ({"values": [np.nan]}, "not finite"),
        ({"values": [1.0, 2.0]}, r"values was given an array of shape \[2\]: expected \[1\]"),
        ({"watch": [40]}, "token 40: expected 0 to 39"),
        ({"tokens": tokens[:, :1]}, "contexts of 1 token"),
        ({"batch": 0}, "batch is 0: expected 1 or more"),
    ):
        given = {"tokens": tokens, "contexts": [0], "features": [0], "values": [0.0], **change}
        with pytest.raises(BadInput, match=message):
            hold(of, *(given.pop(key) for key in ("tokens", "contexts", "features", "values")), **given)
    nothing = hold(of, tokens, [], [], [])
    assert nothing.loss_change.shape == (0, 11) and nothing.forward_passes == 0
    assert dataclasses.is_dataclass(nothing)
