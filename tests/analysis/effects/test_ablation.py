"""Ablation: what was planted is found, effects add up where the model is linear, and records say what was measured."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.effects.ablation import ablate
from monosem_jax.analysis.records import Example
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.published import PublishedSAE
from tests import planted
from tests.analysis.effects.conftest import DEAD, F, random_dictionary

TEXT, _ = planted.documents(80)


def test_the_loss_rises_where_a_planted_feature_predicted_the_next_token():
    """The feature `set` raises the logits of EFFECT by 4 f: without it the next token of EFFECT loses that."""
    it = planted.planted()
    contexts = [c for c in range(80) if c % 4 == planted.LABELS.index("hebrew")]
    found = ablate(it.features, TEXT, [planted.SET_FEATURE], [contexts])
    f = planted.activations(TEXT)[contexts][..., planted.SET_FEATURE]
    v = planted.logit_weights()[planted.SET_FEATURE]
    others = planted.activations(TEXT)[contexts] @ planted.logit_weights() + np.log(planted.unigram())
    log_sum = [np.log(np.exp(s).sum(axis=-1)) for s in (others, others - f[..., None] * v)]
    expected = (f * v[np.roll(TEXT[contexts], -1, axis=1)] - log_sum[0] + log_sum[1])[:, :-1]
    np.testing.assert_allclose(found.held.loss_change, expected, atol=0.03)
    record = found.record(planted.SET_FEATURE)
    assert record.loss_change_firing == pytest.approx(expected[f[:, :-1] > 0].mean(), abs=0.01)
    assert record.loss_change_firing > 0.5 and abs(record.loss_change_elsewhere) < 1e-4
    assert record.tokens_firing == (f[:, :-1] > 0).sum()
    assert record.tokens_firing + record.tokens_elsewhere == len(contexts) * (planted.T - 2)
    assert found.forward_passes == 2 * len(contexts)


def test_a_dead_feature_changes_nothing_and_says_so_in_numbers(of, tokens):
    found = ablate(of, tokens, [DEAD, 1], [[0, 1, 2], [0, 5]])
    record = found.record(DEAD)
    assert (record.loss_change_firing, record.tokens_firing) == (None, 0)
    assert record.loss_change_elsewhere == 0 and record.tokens_elsewhere == 3 * 10
    assert found.record(1).tokens_firing > 0


class Linear(nn.Module):
    """Logits are linear in the activations."""

    config: TransformerConfig
    dtype: np.dtype = np.float32
    sites = ("mlp_hidden.0",)

    def setup(self):
        c = self.config
        self.embed, self.up = nn.Embed(c.vocab_size, c.d_model), nn.Dense(c.d_mlp)
        self.unembed = nn.Dense(c.vocab_size)

    @nn.nowrap
    def width(self, site):
        return self.config.d_mlp

    def to_acts(self, tokens, site):
        return None, self.up(self.embed(tokens))

    def from_acts(self, carry, acts, site):
        return self.unembed(acts)

    def __call__(self, tokens):
        return self.from_acts(*self.to_acts(tokens, self.sites[0]), self.sites[0])


def test_the_effects_of_all_features_of_a_linear_model_add_up():
    config = TransformerConfig(d_model=8, d_mlp=16, n_heads=2, context_length=12, vocab_size=40)
    model = Linear(config)
    tokens = np.random.default_rng(0).integers(0, 40, (3, 12)).astype(np.int32)
    tapped = TappedModel(model, model.init(jax.random.key(0), tokens)["params"], "mlp_hidden.0", 0)
    sae = PublishedSAE(architectures.build(ReluConfig(n_features=F), 16, jnp.float32, ()), random_dictionary(16))
    of, everything = feature_sets.dictionary("features", tapped, sae), np.arange(40)
    found = ablate(of, tokens, range(F), [[0, 1, 2]] * F, watch=everything)
    alone = np.zeros((3, 12, 40))
    for i in range(F):
        alone += found.held.logit_change[found.rows(i)]
    carry, x = tapped.cut(tokens)
    f = of.activations(tokens)
    together = model.apply(
        {"params": tapped.params}, carry, x - f @ of.directions, "mlp_hidden.0", method=model.from_acts
    )
    before = model.apply({"params": tapped.params}, tokens)
    np.testing.assert_allclose(alone, together - before, atol=1e-4)
    assert np.abs(alone).max() > 0.05


def test_an_example_gets_the_effects_on_its_tokens(of, tokens):
    found = ablate(of, tokens, [1], [[5, 2]])
    example = Example(5, 7, 3, ("x",) * 6, (0.0,) * 6, "", "")  # tokens 4 … 9 of the context
    effects = found.with_effects(1, example).loss_effects
    np.testing.assert_allclose(effects, found.held.loss_change[0][3:9], atol=1e-5)
    first = found.with_effects(1, Example(2, 1, 1, ("x",) * 4, (0.0,) * 4, "", "")).loss_effects
    assert first[0] == 0 and first[1:] == tuple(round(float(e), 5) for e in found.held.loss_change[1][:3])
    with pytest.raises(BadInput, match="feature 1 was not ablated in context 3"):
        found.with_effects(1, Example(3, 1, 1, ("x",) * 4, (0.0,) * 4, "", ""))


def test_contexts_that_are_not_there_are_left_out(of, tokens):
    found = ablate(of, tokens, [1, 3], [[4, -1, 4], [-1]])
    assert found.contexts.tolist() == [4] and found.features.tolist() == [1]
    with pytest.raises(BadInput, match="feature 3 was not ablated: expected one of those that were, 1 in all"):
        found.record(3)
    with pytest.raises(BadInput, match="2 features and contexts of 1: expected one each"):
        ablate(of, tokens, [1, 2], [[0]])
