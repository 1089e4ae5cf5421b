"""A model cut at a site gives the model's own activations and losses, and is an argument of compiled functions."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.models.base import token_losses
from monosem_jax.models.tapped import TappedModel
from tests.conftest import TINY, build_lively

BOS, BOTH = 0, "mlp_in.0+mlp_out.0"


def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 40, size=(3, 8))


@pytest.fixture(scope="module")
def tapped(tiny) -> TappedModel:
    return TappedModel(*tiny, "mlp_hidden.0", BOS)


def test_rows_are_the_activations_at_the_site(tiny, tapped):
    model, params = tiny
    _, x = model.apply({"params": params}, tokens(), "mlp_hidden.0", method=model.to_acts)
    np.testing.assert_array_equal(tapped.rows(tokens()), x)
    _, other = model.apply({"params": params}, tokens(), "resid_mid.0", method=model.to_acts)
    np.testing.assert_array_equal(tapped.cut(tokens(), "resid_mid.0")[1], other)


def test_losses_with_the_models_own_activations_are_its_losses(tiny, tapped):
    model, params = tiny
    expected = token_losses(model.apply({"params": params}, tokens()), tokens())
    carry, x = tapped.cut(tokens())
    np.testing.assert_array_equal(tapped.losses_with(carry, x, tokens(), tapped.site), expected)
    assert np.abs(tapped.losses_with(carry, 0 * x, tokens(), tapped.site) - expected).max() > 1e-3


@pytest.mark.parametrize(
    ("site", "width", "expected"),
    [
        ("mlp_hidden.0", 32, [("mlp_hidden.0", slice(None))]),
        (BOTH, 32, [("mlp_in.0", slice(0, 16)), ("mlp_out.0", slice(16, 32))]),
        (BOTH, 16, [("mlp_out.0", slice(None))]),
    ],
    ids=["one site", "a crosscoder", "a transcoder"],
)
def test_reconstructions_replace_one_site_or_all_or_the_last(tapped, site, width, expected):
    assert dataclasses.replace(tapped, site=site).replaced_by(width) == expected


def test_models_that_differ_in_parameters_alone_share_a_program(tapped):
    compiled = jax.jit(lambda tapped, tokens: tapped.rows(tokens))
    other = TappedModel(*build_lively(TINY, seed=5), "mlp_hidden.0", BOS)
    first, second = compiled(tapped, tokens()), compiled(other, tokens())
    assert compiled._cache_size() == 1 and np.abs(first - second).max() > 1e-3
    compiled(dataclasses.replace(tapped, site="mlp_out.0"), tokens())
    assert compiled._cache_size() == 2


def test_parameters_are_put_on_every_device_of_a_mesh(tapped, mesh8):
    on = tapped.on(mesh8)
    leaves, moved = jax.tree.leaves(tapped.params), jax.tree.leaves(on.params)
    for old, new in zip(leaves, moved, strict=True):
        assert new.sharding.is_fully_replicated and len(new.sharding.device_set) == 8
        np.testing.assert_array_equal(old, new)
    assert all(isinstance(p, jnp.ndarray) for p in jax.tree.leaves(tapped.on(None).params))
