"""The direct path of a model with two layers: logit weights by their definition, and as slopes of the logits."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput
from tests.conftest import TINY, build_lively

BOS, SITE = 0, "mlp_hidden.0"
TWO = dataclasses.replace(TINY, n_layers=2)


@pytest.fixture(scope="module")
def two():
    """Two layers whose LayerNorm scales differ between elements."""
    model, params = build_lively(TWO, seed=3)
    scale = np.random.default_rng(5).uniform(0.5, 2, size=16).astype(np.float32)
    return model, {**params, "ln_final": {**params["ln_final"], "scale": jnp.asarray(scale)}}


@pytest.mark.parametrize(("site", "width"), [("mlp_hidden.0", 32), ("mlp_hidden.1", 32), ("mlp_out.1", 16)])
def test_logit_weights_equal_the_definition(two, site, width):
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), two[1])
    directions = np.random.default_rng(6).normal(size=(7, width))
    for found, d in zip(logit_weights(TappedModel(*two, site, BOS), site, directions), directions, strict=True):
        written = d @ p[f"blocks_{site[-1]}"]["down"]["kernel"] if width == 32 else d
        scaled = (written - written.mean()) * p["ln_final"]["scale"]
        expected = np.asarray([scaled @ p["unembed"]["kernel"][:, t] for t in range(TWO.vocab_size)])
        np.testing.assert_allclose(found, expected - np.median(expected), atol=1e-4 * np.abs(expected).max())


def test_logit_weights_are_the_slope_of_the_logits_where_the_norm_stays(two):
    """Along a direction orthogonal to the centred residual, final LayerNorm divides by the same number."""
    model, params = two
    last = jax.jit(lambda r: model.apply({"params": params}, r[None, None], method=model.logits)[0, 0])
    resid, d = np.random.default_rng(7).normal(size=(2, 16))
    centred = resid - resid.mean()
    d -= centred * (d @ centred) / (centred @ centred)
    slope = np.asarray(jax.jvp(last, (jnp.float32(resid),), (jnp.float32(d),))[1]) * np.sqrt((centred**2).mean())
    found = logit_weights(TappedModel(*two, SITE, BOS), "resid_pre.0", d[None])[0]
    np.testing.assert_allclose(found, slope - np.median(slope), atol=1e-4 * np.abs(slope).max())


def test_logit_weights_have_median_zero(two):
    found = logit_weights(TappedModel(*two, SITE, BOS), "mlp_hidden.1", np.random.default_rng(8).normal(size=(5, 32)))
    np.testing.assert_allclose(np.median(found, axis=1), 0, atol=1e-6)


def test_logit_weights_at_the_input_of_an_mlp_are_refused(two):
    with pytest.raises(BadInput, match=r"logit weights at mlp_in\.1"):
        logit_weights(TappedModel(*two, SITE, BOS), "mlp_in.1", np.ones((1, 16)))
