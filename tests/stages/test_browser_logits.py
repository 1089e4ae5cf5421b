"""Histograms of logit weights for the browser, against planted directions and float64."""

from __future__ import annotations

import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.analysis.logit_weights import logit_weights, usual_tokens
from monosem_jax.stages import browser_logits
from monosem_jax.stages.browser_logits import BINS, logit_histograms
from tests import planted


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    planted.write_runs(root)
    return mj.load_sae(root / "sae")


def test_every_weight_is_counted_in_its_bin(dictionary):
    absent: dict[str, str] = {}
    made = logit_histograms(dictionary, absent)
    assert made is not None and absent == {}
    features = mj.feature_set(dictionary)
    text = dictionary.transformer.text
    usual = usual_tokens(np.bincount(np.asarray(text.tokens("train")).ravel()), [text.bos])
    weights = logit_weights(features.tapped, *_of(features), usual).astype(np.float64)
    found = made(range(features.n_features))
    assert [sum(h["counts"]) for h in found] == [len(usual)] * features.n_features
    for h, w in zip(found, weights, strict=True):
        low, high = w.min(), w.max() if w.max() > w.min() else w.min() + 1
        assert (h["low"], h["high"]) == pytest.approx((low, high), abs=1e-5)
        # Weights on the border of two bins may be rounded to either.
        edges = np.linspace(low, high, BINS + 1)[1:-1]
        cumulative = np.cumsum(h["counts"])[:-1]
        slack = 1e-5 * (high - low)
        assert np.all(cumulative >= (w[:, None] <= edges - slack).sum(axis=0))
        assert np.all(cumulative <= (w[:, None] <= edges + slack).sum(axis=0))


def _of(features):
    site, columns = features.effect_site
    return site, features.directions[:, columns]


def test_features_are_the_same_alone_and_together(dictionary):
    made = logit_histograms(dictionary, {})
    assert made([3]) == [made(range(5))[3]]


def test_tokens_are_counted_in_blocks(dictionary, monkeypatch):
    text = dictionary.transformer.text
    expected = np.bincount(np.asarray(text.tokens("train")).ravel(), minlength=200)
    monkeypatch.setattr(browser_logits, "BLOCK", 3 * text.tokens("train").shape[1])
    np.testing.assert_array_equal(browser_logits._occurrences(text, 200), expected)


def test_what_has_no_linear_path_says_why(dictionary, monkeypatch):
    def refuse(*args):
        raise browser_logits.BadInput("logit weights at mlp_in.0: the MLP after it is not linear")

    monkeypatch.setattr(browser_logits, "logit_weights", refuse)
    absent: dict[str, str] = {}
    assert logit_histograms(dictionary, absent) is None
    assert "the MLP after it is not linear" in absent["logits"]
