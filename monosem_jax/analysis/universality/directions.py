"""Cosines of the directions of two sets of one space, plain and as the data see them.

A dictionary is fitted on rows whose covariance C has few large eigenvalues. What a direction is where the rows hardly
vary costs almost no loss, so two seeds differ there, and the plain cosine counts it like the rest. The cosine in the
metric of the data, d C e / √(d C d · e C e), is the correlation of x · d and x · e over rows x.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.runtime.ambient import pinned
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.text.batches import context_batches

BLOCK = 1 << 22  # cosines at a time


@dataclasses.dataclass(frozen=True)
class Cosines:
    """[F] for each feature of a set, NaN for one without a match or without a direction.

    `largest`: the largest cosine of its direction with any of the other set (their mean is MMCS); `matched`: with that
    of its match; `data`: with that of its match, in the metric of the covariance of the rows; `encoder`: of the
    encoders' columns, NaN for sets without them.
    """

    largest: Float[np.ndarray, " F"]
    matched: Float[np.ndarray, " F"]
    data: Float[np.ndarray, " F"]
    encoder: Float[np.ndarray, " F"]


@pinned()
def covariance(features: FeatureSet, tokens: Int[np.ndarray, "C T"], *, batch: int = 32) -> Float[np.ndarray, "M M"]:
    """The covariance of the activations that a set reconstructs, over contexts [C,T] (BOS left out), in float64."""
    tapped, m = features.tapped.on(None), features.effect_directions.shape[1]
    total, square, n = np.zeros(m), np.zeros((m, m)), 0
    for t, weight in context_batches(np.asarray(tokens), batch):
        rows = np.asarray(tapped.rows(t), np.float64)[..., -m:]
        rows = rows[(np.asarray(t) != tapped.bos) & (np.asarray(weight) > 0)[:, None]]
        total, square, n = total + rows.sum(axis=0), square + rows.T @ rows, n + len(rows)
    return square / n - np.outer(total / n, total / n)


def cosines(
    a: FeatureSet,
    b: FeatureSet,
    matched: Int[np.ndarray, " F"],
    c: Float[np.ndarray, "M M"],
    alive: np.ndarray | None = None,
) -> Cosines:
    """The cosines of two sets of one space. `matched` [F]: a feature of `b` for each of `a`, -1: none. `c`: see
    `covariance`. `alive` [G]: which features of `b` count for `largest`; all, if None."""
    d, e = (np.asarray(s.effect_directions, np.float64) for s in (a, b))
    of, known = np.maximum(matched, 0), np.asarray(matched) >= 0
    encoders = [_encoder(s) for s in (a, b)]
    none = np.full(len(d), np.nan)
    encoder = none if encoders[0] is None or encoders[1] is None else _rows(encoders[0], encoders[1][of])
    values, vectors = np.linalg.eigh(c)
    half = vectors * np.sqrt(np.maximum(values, 0))  # C = half halfᵀ
    return Cosines(
        np.where(known, _largest(d, e if alive is None else e[alive]), np.nan),
        np.where(known, _rows(d, e[of]), np.nan),
        np.where(known, _rows(d @ half, e[of] @ half), np.nan),
        np.where(known, encoder, np.nan),
    )


def _rows(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.einsum("fm,fm->f", x, y) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))


def _largest(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    unit = [v / np.where((n := np.linalg.norm(v, axis=1, keepdims=True)) > 0, n, 1) for v in (x, y)]
    size = max(1, BLOCK // max(len(y), 1))
    return np.concatenate([(unit[0][i : i + size] @ unit[1].T).max(axis=1) for i in range(0, len(x), size)])


def _encoder(features: FeatureSet) -> np.ndarray | None:
    """[F,W] the encoder's columns."""
    if not isinstance(features.encoder, PublishedSAE) or "W_enc" not in features.encoder.params:
        return None
    return np.asarray(features.encoder.params["W_enc"], np.float64).T
