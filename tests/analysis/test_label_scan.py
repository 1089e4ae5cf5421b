from __future__ import annotations

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.analysis.label_scan import FeatureStatistics, category_table, label_correlation, scan
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.analysis.records import Category
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.config import to_dict
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.published import PublishedSAE
from tests import reference
from tests.conftest import TINY, build_lively
from tests.engine import relu_sae

BOS, SITE, N_FEATURES, N_LABELS, N_TOP = 0, "mlp_hidden.0", 20, 4, 3
CONSTANT, SILENT = 6, 5


def contexts() -> np.ndarray:
    """BOS at every beginning and within some contexts."""
    tokens = np.random.default_rng(0).integers(1, 40, size=(10, 12))
    tokens[:, 0] = tokens[2, 5] = tokens[7, 10] = BOS
    return tokens


def labels() -> np.ndarray:
    """0 to 2 and none; no token has label 3."""
    return np.random.default_rng(1).integers(-1, 3, size=(10, 12))


def dictionary():
    p = reference.random_dictionary(2, 32, N_FEATURES)
    p["W_enc"][:, [SILENT, CONSTANT]] = 0
    p["b_enc"][[SILENT, CONSTANT]] = -1, 0.1
    return p


def run(tiny, p=None, batch: int = 4, **more) -> FeatureStatistics:
    p = dictionary() if p is None else p
    tapped, sae = TappedModel(*tiny, SITE, BOS), PublishedSAE(relu_sae(32, N_FEATURES), p)
    return scan(tapped, sae, contexts(), labels(), n_labels=N_LABELS, batch=batch, n_top=N_TOP, **more)


@pytest.fixture(scope="module")
def found(tiny) -> FeatureStatistics:
    return run(tiny)


@pytest.fixture(scope="module")
def activations(tiny):
    """(neurons [C,T,M], features [C,T,F]) in float64."""
    model, params = tiny
    _, x = model.apply({"params": params}, contexts(), SITE, method=model.to_acts)
    return np.asarray(x, np.float64), reference.encode(dictionary(), x)


def test_densities_count_the_tokens_but_bos(found, activations):
    real = contexts() != BOS
    assert found.tokens == real.sum()
    np.testing.assert_allclose(found.density, (activations[1][real] > 0).mean(axis=0))


def test_label_tokens_count_the_tokens_but_bos(found):
    expected = [((labels() == i) & (contexts() != BOS)).sum() for i in range(N_LABELS)]
    assert list(found.label_tokens) == expected


@pytest.mark.parametrize("kind", ["feature", "neuron"])
def test_label_correlations_equal_those_of_numpy(found, activations, kind):
    real = contexts() != BOS
    units = activations[kind == "feature"][real]
    for label in range(3):
        for i in range(units.shape[1]):
            if np.ptp(units[:, i]) > 1e-9:
                expected = np.corrcoef(units[:, i], labels()[real] == label)[0, 1]
                value = getattr(found, f"{kind}_correlation")[label, i]
                assert value == pytest.approx(expected, abs=1e-5)


def test_a_silent_feature_correlates_with_nothing(found):
    np.testing.assert_array_equal(found.feature_correlation[:3, SILENT], 0)


@pytest.mark.parametrize("batch", [3, 10])
def test_a_constant_feature_correlates_with_nothing(tiny, batch):
    """Though its variance, a difference of fp32 sums, may come out above zero."""
    np.testing.assert_allclose(run(tiny, batch=batch).feature_correlation[:3, CONSTANT], 0, atol=1e-6)


def test_a_label_without_tokens_has_no_correlations(found):
    assert np.isnan(found.feature_correlation[3]).all() and np.isnan(found.neuron_correlation[3]).all()


def test_a_label_of_every_token_has_no_correlations():
    moments = {"sum": np.asarray([3.0]), "square": np.asarray([5.0]), "by_label": np.asarray([[3.0]])}
    assert np.isnan(label_correlation(moments, np.asarray([4.0]), 4.0)).all()


def test_top_contexts_are_those_of_the_largest_activations(found, activations):
    real = (contexts() != BOS)[..., None]
    best = (activations[1] * real).max(axis=1).T
    for i in range(N_FEATURES):
        order = [c for c in np.argsort(-best[i], kind="stable")[:N_TOP] if best[i, c] > 0]
        np.testing.assert_allclose(found.top_value[i, : len(order)], best[i, order], rtol=1e-5)
        assert not found.top_value[i, len(order) :].any()
        if i != CONSTANT:
            assert list(found.top_context[i, : len(order)]) == order


def test_top_positions_are_those_of_the_largest_activations(found, activations):
    for i in range(N_FEATURES):
        for value, c, t in zip(found.top_value[i], found.top_context[i], found.top_position[i], strict=True):
            if value > 0:
                assert activations[1][c, t, i] == pytest.approx(value, rel=1e-5)
                assert contexts()[c, t] != BOS


def test_a_context_is_among_the_top_ones_once(found):
    for i in range(N_FEATURES):
        strong = found.top_context[i][found.top_value[i] > 0]
        assert len(set(strong)) == len(strong)


@pytest.mark.parametrize("batch", [1, 3, 10])
def test_a_scan_does_not_depend_on_the_batch(tiny, found, batch):
    other = run(tiny, batch=batch)
    for field in dataclasses.fields(FeatureStatistics):
        a, b = (np.asarray(getattr(s, field.name), np.float64) for s in (found, other))
        exact = field.name in ("density", "top_context", "top_position", "label_tokens", "tokens")
        if field.name.startswith(("top", "feature")):  # ties, and rounding divided by rounding
            a, b = (np.delete(x, CONSTANT, axis=x.shape.index(N_FEATURES)) for x in (a, b))
        np.testing.assert_allclose(a, b, rtol=0, atol=0 if exact else 2e-5, err_msg=field.name)


def test_advance_is_told_of_every_context_once(tiny):
    done = []
    run(tiny, advance=done.append)
    assert done == [4, 4, 2]


def scan_with(correlation, tokens=(5, 5)) -> FeatureStatistics:
    values = np.array(correlation, np.float64)
    nothing = np.zeros((0, 0))
    counts = np.asarray(tokens, np.float64)
    values[counts == 0] = math.nan
    return FeatureStatistics(nothing, nothing, nothing, nothing, values, values[:, ::-1], counts, int(counts.sum()))


def test_the_category_table_chooses_on_one_scan_and_measures_on_the_other():
    chosen, measured = scan_with([[0.1, 0.9, 0.2], [0.7, 0.3, 0.6]]), scan_with([[0.8, 0.5, 0.95], [0.6, 0.9, 0.4]])
    assert category_table(["poetry", "code"], chosen, measured) == [
        Category("code", tokens=5, feature=0, feature_correlation=0.6, neuron=2, neuron_correlation=0.6),
        Category("poetry", tokens=5, feature=1, feature_correlation=0.5, neuron=1, neuron_correlation=0.5),
    ]


@pytest.mark.parametrize(("there", "here"), [((0, 5), (5, 5)), ((5, 5), (0, 5))])
def test_a_label_without_tokens_in_either_scan_is_left_out_of_the_table(there, here):
    values = [[0.5], [0.5]]
    rows = category_table(["a", "b"], scan_with(values, there), scan_with(values, here))
    assert [row.label for row in rows] == ["b"]


def test_a_label_of_every_token_is_left_out_of_the_table():
    """Nothing correlates with it, and NaN is no JSON."""
    only = scan_with([[math.nan, math.nan], [0.4, 0.5]])
    rows = category_table(["all", "b"], only, only)
    assert [row.label for row in rows] == ["b"] and json.dumps(to_dict(rows), allow_nan=False)


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
