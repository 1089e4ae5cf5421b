"""Planted features are found for what they are; sets whose features go below zero; what is refused."""

from __future__ import annotations

import dataclasses
import functools
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.analysis import feature_sets
from monosem_jax.analysis.feature_sets import FeatureSet, Units
from monosem_jax.analysis.health import health
from monosem_jax.analysis.scan.config import ScanConfig, contexts_to_read
from monosem_jax.analysis.scan.entry import scan
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.published import PublishedSAE
from tests.analysis.scan.material import BOS, LABELS, N_CONTEXTS, Proxies, contexts, features, real, scanned, tapped
from tests.conftest import TINY, build_lively
from tests.engine import relu_sae

V = 40
DENSE, SILENT, RARE, WORD, IN_CONTEXT, TWIN = range(6)
WORD_TOKEN, CONTEXT_TOKEN, BEFORE, RARE_TOKEN = 7, 5, 9, 33


class Lookup(nn.Module):
    """A model whose activations are known: the token and the one before it, as one-hot vectors."""

    @property
    def config(self):
        return types.SimpleNamespace(vocab_size=V)

    @property
    def sites(self) -> tuple[str, ...]:
        return ("seen",)

    def width(self, site: str) -> int:
        return 2 * V

    def to_acts(self, tokens, site):
        before = jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
        return None, jnp.concatenate([jax.nn.one_hot(t, V) for t in (tokens, before)], axis=-1)


@functools.cache
def text() -> np.ndarray:
    """600 contexts of 16; the rare token occurs three times."""
    tokens = np.random.default_rng(0).integers(1, 30, size=(600, 16)).astype(np.int32)
    tokens[:, 0] = BOS
    tokens[[5, 300, 599], [1, 8, 15]] = RARE_TOKEN
    return tokens


@functools.cache
def planted() -> FeatureSet:
    """Each fires on known tokens: at 1, the word at 1.5 after the token 1, the dense one at 1 + id/100."""
    w = np.zeros((2 * V, 6), np.float32)
    b = np.zeros(6, np.float32)
    w[:V, DENSE] = 1 + np.arange(V) / 100
    b[SILENT] = -1
    w[RARE_TOKEN, RARE] = 1
    w[WORD_TOKEN, [WORD, TWIN]] = 1.5
    w[V + 1, [WORD, TWIN]] = 0.5
    b[[WORD, TWIN]] = -0.5
    w[CONTEXT_TOKEN, IN_CONTEXT] = w[V + BEFORE, IN_CONTEXT] = 1
    b[IN_CONTEXT] = -1
    d = np.random.default_rng(1).normal(size=(6, 2 * V)).astype(np.float32)
    d[TWIN] = 3 * d[WORD]
    p = {"W_enc": w, "b_enc": b, "W_dec": d, "b_dec": np.zeros(2 * V, np.float32)}
    return feature_sets.dictionary(
        "planted", TappedModel(Lookup(), {}, "seen", BOS), PublishedSAE(relu_sae(2 * V, 6), p)
    )


@functools.cache
def read():
    config = ScanConfig(batch_contexts=64, per_interval=8, neighbours=2, random_tokens=5)
    return scan(planted(), text(), (text() == WORD_TOKEN).astype(int) - 1, labels=("the word",), config=config)


def places(token: int, before: int | None = None) -> set[tuple[int, int]]:
    hit = text() == token
    if before is not None:
        hit[:, 1:] &= text()[:, :-1] == before
        hit[:, 0] = False
    return set(zip(*(x.tolist() for x in np.nonzero(hit)), strict=True))


def test_densities_are_those_that_were_planted():
    n = (text() != BOS).sum()
    expected = [n, 0, 3, len(places(WORD_TOKEN)), len(places(CONTEXT_TOKEN, BEFORE)), len(places(WORD_TOKEN))]
    assert list(read().fired) == expected and read().tokens == n
    got = health(read(), planted().directions)
    assert got["dead"] == 1 and got["twins"] == 2 and got["l0"] == pytest.approx(sum(expected) / n)
    assert got["l0_share_above_10pct"] == pytest.approx(n / sum(expected))


def test_the_tokens_on_which_they_fire_are_the_planted_ones():
    s = read()
    for feature, token in ((RARE, RARE_TOKEN), (WORD, WORD_TOKEN), (IN_CONTEXT, CONTEXT_TOKEN)):
        assert s.token_id[feature, 0] == token and s.token_fired[feature, 0] == s.fired[feature]
        assert (s.token_id[feature, 1:] == -1).all()
    share = s.token_fired[IN_CONTEXT, 0] / s.token_occurrences[CONTEXT_TOKEN]
    assert share == len(places(CONTEXT_TOKEN, BEFORE)) / len(places(CONTEXT_TOKEN)) < 0.1


def test_examples_lie_where_features_fire():
    s = read()
    rare = set(zip(s.top_context[RARE].tolist(), s.top_position[RARE].tolist(), strict=True)) - {(-1, -1)}
    assert rare == places(RARE_TOKEN)
    for feature, hits in ((WORD, places(WORD_TOKEN)), (IN_CONTEXT, places(CONTEXT_TOKEN, BEFORE))):
        r = s.intervals[11]
        drawn = set(zip(r.context[feature].ravel().tolist(), r.position[feature].ravel().tolist(), strict=True))
        assert drawn - {(-1, -1)} <= hits
    # 1 and 1.5 after the token 1: the eighth and the last of 11 intervals of (0, 1.5]
    assert np.flatnonzero(s.intervals[11].count[WORD]).tolist() == [7, 10]
    assert s.intervals[11].count[WORD, 10] == len(places(WORD_TOKEN, 1))


def test_correlations_are_those_that_were_planted():
    s, n = read(), read().neighbours["planted"]
    assert s.label_correlation[0, WORD] > 0.9 and abs(s.label_correlation[0, RARE]) < 0.01
    assert n.index[WORD, 0] == n.nearest[WORD, 0] == TWIN and n.index[TWIN, 0] == WORD
    assert n.correlation[WORD, 0] == pytest.approx(1) and n.cosine[WORD, 0] == pytest.approx(1)
    assert abs(n.correlation[IN_CONTEXT, 0]) < 0.1


def test_labels_in_random_order_find_nothing():
    shuffled = np.random.default_rng(2).permutation((text() == WORD_TOKEN).ravel()).reshape(text().shape)
    s = scan(planted(), text(), shuffled.astype(int) - 1, labels=("the word",), config=ScanConfig(passes=1))
    assert np.abs(s.label_correlation).max() < 0.05


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["n"])
@dataclasses.dataclass(frozen=True)
class Signed:
    """Coordinates that fire on both sides of zero, as those of abs_topk do."""

    n: int

    @property
    def n_features(self) -> int:
        return self.n

    def encode(self, rows):
        return jnp.where(jnp.abs(rows[..., : self.n]) > 0.5, rows[..., : self.n], 0)

    def active(self, f):
        return f != 0


@pytest.mark.parametrize("kind", ["signed features", "neurons below zero"])
def test_activations_below_zero(kind):
    """They count for sums and correlations; as firings only where the set says so; never for intervals."""
    model = TappedModel(*build_lively(TINY), "resid_mid.0", BOS)
    encoder = Signed(16) if kind == "signed features" else Units(0, 16)
    made = FeatureSet("x", model, encoder, np.eye(16, dtype=np.float32))
    s = scanned(made, more={"against": (), "proxies": Proxies()})
    f = np.asarray(made.activations(contexts()), np.float64)[real()]
    fires = f != 0 if kind == "signed features" else f > 0
    assert (f < 0).any() and (s.fired == fires.sum(axis=0)).all()
    np.testing.assert_allclose(s.total, f.sum(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(s.square, np.square(f).sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(s.mean, (f * fires).sum(axis=0) / np.maximum(fires.sum(axis=0), 1), atol=1e-5)
    np.testing.assert_allclose(s.maximum, np.maximum(f.max(axis=0), 0), rtol=1e-5)
    assert (s.log_counts.sum(axis=1) == (f > 0).sum(axis=0)).all()
    assert (s.intervals[12].count.sum(axis=1) == (f > 0).sum(axis=0)).all()
    assert s.proxies is not None
    np.testing.assert_allclose(s.proxies.hit_value, (Proxies().all[:, real()] > 0) @ np.maximum(f, 0), rtol=1e-4)
    exact = np.corrcoef(f.T) - 2 * np.eye(16)
    assert (s.neighbours["x"].index[:, 0] == exact.argmax(axis=1)).all()
    np.testing.assert_allclose(s.neighbours["x"].correlation[:, 0], exact.max(axis=1), atol=1e-5)


def test_the_log_has_a_bin_below_and_above_its_edges():
    from monosem_jax.analysis.scan.moments import log_bins
    from monosem_jax.analysis.scan.result import LOG_EDGES

    edges = LOG_EDGES.astype(np.float32)
    values = np.concatenate([edges, np.nextafter(edges, np.float32(0)), np.nextafter(edges, np.float32(np.inf))])
    values = np.concatenate([values, np.asarray([1e-45, 1e-40, 3e38], np.float32)])
    np.testing.assert_array_equal(log_bins(values), np.searchsorted(LOG_EDGES, values.astype(np.float64)))


def test_a_scan_of_fewer_contexts_than_a_batch_and_than_samples():
    one = scan(features(), contexts()[:1], config=ScanConfig(random_tokens=64))
    assert one.contexts == 1 and len(one.random_context) == one.tokens == 11
    assert (one.top_context[:, 1:] == -1).all() and one.labels == () and one.label_correlation.shape == (0, 20)


def test_contexts_to_read():
    assert contexts_to_read(contexts(), ScanConfig()) == 2 * N_CONTEXTS
    assert contexts_to_read(contexts(), ScanConfig(passes=1)) == N_CONTEXTS


class Wrong(Proxies):
    def __init__(self, values):
        super().__init__()
        self.wrong = values

    def values(self, first_context, stop_context):
        return self.wrong(super().values(first_context, stop_context).copy())


def with_nan(values):
    values[1, 0, 3] = np.nan
    return values


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"config": ScanConfig(batch_contexts=0)}, "scan: batch_contexts is 0: expected 1 or more"),
        ({"config": ScanConfig(passes=3)}, "scan: passes is 3: expected 1 or 2"),
        ({"tokens": contexts() + 40}, r"scan was given token \d+: expected 0 to 39"),
        ({"tokens": contexts()[:0]}, "scan was given no contexts: expected 1 or more"),
        ({"tokens": contexts() * 0}, "scan was given no tokens but BOS"),
        ({"token_labels": np.zeros((3, 12), int)}, r"array of shape \[3, 12\]: expected \[50, 12\]"),
        ({"token_labels": np.full((50, 12), 4)}, "scan was given label 4, but 4 labels"),
        ({"against": (features(),)}, "sets are named features, features: expected different names"),
        ({"against": (planted(),)}, "are of models with other tokenizers"),
        ({"proxies": Wrong(lambda v: v[:2])}, r"proxies gave values of shape \[2, 32, 12\]: expected \[3, 32, 12\]"),
        ({"proxies": Wrong(with_nan)}, "proxy 'common' is not finite on 1 tokens"),
    ],
)
def test_what_cannot_be_scanned_is_refused_in_one_line(given, why):
    given = {"tokens": contexts(), "labels": LABELS, **given}
    if "against" in given and given["against"][0].name == "planted":
        other = dataclasses.replace(tapped(), bos=3)
        given["against"] = (dataclasses.replace(features(), name="planted", tapped=other),)
    with pytest.raises(BadInput, match=why):
        scan(features(), given.pop("tokens"), given.pop("token_labels", None), **given)


def test_parameters_that_are_not_finite_are_named():
    p = dict(features().encoder.params)
    p["b_enc"] = np.full(20, np.inf, np.float32)
    broken = feature_sets.dictionary("broken", tapped(), PublishedSAE(relu_sae(32, 20), p))
    with pytest.raises(BadInput, match="activations of broken are not finite"):
        scan(broken, contexts())
