"""Sampling with a feature held: the same texts as a plain loop over growing contexts, whatever the batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.effects import sampling
from monosem_jax.analysis.effects.sampling import sample
from monosem_jax.models.loaded import LoadedModel, Texts
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.models.weights.conventions import Conventions
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import jax_key
from monosem_jax.sae import architectures
from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.published import PublishedSAE
from tests import planted
from tests.analysis.effects import reference
from tests.analysis.effects.conftest import BOS, F, random_dictionary
from tests.conftest import build_lively
from tests.models.small_models import LLAMA, PAPER, lively, words

PROMPT = np.array([BOS, 5, 9])
FEATURES, VALUES = [1, 1, 6, 2, 3], [0.0, 3.0, 1.5, np.nan, 2.0]
N = 7


def plain(of, prompt, feature: int, value: float, number: int, n: int, *, first: int = 0, temperature=1.0, seed=0):
    """One text, a token at a time, from a float64 computation of growing contexts; features are those of a layer 0."""
    tokens, params = list(prompt), of.tapped.params
    key = jax.random.fold_in(jax_key("effects.sample", seed), number)
    for t in range(len(prompt), len(prompt) + n):
        now = np.asarray(tokens)

        def held(layer, x, now=now):
            if layer or np.isnan(value):
                return x
            f = x if of.name == "neurons" else reference.encode(of.encoder.params, x)
            places = (now != BOS) & (np.arange(len(now)) >= first)
            return x + np.where(places, value - f[:, feature], 0)[:, None] * of.directions[feature]

        logits = reference.forward(params, now, of.tapped.model.config.n_heads, held)[-1]
        logits[BOS] = -np.inf
        scores = jnp.asarray(logits / temperature, jnp.float32)
        tokens.append(int(jax.random.categorical(jax.random.fold_in(key, t), scores)))
    return tokens


@pytest.mark.parametrize("batch", [2, 64])
@pytest.mark.parametrize("positions", ["all", "generated"])
def test_texts_are_those_of_a_plain_loop(of, batch, positions):
    found = sample(
        of, PROMPT, FEATURES, VALUES, N, samples=[0, 0, 1, 2, 7], positions=positions, temperature=0.8, batch=batch
    )
    first = len(PROMPT) if positions == "generated" else 0
    for text, feature, value, number in zip(found, FEATURES, VALUES, [0, 0, 1, 2, 7], strict=True):
        assert text.tolist() == plain(of, PROMPT, feature, value, number, N, first=first, temperature=0.8)


@pytest.mark.parametrize("positions", ["all", "generated"])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_strong_neuron_is_held_on_the_tokens_asked_for_and_attention_sees_it(layers, positions):
    """Ablating what is large shows whether each new token's own activation is known, and which tokens are held."""
    model, params = build_lively(
        TransformerConfig(n_layers=layers, d_model=16, d_mlp=32, n_heads=2, context_length=12, vocab_size=40)
    )
    of = feature_sets.neurons(TappedModel(model, params, "mlp_hidden.0", BOS))
    tokens = np.random.default_rng(2).integers(1, 40, (20, 12))
    strongest = int(np.argmax(of.activations(tokens).mean(axis=(0, 1))))
    values, numbers = [0.0, 20.0, np.nan] * 5, np.repeat(np.arange(5), 3)
    found = sample(of, PROMPT, [strongest] * 15, values, 9, samples=numbers, positions=positions)
    first = len(PROMPT) if positions == "generated" else 0
    for text, value, number in zip(found, values, numbers, strict=True):
        assert text.tolist() == plain(of, PROMPT, strongest, value, number, 9, first=first)
    assert len(np.unique(found, axis=0)) > 10, "what is held matters"


def test_bos_is_never_sampled_and_numbers_decide_the_draws(of):
    found = sample(of, PROMPT, [0] * 20, [np.nan] * 20, N, samples=list(range(10)) * 2)
    assert (found[:, len(PROMPT) :] != BOS).all()
    np.testing.assert_array_equal(found[:10], found[10:])
    assert len({tuple(text) for text in found.tolist()}) > 5
    other = sample(of, PROMPT, [0] * 10, [np.nan] * 10, N, seed=1)
    assert (other != found[:10]).any()


@pytest.mark.parametrize(
    ("config", "site", "positions"),
    [(LLAMA, "resid_post.1", "all"), (LLAMA, "mlp_hidden.0", "generated"), (PAPER, "attn_out.1", "all")],
)
def test_texts_are_the_same_with_and_without_the_memory(config, site, positions, monkeypatch):
    """A model with a memory is not asked for whole contexts, and writes what one that has none does."""
    model, params = lively(config)
    width = model.width(site)
    sae = PublishedSAE(architectures.build(ReluConfig(n_features=F), width, jnp.float32, ()), random_dictionary(width))
    of = feature_sets.dictionary("features", TappedModel(model, params, site, BOS), sae)
    given = (of, PROMPT, [1, 6, 2, 3, 8, 0], [0.0, 9.0, 9.0, np.nan, -9.0, 9.0], 12)
    monkeypatch.setattr(sampling, "_sampled", None)
    found = sample(*given, positions=positions, batch=4)
    monkeypatch.undo()
    monkeypatch.setattr(sampling, "remembers", lambda model: False)
    np.testing.assert_array_equal(found, sample(*given, positions=positions))
    assert len(np.unique(found, axis=0)) == 6


def test_features_are_held_while_a_model_generates():
    """`held` moves every token's activations along the directions until the features have their values."""
    model, params = lively(LLAMA)
    of = feature_sets.neurons(TappedModel(model, params, "mlp_hidden.1", BOS))
    writer = LoadedModel(model, params, lambda: Texts(words(), BOS, Conventions((BOS,), ())))
    acts = np.random.default_rng(0).normal(size=(2, 5, 24)).astype(np.float32)
    edit = of.held([3, 7], [2.0, -1.0])
    moved = np.asarray(edit.function(edit.values, jnp.asarray(acts)))
    np.testing.assert_allclose(moved[..., [3, 7]], np.broadcast_to([2.0, -1.0], (2, 5, 2)), atol=1e-6)
    np.testing.assert_array_equal(np.delete(moved, [3, 7], axis=-1), np.delete(acts, [3, 7], axis=-1))
    written = functools.partial(writer.generate, [PROMPT], 8)
    strong = written(edit=of.held(3, 30.0), temperature=0).tokens[0]
    # The same feature held by `sample`, with so little chance that the most probable token is taken.
    greedy = sample(of, PROMPT, [3], [30.0], 8, temperature=1e-6)[0, len(PROMPT) :]
    np.testing.assert_array_equal(strong, greedy)
    assert (strong != written(temperature=0).tokens[0]).any()
    for given, message in (
        ((24, 0.0), "feature 24: expected 0 to 23"),
        ((0, np.nan), "not finite"),
        ((0.5, 1.0), "0.5"),
    ):
        with pytest.raises(BadInput, match=message):
            of.held(*given)
    both = feature_sets.neurons(TappedModel(model, params, "mlp_in.1+mlp_hidden.1", BOS))
    with pytest.raises(BadInput, match=r"read at mlp_in.1\+mlp_hidden.1: expected one site"):
        both.held(0, 1.0)


def test_features_of_several_sites_are_held_where_whole_contexts_are_computed():
    model, params = lively(PAPER)
    tapped = TappedModel(model, params, "resid_mid.0+mlp_out.0", BOS)
    module = architectures.build(CrosscoderConfig(n_features=F), 32, np.float32, (16, 16))
    of = feature_sets.dictionary("crosscoder", tapped, PublishedSAE(module, random_dictionary(32)))
    found = sample(of, PROMPT, [1, 1], [0.0, 30.0], 6, samples=[0, 0])
    assert (found[0] != found[1]).any()
    tokens = np.full((1, 9), BOS)
    tokens[0, :3] = PROMPT
    key = jax.random.fold_in(jax_key("effects.sample", 0), 0)
    for t in range(3, 9):
        f = of.activations(tokens, [1])[..., 0]
        carry, acts = tapped.cut(tokens, "mlp_out.0")
        shift = np.where(tokens != BOS, 30.0 - f, 0)[..., None] * of.directions[1, 16:]
        logits = model.apply({"params": params}, carry, acts + shift, "mlp_out.0", method=model.from_acts)[0, t - 1]
        tokens[0, t] = jax.random.categorical(jax.random.fold_in(key, t), logits.at[BOS].set(-jnp.inf))
    assert found[1].tolist() == tokens[0].tolist()


def test_a_planted_feature_writes_its_tokens():
    it = planted.planted()
    prompt = [planted.BOS, planted.COMMON[-1]]
    values = [8.0] * 10 + [np.nan] * 10
    found = sample(it.features, prompt, [planted.SET_FEATURE] * 20, values, 15, samples=list(range(10)) * 2)
    share = np.isin(found[:, 2:], planted.EFFECT).mean(axis=1)
    assert share[:10].min() > 0.9 > 0.3 > share[10:].max()


def test_impossible_requests_are_refused(of):
    for change, message in (
        ({"n_tokens": 10}, "the prompt has 3 tokens: with 10 more it is longer than a context, 12"),
        ({"n_tokens": 0}, "n_tokens is 0: expected 1 or more"),
        ({"features": [F]}, "feature 9: expected 0 to 8"),
        ({"values": [np.inf]}, "a value is not finite"),
        ({"values": [1.0, 2.0]}, r"values was given an array of shape \[2\]: expected \[1\]"),
        ({"positions": "some"}, "positions is 'some'"),
        ({"temperature": 0}, "temperature 0"),
        ({"prompt": [41]}, "token 41: expected 0 to 39"),
    ):
        given = {"prompt": PROMPT, "features": [1], "values": [1.0], "n_tokens": 3, **change}
        with pytest.raises(BadInput, match=message):
            sample(of, **given)
    assert sample(of, PROMPT, [], [], 3).shape == (0, 6)
