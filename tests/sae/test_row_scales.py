"""Normalisations of single rows against float64 NumPy, and what depends on them."""

import dataclasses

import jax
import numpy as np
import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.row_scales import EPSILON, ROW_SCALES

M, F = 5, 7
RNG = np.random.default_rng(0)
X = np.concatenate([RNG.standard_normal((9, M)) * 3 + 2, np.zeros((1, M)), np.full((1, M), 4.0)]).astype(np.float32)
PARAMS = {
    "W_enc": RNG.standard_normal((M, F)), "b_enc": RNG.standard_normal(F) / 2, "W_dec": RNG.standard_normal((F, M)),
    "b_dec": RNG.standard_normal(M),
}  # fmt: skip


def reference(rows: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features, reconstructions, scale of each row) in float64."""
    x = x.astype(np.float64)
    if rows == "layer_norm":
        shift, scale = x.mean(axis=1, keepdims=True), x.std(axis=1, keepdims=True, ddof=1)
        divisor = scale + EPSILON
    else:
        shift, scale = np.zeros((len(x), 1)), np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(M)
        scale = divisor = np.where(scale == 0, 1, scale)
    f = np.maximum(((x - shift) / divisor - PARAMS["b_dec"]) @ PARAMS["W_enc"] + PARAMS["b_enc"], 0)
    return f, (f @ PARAMS["W_dec"] + PARAMS["b_dec"]) * scale + shift, scale[:, 0]


def published(rows: str) -> PublishedSAE:
    module = sae_lib.build(sae_lib.find("relu")(n_features=F), M, np.float32, rows=rows)
    return PublishedSAE(module, {name: p.astype(np.float32) for name, p in PARAMS.items()})


@pytest.mark.parametrize("rows", ROW_SCALES)
def test_features_and_reconstructions_are_those_of_normalised_rows(rows):
    sae, (f, x_hat, scale) = published(rows), reference(rows, X)
    np.testing.assert_allclose(sae.encode(X), f, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sae.decode(f.astype(np.float32), X), x_hat, rtol=1e-4, atol=1e-5)
    found, again = sae.forward(X)
    np.testing.assert_allclose(found, f, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(again, x_hat, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sae.gain(X), scale, rtol=1e-5, atol=1e-6)
    plain = published("")
    assert plain.gain(X) is None and np.abs(np.asarray(plain.encode(X)) - f).max() > 0.1


@pytest.mark.parametrize("rows", ROW_SCALES)
def test_what_would_be_wrong_without_the_row_is_refused(rows):
    sae = published(rows)
    with pytest.raises(BadInput, match=rf"rows with {rows} decodes from features and activations: decode\(f, x\)"):
        sae.decode(np.zeros((1, F), np.float32))
    with pytest.raises(BadInput, match=f"each row is normalised \\({rows}\\), so no feature is linear in activations"):
        sae.affine(np.arange(2))


def test_a_module_knows_its_normalisation_when_it_is_compiled():
    """Two dictionaries that differ by it alone do not share a program."""
    a, b = published("layer_norm"), published("constant_norm")
    run = jax.jit(lambda sae, x: sae.encode(x))
    assert np.abs(np.asarray(run(a, X)) - np.asarray(run(b, X))).max() > 0.1
    assert dataclasses.replace(a.module, rows="constant_norm") == b.module
