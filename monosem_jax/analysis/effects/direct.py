"""Whether logit weights say what happens: features are held at a value, and the change of the logits is measured."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from monosem_jax.analysis.effects.hold import PAIRS, Floats, Ints, hold
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.runtime.arguments import check_shape


@dataclasses.dataclass(frozen=True)
class DirectTest:
    """`correlation` [n]: Pearson over the tokens of the vocabulary between logit weights and measured changes (NaN
    where either does not vary). `slope` [n]: the measured change per unit of weight times shift, which is one over the
    norm that the final normalisation divides by. `tokens`: positions over which changes are means."""

    correlation: np.ndarray
    slope: np.ndarray
    tokens: int


def direct_test(
    of: FeatureSet,
    contexts: Int[np.ndarray, "C T"],
    features: Ints,
    values: Floats,
    weights: Float[np.ndarray, "n v"],
    tokens: Int[np.ndarray, " v"],
    *,
    batch: int = PAIRS,
) -> DirectTest:
    """Holds features[j] at values[j] on all `contexts`, and compares the mean change of the logits of `tokens` [v] with
    the logit weights `weights` [n,v] of those tokens. Raises BadInput on another number of weights, and like `hold`."""
    n, c = len(features), len(contexts)
    check_shape("direct_test: weights", np.shape(weights), n, len(tokens))
    found = hold(
        of, contexts, np.tile(np.arange(c), n), np.repeat(features, c), np.repeat(values, c),
        mean_logits=True, batch=batch,
    )  # fmt: skip
    real = np.asarray(contexts) != of.tapped.bos
    share = real.sum(axis=1) / max(int(real.sum()), 1)  # of each context in all positions
    assert found.mean_logit_change is not None
    v = found.mean_logit_change.shape[1]
    changes = found.mean_logit_change.reshape(n, c, v)[..., np.asarray(tokens)].astype(np.float64)
    change = np.einsum("nCv,C->nv", changes, share)
    away = np.asarray(values, np.float64)[:, None, None] - found.activation.reshape(n, *np.shape(contexts))
    shift = np.einsum("nCT,CT->n", away, real.astype(np.float64)) / max(int(real.sum()), 1)
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (np.asarray(weights, np.float64), change))
    with np.errstate(divide="ignore", invalid="ignore"):
        together = np.sum(a * b, axis=1)
        correlation = together / np.sqrt(np.sum(a * a, axis=1) * np.sum(b * b, axis=1))
        slope = together / (np.sum(a * a, axis=1) * shift)
    return DirectTest(correlation, slope, int(real.sum()))
