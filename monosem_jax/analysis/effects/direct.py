"""Whether logit weights say what happens: features are held at a value, and the change of the logits is measured.

Logit weights are the direct path alone (`monosem_jax.analysis.logit_weights`). In a deep model most of what a feature
does goes through later attention and MLPs, which an intervention includes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from monosem_jax.analysis.effects.hold import PAIRS, Floats, Ints, hold
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.runtime.arguments import check_shape
from monosem_jax.runtime.errors import BadInput

BLOCK_BYTES = 1 << 28  # of the changes of all logits, a row for each feature and context


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
    real = np.asarray(contexts) != of.tapped.bos
    share = real.sum(axis=1) / max(int(real.sum()), 1)  # of each context in all positions
    change, shift = np.zeros((n, len(tokens))), np.zeros(n)
    size = max(1, BLOCK_BYTES // (12 * max(c, 1) * of.tapped.model.config.vocab_size))
    for start in range(0, n, size):
        part = slice(start, start + size)
        some = np.asarray(features)[part]
        level = np.asarray(values, np.float64)[part]
        found = hold(
            of, contexts, np.tile(np.arange(c), len(some)), np.repeat(some, c), np.repeat(level, c),
            mean_logits=True, batch=batch,
        )  # fmt: skip
        assert found.mean_logit_change is not None
        changes = found.mean_logit_change.reshape(len(some), c, -1)[..., np.asarray(tokens)].astype(np.float64)
        change[part] = np.einsum("nCv,C->nv", changes, share)
        away = level[:, None, None] - found.activation.reshape(len(some), *np.shape(contexts))
        shift[part] = np.einsum("nCT,CT->n", away, real.astype(np.float64)) / max(int(real.sum()), 1)
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (np.asarray(weights, np.float64), change))
    with np.errstate(divide="ignore", invalid="ignore"):
        together = np.sum(a * b, axis=1)
        correlation = together / np.sqrt(np.sum(a * a, axis=1) * np.sum(b * b, axis=1))
        slope = together / (np.sum(a * a, axis=1) * shift)
    return DirectTest(correlation, slope, int(real.sum()))


@dataclasses.dataclass(frozen=True)
class LogitEffects:
    """What n features add to the logits of the next token where they fire, measured by an intervention.

    `weights` [n,v]: the mean change per unit of activation, shifted so that its median over the tokens is 0, as logit
    weights are; 0 where a feature never fires. `activation` [n]: its mean activation at the `places` [n] on which it
    fires.
    """

    weights: np.ndarray
    activation: np.ndarray
    places: np.ndarray

    def correlation(self, weights: Float[np.ndarray, "n v"]) -> Float[np.ndarray, " n"]:
        """Pearson over the tokens with other weights, such as those of the direct path; NaN where one is constant."""
        a, b = (x - x.mean(axis=1, keepdims=True) for x in (self.weights, np.asarray(weights, np.float64)))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sum(a * b, axis=1) / np.sqrt(np.sum(a * a, axis=1) * np.sum(b * b, axis=1))


def logit_effects(
    of: FeatureSet,
    contexts: Int[np.ndarray, "C T"],
    features: Ints,
    chosen: Sequence[Ints] | np.ndarray,
    tokens: Int[np.ndarray, " v"],
    *,
    batch: int = PAIRS,
    advance: Callable[[int], Any] = lambda n: None,
) -> LogitEffects:
    """The logit weights of features by effect: through everything that follows the site.

    The intervention is the paper's ablation (section "Feature Ablations"): on every token of a context but BOS, x
    becomes x - f_i d_i, the dictionary's error stays, and the model goes on. The logits of the intact model minus those
    are averaged over the tokens on which the feature fires, and divided by its mean activation there. (The paper itself
    measures the change of the next token's loss; the logits of all tokens are what stands beside logit weights.)

    Args:
      chosen: of features[j], the numbers of the contexts in which it is ablated; negative ones are left out.
      tokens: those of the vocabulary whose weights are returned.

    Raises BadInput like `hold`.
    """
    if len(features) != len(chosen):
        raise BadInput(f"logit_effects was given {len(features)} features and contexts of {len(chosen)}: one each")
    n, usual = len(features), np.asarray(tokens)
    total, activation, places = np.zeros((n, len(usual))), np.zeros(n), np.zeros(n, np.int64)
    kept = [[int(c) for c in dict.fromkeys(np.asarray(some).tolist()) if c >= 0] for some in chosen]
    size = max(1, BLOCK_BYTES // (8 * max(map(len, kept), default=1) * of.tapped.model.config.vocab_size + 1))
    for start in range(0, n, size):
        row = np.repeat(np.arange(start, min(start + size, n)), [len(some) for some in kept[start : start + size]])
        which = np.asarray([c for some in kept[start : start + size] for c in some], np.int64)
        found = hold(
            of, contexts, which, np.asarray(features)[row], np.zeros(len(row)), mean_logits=True, firing=True,
            batch=batch, advance=advance,
        )  # fmt: skip
        real = np.asarray(contexts)[which] != of.tapped.bos
        fires = np.asarray(of.encoder.active(jnp.asarray(found.activation))) & real
        assert found.mean_logit_change is not None
        for i, j in enumerate(row):
            total[j] -= found.mean_logit_change[i, usual].astype(np.float64) * fires[i].sum()
            activation[j] += found.activation[i][fires[i]].sum(dtype=np.float64)
            places[j] += fires[i].sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(places[:, None] > 0, total / activation[:, None], 0.0)
        mean = np.where(places > 0, activation / places, 0.0)
    return LogitEffects(weights - np.median(weights, axis=1, keepdims=True), mean, places)
