"""Histograms of the logit weights of features, for the browser: records hold their ends and their moments only."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.logit_weights import logit_weights, usual_tokens
from monosem_jax.load import feature_set
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.run import SaeRun
from monosem_jax.text.directory import Text

BINS = 48
WEIGHTS = 1 << 21  # that are computed at a time: products of few rows are slow
BLOCK = 1 << 22  # tokens of the training text that are counted at a time

LogitHistograms = Callable[[Sequence[int]], list[dict[str, Any]]]


def logit_histograms(dictionary: SaeRun, absent: dict[str, str]) -> LogitHistograms | None:
    """The function from features to the histograms of their logit weights over the tokens that are not rare, each
    {"low", "high", "counts" [BINS]}: bins of equal width.

    None where there are none, and why in `absent["logits"]`.
    """
    try:
        features = feature_set(dictionary)
        text = dictionary.transformer.text
        tokens = usual_tokens(_occurrences(text, features.tapped.model.config.vocab_size), [text.bos])
        histograms(features, tokens, [0])
    except (BadInput, OSError) as e:
        absent["logits"] = f"no histograms of logit weights: {e}"
        return None
    size = max(WEIGHTS // len(tokens), 1)

    @functools.lru_cache(maxsize=1)
    def block(number: int) -> list[dict[str, Any]]:
        return histograms(features, tokens, np.arange(number * size, min((number + 1) * size, features.n_features)))

    return lambda chosen: [block(i // size)[i % size] for i in chosen]


def histograms(features: FeatureSet, tokens: np.ndarray, chosen: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
    """The histograms of the logit weights of the features `chosen` over `tokens` [n]."""
    site, columns = features.effect_site
    weights = logit_weights(features.tapped, site, features.directions[np.asarray(chosen)][:, columns], tokens)
    low, high = weights.min(axis=1, keepdims=True), weights.max(axis=1, keepdims=True)
    high = np.where(high > low, high, low + 1)
    bins = np.clip(np.ceil((weights - low) * (BINS / (high - low))).astype(np.int32) - 1, 0, BINS - 1)
    rows = np.arange(len(bins), dtype=np.int32)[:, None] * BINS
    counts = np.bincount((bins + rows).ravel(), minlength=BINS * len(bins)).reshape(len(bins), BINS)
    return [
        {"low": round(float(a), 5), "high": round(float(b), 5), "counts": n.tolist()}
        for a, b, n in zip(low[:, 0], high[:, 0], counts, strict=True)
    ]


def _occurrences(text: Text, vocabulary: int) -> np.ndarray:
    """[V] how often each token occurs in the training text, a block in memory at a time."""
    tokens = text.tokens("train")
    size = max(BLOCK // max(tokens.shape[1], 1), 1)
    counts = np.zeros(vocabulary, np.int64)
    for start in range(0, len(tokens), size):
        counts += np.bincount(np.asarray(tokens[start : start + size]).ravel(), minlength=vocabulary)
    return counts
