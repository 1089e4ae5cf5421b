"""Effects at middle layers of a deep model: against the whole model computed again with other activations."""

import numpy as np
import pytest

from monosem_jax.analysis import feature_sets
from monosem_jax.analysis import logit_weights as logit_weights_lib
from monosem_jax.analysis.effects import direct as direct_lib
from monosem_jax.analysis.effects.ablation import ablate
from monosem_jax.analysis.effects.contexts import looks_back
from monosem_jax.analysis.effects.direct import logit_effects
from monosem_jax.analysis.effects.hold import hold
from monosem_jax.analysis.logit_weights import logit_statistics, logit_weights
from monosem_jax.models.base import token_losses
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.published import PublishedSAE
from tests.analysis.effects.conftest import BOS, DEAD, F, random_dictionary
from tests.models.small_models import LLAMA, V, lively

SITES = ["resid_post.1", "mlp_out.1", "attn_z.1", "mlp_hidden.1"]


@pytest.fixture(scope="module")
def contexts() -> np.ndarray:
    t = np.random.default_rng(1).integers(1, V, (5, 12)).astype(np.int32)
    t[:, 0] = t[3, 6] = BOS
    return t


def of_site(site: str) -> feature_sets.FeatureSet:
    model, params = lively(LLAMA)
    width = model.width(site)
    sae = PublishedSAE(architectures.build(ReluConfig(n_features=F), width, np.float32, ()), random_dictionary(width))
    return feature_sets.dictionary("features", TappedModel(model, params, site, BOS), sae)


def again(of, tokens, feature: int, value: float):
    """(logits intact, with the feature at the value [C,T,V], its activations [C,T]) from whole passes."""
    model, params, site = of.tapped.model, {"params": of.tapped.params}, of.tapped.site
    carry, x = model.apply(params, tokens, site, method=model.to_acts)
    f = np.asarray(of.encoder.encode(x))[..., feature] * (tokens != BOS)
    shift = np.where(tokens != BOS, value - f, 0)
    moved = x + shift[..., None] * of.directions[feature]
    return (
        np.asarray(model.apply(params, tokens)),
        np.asarray(model.apply(params, carry, moved, site, method=model.from_acts)),
        f,
    )


@pytest.mark.parametrize("site", SITES)
def test_ablation_and_effects_on_logits_are_those_of_whole_passes(site, contexts):
    of = of_site(site)
    assert looks_back(of.tapped.model, site, None, np.zeros((1, 1)))
    features, usual = [1, 6, DEAD], np.arange(3, V)
    chosen = [[0, 2, 3], [4, 3, -1], [1]]
    found = ablate(of, contexts, features, chosen)
    effects = logit_effects(of, contexts, features, chosen, usual, batch=2)
    for j, (i, some) in enumerate(zip(features, chosen, strict=True)):
        tokens = contexts[[c for c in some if c >= 0]]
        before, after, f = again(of, tokens, i, 0.0)
        change = token_losses(after, tokens) - token_losses(before, tokens)
        np.testing.assert_allclose(found.held.loss_change[found.rows(i)], change, rtol=1e-3, atol=2e-4)
        fires = f > 0
        assert effects.places[j] == fires.sum() and fires.any() == (i != DEAD)
        if i == DEAD:
            assert not effects.weights[j].any() and effects.activation[j] == 0
            continue
        assert np.abs(change).max() > 1e-3
        expected = ((before - after)[fires].astype(np.float64).sum(axis=0) / f[fires].sum())[usual]
        np.testing.assert_allclose(effects.weights[j], expected - np.median(expected), rtol=2e-3, atol=2e-4)
        assert effects.activation[j] == pytest.approx(f[fires].mean(), rel=1e-4)


def test_effects_at_the_last_site_are_the_direct_path_but_for_the_norm(contexts, monkeypatch):
    """Nothing follows the last residual stream but the final norm, which hardly moves when a feature is small."""
    of = of_site("resid_post.2")
    features, usual = list(range(F)), np.arange(V)
    monkeypatch.setattr(direct_lib, "BLOCK_BYTES", 1)
    effects = logit_effects(of, contexts, features, [[0, 1, 2, 3, 4]] * F, usual)
    direct = logit_weights(of.tapped, of.tapped.site, of.directions, usual)
    fires = effects.places > 0
    assert fires.sum() == F - 1 and np.isnan(effects.correlation(direct)[DEAD])
    assert np.median(effects.correlation(direct)[fires]) > 0.9
    other = effects.correlation(np.roll(direct, 1, axis=0))[fires]
    assert np.median(np.abs(other)) < 0.6


def test_held_features_change_the_mean_logits_where_they_fire(contexts):
    of = of_site("mlp_out.0")
    found = hold(of, contexts, [0, 3], [2, 2], [1.5, 1.5], mean_logits=True, firing=True)
    for row, c in enumerate((0, 3)):
        before, after, f = again(of, contexts[[c]], 2, 1.5)
        expected = (after - before)[0][f[0] > 0].mean(axis=0)
        np.testing.assert_allclose(found.mean_logit_change[row], expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("site", [*SITES, "resid_post.2"])
def test_logit_weights_at_depth_are_the_direct_path_a_few_rows_at_a_time(site, monkeypatch):
    monkeypatch.setattr(logit_weights_lib, "BLOCK_BYTES", 4 * V * 2)
    of = of_site(site)
    model, p = of.tapped.model, of.tapped.params
    layer, kind = site[-1], site[:-2]
    out = {"mlp_hidden": "down", "attn_z": "attn_proj"}.get(kind)
    d = of.directions.astype(np.float64)
    d = d @ np.asarray(p[f"blocks_{layer}"][out]["kernel"], np.float64) if out else d
    expected = (d * np.asarray(p["ln_final"]["scale"], np.float64)) @ np.asarray(p["embed"]["embedding"], np.float64).T
    expected -= np.median(expected, axis=1, keepdims=True)
    assert model.config.tied
    np.testing.assert_allclose(logit_weights(of.tapped, site, of.directions), expected, rtol=1e-4, atol=1e-5)
    found = logit_statistics(of, np.arange(V), k=3, block=2)
    np.testing.assert_array_equal(found.top_token, np.argsort(-expected, axis=1)[:, :3])


def test_other_numbers_of_contexts_are_refused(contexts):
    with pytest.raises(BadInput, match="2 features and contexts of 1"):
        logit_effects(of_site("mlp_out.0"), contexts, [0, 1], [[0]], np.arange(V))
