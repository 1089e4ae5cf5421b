"""Sources of features against float64 sums in NumPy, path by path, and against planted truth."""

from __future__ import annotations

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.sources.attribution import attribute, attributions
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures
from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.architectures.gated import GatedConfig
from monosem_jax.sae.architectures.jumprelu import JumpReluConfig
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.architectures.topk import TopKConfig
from monosem_jax.sae.published import PublishedSAE
from tests import planted
from tests.conftest import TINY, build_lively

SITE, BOS, N, LENGTH = "mlp_hidden.0", 0, 6, 7
WIDTH = TINY.d_model // TINY.n_heads


@functools.cache
def tapped(site: str = SITE, layers: int = 1) -> TappedModel:
    """No bias and no scale of LayerNorm is trivial."""
    model, params = build_lively(dataclasses.replace(TINY, n_layers=layers))
    rng = np.random.default_rng(4)
    params = jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype("f4") if p.ndim == 1 else p, params)
    return TappedModel(model, params, site, BOS)


def tokens(n: int = 3) -> np.ndarray:
    found = np.random.default_rng(1).integers(1, TINY.vocab_size, size=(n, LENGTH)).astype(np.int32)
    found[:, 0] = BOS
    return found


def dictionary(config, site: str = SITE, width: int = TINY.d_mlp, parts: tuple[int, ...] = (), **more) -> FeatureSet:
    sae = architectures.build(config, width, jnp.float32, parts)
    rng = np.random.default_rng(2)
    shapes = {"W_enc": (width, N), "b_enc": (N,), "W_dec": (N, width), "b_dec": (width,)}
    params = {name: rng.normal(size=shape).astype("f4") / 4 for name, shape in shapes.items()}
    params |= {name: rng.normal(size=N).astype("f4") ** 2 / 4 for name in more}
    return feature_sets.dictionary("features", tapped(site), PublishedSAE(sae, params))


def norm_parts(p, x):
    """(what LayerNorm divides by, held; the function that it then is)."""
    held = np.sqrt(np.var(x, axis=-1, keepdims=True) + 1e-6)
    return lambda y, bias=True: (y - y.mean(axis=-1, keepdims=True)) / held * p["scale"] + bias * p["bias"]


def held_model(params, context, t):
    """(embedding of token t for the direct path, embeddings [H,S,D] for each head) -> the hidden layer on token t in
    float64, with patterns, LayerNorm's divisors and gates of the intact context; and those embeddings."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    b, x = p["blocks_0"], p["embed"]["embedding"][context]
    norm = norm_parts(b["ln_attn"], x)
    w = np.split(b["qkv"]["kernel"], 3, axis=1)
    q, k = ((norm(x) @ m).reshape(len(x), TINY.n_heads, WIDTH) for m in w[:2])
    frequency = 10_000.0 ** -(np.arange(WIDTH // 2) / (WIDTH // 2))
    turn = np.exp(1j * np.arange(len(x))[:, None, None] * frequency)
    q, k = ((a[..., : WIDTH // 2] + 1j * a[..., WIDTH // 2 :]) * turn for a in (q, k))
    score = np.real(np.einsum("hk,shk->hs", q[t], np.conj(k[: t + 1]))) / np.sqrt(WIDTH)
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)

    def attention(each):
        v = (norm(each)[:, : t + 1] @ w[2]).reshape(TINY.n_heads, t + 1, TINY.n_heads, WIDTH)
        mixed = np.stack([weight[h] @ v[h, :, h] for h in range(TINY.n_heads)])
        return mixed.reshape(-1) @ b["attn_proj"]["kernel"]

    every = np.repeat(x[None], TINY.n_heads, axis=0)
    resid = x[t] + attention(every)
    mlp = norm_parts(b["ln_mlp"], resid)
    hidden = mlp(resid) @ b["up"]["kernel"] + b["up"]["bias"]

    def run(direct, each):
        up = mlp(direct + attention(each)) @ b["up"]["kernel"] + b["up"]["bias"]
        return np.where(hidden > 0, up, 0)

    return run, x[t], every


CONFIGS = {
    "relu": (ReluConfig(n_features=N), ()),
    "topk": (TopKConfig(n_features=N, k=2), ()),
    "jumprelu": (JumpReluConfig(n_features=N), ("threshold",)),
    "gated": (GatedConfig(n_features=N), ("b_gate", "r_mag")),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_path_is_what_the_activation_loses_without_it(name):
    config, more = CONFIGS[name]
    of = dictionary(config, **dict.fromkeys(more))
    p = {key: np.asarray(value, np.float64) for key, value in of.encoder.params.items()}
    pairs = [(0, 0, 0), (3, 1, 4), (5, 2, 6), (2, 2, 6)]
    feature, context, position = np.transpose(pairs)
    found = attribute(of, tokens(), feature, context, position)
    assert found.attention.shape == (4, TINY.n_heads, LENGTH)
    for n, (i, c, t) in enumerate(pairs):
        run, direct, each = held_model(of.tapped.params, tokens()[c], t)
        gain = np.exp(p["r_mag"][i]) if name == "gated" else 1.0

        def before_threshold(direct, each, i=i, gain=gain, run=run):
            return gain * (run(direct, each) - p["b_dec"]) @ p["W_enc"][:, i] + p["b_enc"][i]

        whole = before_threshold(direct, each)
        assert found.total[n] == pytest.approx(whole, abs=2e-5)
        assert found.bias[n] == pytest.approx(before_threshold(0 * direct, 0 * each), abs=2e-5)
        assert found.direct[n] == pytest.approx(whole - before_threshold(0 * direct, each), abs=2e-5)
        for h in range(TINY.n_heads):
            for s in range(LENGTH):
                without = each.copy()
                without[h, s] = 0
                assert found.attention[n, h, s] == pytest.approx(whole - before_threshold(direct, without), abs=2e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_sum_is_the_activation_where_a_feature_fires(name):
    config, more = CONFIGS[name]
    of = dictionary(config, **dict.fromkeys(more))
    f = of.activations(tokens(20))
    context, position, feature = np.nonzero(f > 0)
    assert len(feature) > 50
    found = attribute(of, tokens(20), feature, context, position, batch=3)
    np.testing.assert_allclose(found.total, f[context, position, feature], rtol=1e-4, atol=2e-5)
    assert (np.abs(found.attention).sum(axis=(1, 2)) > 0).all() and (found.direct != 0).all()


@pytest.mark.parametrize("site", ["resid_pre.0", "attn_out.0", "resid_mid.0", "mlp_in.0", "mlp_out.0"])
def test_other_sites_of_the_block_are_linear_too(site):
    cut = tapped(site)
    x = np.asarray(cut.rows(tokens()))
    units = feature_sets.neurons(cut)
    feature, context, position = np.arange(8), np.arange(8) % 3, np.arange(8) % LENGTH
    found = attribute(units, tokens(), feature, context, position)
    np.testing.assert_allclose(found.total, x[context, position, feature], rtol=1e-4, atol=2e-5)
    assert np.any(found.direct != 0) == (site != "attn_out.0")
    assert np.any(found.attention != 0) == (site != "resid_pre.0")


def test_neurons_and_random_directions_have_sources_and_so_have_several_sites():
    cut = tapped()
    noise = feature_sets.random_directions(cut, 4, np.zeros(TINY.d_mlp), np.ones(TINY.d_mlp))
    both = tapped("mlp_in.0+mlp_hidden.0")
    widths = (TINY.d_model, TINY.d_mlp)
    cross = dictionary(CrosscoderConfig(n_features=N), both.site, sum(widths), widths)
    for of in (feature_sets.neurons(cut), noise, cross):
        f = of.activations(tokens(20))
        context, position, feature = np.nonzero(f > 0)
        assert len(feature)
        found = attribute(of, tokens(20), feature, context, position)
        np.testing.assert_allclose(found.total, f[context, position, feature], rtol=1e-4, atol=2e-5)


def test_blocks_do_not_change_the_numbers(monkeypatch):
    of = dictionary(ReluConfig(n_features=N))
    pairs = np.arange(30) % N, np.arange(30) % 3, np.arange(30) % LENGTH
    whole = attribute(of, tokens(), *pairs)
    monkeypatch.setattr("monosem_jax.analysis.sources.attribution.PAIR_BYTES", 4 * LENGTH * TINY.d_model * 4)
    seen = []
    parts = list(attributions(of, tokens(), *pairs, batch=2, advance=seen.append))
    assert len(parts) > 5 and sum(seen) == 30 and max(seen) <= 4
    for part in parts:
        np.testing.assert_allclose(part.attention, whole.attention[part.pair], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(part.bias, whole.bias[part.pair], rtol=1e-5, atol=1e-6)


def test_the_marker_is_found_as_the_source_of_the_planted_feature():
    """`context` fires on AMBIGUOUS because head 0 brings MARKER; `set` fires because of the token itself."""
    made, contexts = planted.planted(), planted.documents(40)[0]
    f = made.features.activations(contexts)
    for i in (planted.CONTEXT_FEATURE, planted.SET_FEATURE):
        context, position = np.nonzero(f[..., i] > 0.1)
        assert len(context) > 5
        found = attribute(made.features, contexts, np.full(len(context), i), context, position)
        marker = np.where(contexts[context] == planted.MARKER, found.attention[:, 0], 0).sum(axis=1)
        share = (marker if i == planted.CONTEXT_FEATURE else found.direct) / found.total
        np.testing.assert_allclose(share, 1, atol=0.05)
        assert np.abs(found.attention[:, 1]).max() < 0.05


def test_what_has_no_linear_path_is_refused_in_a_line():
    later = tapped("mlp_hidden.1", 2)
    with pytest.raises(BadInput, match=r"mlp_hidden\.1: the MLP of block 0 lies between it and the tokens"):
        attribute(feature_sets.neurons(later), tokens(), [0], [0], [0])
    other = dataclasses.replace(
        feature_sets.neurons(tapped()), tapped=dataclasses.replace(tapped(), model=types.SimpleNamespace(config=TINY))
    )
    with pytest.raises(BadInput, match=r"neurons: a model of architecture 'transformer' does not say what tokens"):
        attribute(other, tokens(), [0], [0], [0])
    of = dictionary(ReluConfig(n_features=N))
    for pair, line in (
        (([N], [0], [0]), r"feature 6: expected 0 to 5"),
        (([0], [3], [0]), r"context 3"),
        (([0], [0], [-1]), r"position -1"),
        (([0, 1], [0], [0]), r"attribute: contexts"),
        (([], [], []), r"was given no features"),
    ):
        with pytest.raises(BadInput, match=line):
            attribute(of, tokens(), *pair)
