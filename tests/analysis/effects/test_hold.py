"""Holding features at values: against a computation written out in float64, and what must not change it."""

import dataclasses

import numpy as np
import pytest

from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.effects import hold as hold_lib
from monosem_jax.analysis.effects.contexts import continued, looks_back
from monosem_jax.analysis.effects.hold import hold
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures
from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.published import PublishedSAE
from tests.analysis.effects import reference
from tests.analysis.effects.conftest import BOS, DEAD, F, random_dictionary
from tests.conftest import build_lively

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
@pytest.mark.parametrize("mean", [True, False])
def test_effects_are_those_of_a_computation_by_hand_whatever_the_batch(of, tokens, expected, batch, mean):
    """With mean logits the model goes on from whole contexts, without them from single tokens."""
    loss, f, moved = expected
    watch, seen = [3, 17], []
    found = hold(
        of, tokens, CONTEXTS, FEATURES, VALUES, watch=watch, mean_logits=mean, batch=batch, advance=seen.append
    )
    np.testing.assert_allclose(found.activation, f, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.loss_change, loss, rtol=1e-3, atol=1e-4)
    assert np.abs(loss).max() > 0.1
    np.testing.assert_allclose(found.logit_change, moved[..., watch], rtol=1e-3, atol=1e-4)
    real = (tokens[CONTEXTS] != BOS)[..., None]
    if mean:
        expected_mean = (moved * real).sum(axis=1) / real.sum(axis=1)
        np.testing.assert_allclose(found.mean_logit_change, expected_mean, rtol=1e-3, atol=1e-4)
    else:
        assert found.mean_logit_change is None
    changed = np.where(tokens[CONTEXTS] != BOS, VALUES[:, None] - f, 0) != 0
    assert found.continued_tokens == (moved.shape[0] * moved.shape[1] if mean else changed.sum())
    assert found.forward_passes == len(PAIRS) + 3 and sum(seen) == len(PAIRS)


def test_few_contexts_are_open_at_a_time_where_memory_is_short(of, tokens, expected, monkeypatch):
    monkeypatch.setattr(hold_lib, "BLOCK_BYTES", 1)
    found = hold(of, tokens, CONTEXTS, FEATURES, VALUES, batch=5)
    np.testing.assert_allclose(found.loss_change, expected[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mean", [True, False])
def test_a_dead_feature_changes_nothing_at_all_and_others_nothing_before_they_fire(of, tokens, mean):
    found = hold(of, tokens, np.arange(7), [DEAD] * 7, [0] * 7, watch=[1], mean_logits=mean, batch=3)
    assert not found.loss_change.any() and not found.logit_change.any() and not found.activation.any()
    f = of.activations(tokens, [1])[..., 0]
    first = np.argmax(f > 0, axis=1)
    change = hold(of, tokens, np.arange(7), [1] * 7, [0] * 7, mean_logits=mean).loss_change
    for c in range(7):
        assert not change[c, : first[c]].any(), "nothing changes before the first firing"


def test_attention_after_the_site_carries_the_effect_to_later_tokens(tokens):
    config = TransformerConfig(n_layers=2, d_model=16, d_mlp=32, n_heads=2, context_length=12, vocab_size=40)
    model, params = build_lively(config)
    units = feature_sets.neurons(TappedModel(model, params, "mlp_hidden.0", BOS))
    found = hold(units, tokens, [1, 3], [6, 2], [0.0, 2.0])

    for row, (context, neuron, value) in enumerate(((1, 6, 0.0), (3, 2, 2.0))):
        t = tokens[context]

        def held(layer, x, t=t, neuron=neuron, value=value):
            if layer == 0:
                x[t != BOS, neuron] = value
            return x

        before, after = reference.forward(params, t, 2), reference.forward(params, t, 2, held)
        change = reference.losses(after, t) - reference.losses(before, t)
        np.testing.assert_allclose(found.loss_change[row], change, rtol=1e-3, atol=2e-4)
    fired = units.activations(tokens, [6])[1, :, 0] != 0
    assert np.abs(found.loss_change[0][~fired[:-1]]).max() > 1e-3 and found.continued_tokens == 24


@pytest.mark.parametrize("site", ["resid_pre", "attn_out", "resid_mid", "mlp_in", "mlp_hidden", "mlp_out"])
def test_only_what_no_attention_follows_does_not_look_back(site):
    config = TransformerConfig(n_layers=2, d_model=16, d_mlp=32, n_heads=2, context_length=12, vocab_size=40)
    model, params = build_lively(config)
    tokens = np.arange(1, 9, dtype=np.int32)[None]
    for layer in (0, 1):
        tapped = TappedModel(model, params, f"{site}.{layer}", BOS)
        carry, acts = tapped.cut(tokens)
        before = np.asarray(continued(tapped, carry, acts, tapped.site))
        after = np.asarray(continued(tapped, carry, acts.at[0, 2, ::3].add(1.0), tapped.site))
        later = bool(np.abs(after - before)[0, 3:].max() > 1e-6)
        assert later == looks_back(model, tapped.site, carry, acts) == (layer == 0 or site == "resid_pre")
    assert looks_back(model, "elsewhere", None, acts), "a site of another model's own"
    assert looks_back(model, "mlp_out.1", np.zeros((1, 16)), acts), "what is carried has no tokens"


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
