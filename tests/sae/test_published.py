"""A published dictionary is its module with parameters, and an argument of compiled functions."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from monosem_jax.sae.published import PublishedSAE
from tests import reference
from tests.engine import relu_sae

M, F = 6, 16


@pytest.fixture(scope="module")
def sae() -> PublishedSAE:
    return PublishedSAE(relu_sae(M, F), reference.random_dictionary(2, M, F))


def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, M)).astype(np.float32)


def test_features_and_reconstructions_equal_the_reference(sae):
    f, y = sae.forward(rows())
    expected = reference.encode(sae.params, rows())
    np.testing.assert_allclose(f, expected, atol=1e-5)
    np.testing.assert_allclose(sae.encode(rows()), expected, atol=1e-5)
    np.testing.assert_allclose(sae.decode(f), y, rtol=1e-6)
    np.testing.assert_allclose(y, expected @ sae.params["W_dec"] + sae.params["b_dec"], atol=1e-5)
    np.testing.assert_array_equal(sae.targets(rows()), rows())
    assert (sae.n_features, sae.width_out) == (F, M)
    assert 0 < np.sum(sae.active(f)) == np.sum(expected > 0) < f.size


def test_dictionaries_that_differ_in_parameters_alone_share_a_program(sae):
    compiled = jax.jit(lambda sae, rows: sae.encode(rows))
    other = PublishedSAE(relu_sae(M, F), reference.random_dictionary(3, M, F))
    assert np.abs(compiled(sae, rows()) - compiled(other, rows())).max() > 1e-3
    assert compiled._cache_size() == 1
