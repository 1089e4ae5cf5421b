"""Sums over tokens for pairs of features, against float64 sums over all activations."""

import dataclasses

import numpy as np
import pytest

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.joint.pair_sums import Pair, PairSums, pair_sums
from monosem_jax.runtime.errors import BadInput
from tests.analysis.scan import material
from tests.conftest import mesh_of

PAIRS = [Pair(0, 1, masked=True), Pair(1, 2, masked=True), Pair(2, 0), Pair(2, 2)]


def sets() -> list[FeatureSet]:
    neurons, other = material.others()
    return [material.features(), neurons, other]


def activations(features: FeatureSet) -> np.ndarray:
    """[n,F] float64 of all tokens but BOS."""
    f = features.activations(material.contexts())[material.contexts() != material.BOS]
    return f.astype(np.float64)


@pytest.fixture(scope="module")
def found() -> list[PairSums]:
    return pair_sums(sets(), PAIRS, material.contexts(), batch=8)


@pytest.mark.parametrize("k", range(len(PAIRS)))
def test_sums_are_those_of_all_activations(found, k):
    pair, sums = PAIRS[k], found[k]
    f, g = activations(sets()[pair.a]), activations(sets()[pair.b])
    assert sums.tokens == len(f) and (sums.a.name, sums.b.name) == (sets()[pair.a].name, sets()[pair.b].name)
    expected = {"product": f.T @ g}
    if pair.masked:
        fires_f, fires_g = (f != 0).astype(float), (g != 0).astype(float)
        expected |= {"both": fires_f.T @ fires_g, "a_on_b": (f**2).T @ fires_g, "b_on_a": fires_f.T @ g**2}
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(sums, name), value, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(sums.a.square, (f**2).sum(0), rtol=1e-5)
    np.testing.assert_array_equal(sums.b.fired, (g != 0).sum(0))
    with np.errstate(invalid="ignore"):
        r = np.corrcoef(f.T, g.T)[: f.shape[1], f.shape[1] :]
    # A feature that is constant up to rounding has no correlation.
    varies = np.outer(f.std(0) > 1e-5 * np.abs(f).max(), g.std(0) > 1e-5 * np.abs(g).max())
    assert np.isnan(sums.correlation()[~varies]).all()
    np.testing.assert_allclose(sums.correlation()[varies], r[varies], atol=2e-5)


@pytest.mark.parametrize("k", [0, 1])
def test_masked_cosines_are_those_on_the_tokens_where_one_feature_fires(found, k):
    f, g = activations(sets()[PAIRS[k].a]), activations(sets()[PAIRS[k].b])
    expected = np.zeros((f.shape[1], g.shape[1]))
    for i in range(f.shape[1]):
        for j in range(g.shape[1]):
            for mask in (f[:, i] != 0, g[:, j] != 0):
                norm = np.linalg.norm(f[mask, i]) * np.linalg.norm(g[mask, j])
                if norm > 0:
                    expected[i, j] = max(expected[i, j], f[mask, i] @ g[mask, j] / norm)
    np.testing.assert_allclose(found[k].masked_cosine(), expected, atol=2e-5)
    back = found[k].transposed()
    np.testing.assert_array_equal(back.masked_cosine(), found[k].masked_cosine().T)
    np.testing.assert_array_equal(back.cosine_where_a_fires(), found[k].cosine_where_b_fires().T)


@pytest.mark.parametrize("how", ["other batches", "mesh 2x2", "other order"])
def test_sums_do_not_depend_on_how_the_text_is_read(found, how):
    given, pairs = sets(), PAIRS
    if how == "other order":
        given, pairs = given[::-1], [dataclasses.replace(p, a=2 - p.a, b=2 - p.b) for p in PAIRS]
    mesh = mesh_of(2, 2) if how == "mesh 2x2" else None
    again = pair_sums(given, pairs, material.contexts(), batch=8 if mesh else 7, mesh=mesh)
    for a, b in zip(found, again, strict=True):
        for name in ("product", "both", "a_on_b", "b_on_a"):
            if getattr(a, name) is not None:
                np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=2e-5, atol=1e-6)


def test_impossible_input_is_refused_in_one_line(found):
    with pytest.raises(BadInput, match="expected different names"):
        pair_sums([material.features(), material.features()], [Pair(0, 1)], material.contexts())
    with pytest.raises(BadInput, match="no tokens but BOS"):
        pair_sums(sets(), [Pair(0, 1)], np.full((2, 4), material.BOS))
    with pytest.raises(BadInput, match="without masked ones"):
        found[2].masked_cosine()
    with pytest.raises(BadInput, match="batch is 0"):
        pair_sums(sets(), [Pair(0, 1)], material.contexts(), batch=0)
