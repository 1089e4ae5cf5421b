"""A language model of another architecture is one module and one line: no other code depends on the architecture."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.activations.producers import ModelActivations
from monosem_jax.activations.sampling import ContextSampler
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.models import MODELS, build_model, read_model
from monosem_jax.models.base import SITES, site_width, site_widths
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.transformer import Transformer, TransformerConfig
from monosem_jax.runtime.errors import BadInput
from tests.conftest import TINY


@dataclasses.dataclass(frozen=True)
class BagConfig:
    """A model without attention, whose sites and parameters have names of their own."""

    vocab_size: int = 20
    context_length: int = 8
    n_layers: int = 1
    d_hidden: int = 6
    architecture: str = "bag"

    def check(self) -> None:
        pass


class Bag(nn.Module):
    config: BagConfig
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.lookup = nn.Embed(self.config.vocab_size, self.config.d_hidden)
        self.head = nn.Dense(self.config.vocab_size, use_bias=False)

    @property
    def sites(self):
        return ("mlp_hidden.0",)

    @nn.nowrap
    def width(self, site):
        return self.config.d_hidden

    def to_acts(self, tokens, site):
        return None, nn.relu(self.lookup(tokens))

    def from_acts(self, carry, acts, site):
        return self.head(acts)

    def __call__(self, tokens):
        return self.from_acts(*self.to_acts(tokens, self.sites[0]), self.sites[0])

    @nn.nowrap
    def direct_effect(self, params, site, directions):
        return np.asarray(directions) @ np.asarray(params["head"]["kernel"])


@pytest.fixture
def bag(monkeypatch):
    """(model, params) of the other architecture, which the table has for this test."""
    monkeypatch.setitem(MODELS, "bag", (BagConfig, Bag))
    model = read_model({"architecture": "bag", "d_hidden": 6})
    return model, model.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]


def test_another_architecture_is_read_harvested_and_analysed(bag):
    model, params = bag
    assert isinstance(model, Bag) and site_width(model, "mlp_hidden.0") == 6
    tokens = np.random.default_rng(0).integers(1, 20, (8, 8)).astype(np.uint16)
    contexts = ContextSampler(tokens, 0, 3, 0)
    made = ModelActivations(
        model, params, "mlp_hidden.0", contexts, k=3, n_contexts=8, dtype="float32", batch_contexts=1
    )
    (_, (rows,), _), *_ = made.batches(0, 24)
    context, position = made.origin(0, 24).T
    expected = np.maximum(params["lookup"]["embedding"], 0)[contexts.tokens(np.arange(8))[context, position]]
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    effect = np.asarray(params["head"]["kernel"])
    found = logit_weights(TappedModel(model, params, "mlp_hidden.0", 0), "mlp_hidden.0", np.eye(6))
    np.testing.assert_allclose(found, effect - np.median(effect, axis=1, keepdims=True), atol=1e-6)


def test_a_configuration_without_an_architecture_is_the_papers_transformer():
    values = {name: v for name, v in dataclasses.asdict(TINY).items() if name != "architecture"}
    assert read_model(values) == build_model(TINY) == Transformer(TINY)
    assert build_model(TINY, jnp.bfloat16).dtype == jnp.bfloat16


@pytest.mark.parametrize("name", ["bag", "", None, ["transformer"]])
def test_an_unknown_architecture_is_refused_with_the_known_ones(name):
    with pytest.raises(BadInput, match=r"transformer\.architecture is .*: expected one of transformer"):
        read_model({"architecture": name})


def test_a_model_names_its_sites_and_their_widths():
    model = Transformer(TransformerConfig(2, 16, 32, 2))
    assert model.sites == tuple(f"{kind}.{layer}" for layer in (0, 1) for kind in SITES)
    assert site_widths(model, "mlp_hidden.1+resid_pre.0") == (32, 16)
    assert site_width(model, "mlp_hidden.1+resid_pre.0") == 48
    with pytest.raises(BadInput, match=r"site 'mlp_out\.2' does not exist"):
        site_widths(model, "mlp_in.0+mlp_out.2")
