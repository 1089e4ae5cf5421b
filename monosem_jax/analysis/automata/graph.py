"""The graph over the features of a set: which features' preferred next tokens excite which features.

An edge i → j compares two next tokens: one drawn from what the text has anywhere, and one drawn after feature i was
held at its largest activation. To first order, holding i multiplies the probability of token v by exp(s_i w_i(v)), with
w_i(v) its logit weight and s_i its strength: the largest activation over the norm that the final normalisation divides
by. So

    p_i(v) = p(v) exp(s_i w_i(v)) / Σ_u p(u) exp(s_i w_i(u))      p: shares of the tokens in the text
    rate_ij = Σ_v p_i(v) P(j fires | v)                           base_j = Σ_v p(v) P(j fires | v)

The weight of the edge is the divergence of the two firing rates in nats, rate log(rate / base) + (1 - rate)
log((1 - rate) / (1 - base)), and there is no edge where the rate does not rise. It is what one sampled token tells, on
average, about whether i was held, from whether j fires on it. The ratio of the rates alone would prefer features that
fire three times in a text instead of once; their difference alone prefers features that fire everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from monosem_jax.analysis.automata.rates import TokenRates
from monosem_jax.runtime.arguments import check_shape, whole_number
from monosem_jax.runtime.errors import BadInput

BLOCK_BYTES = 1 << 27  # of rates from some features to all others, fp64, at a time
LEAST_WEIGHT = 0.01  # nats: an edge below it is left out
Weights = Callable[[np.ndarray], np.ndarray]
"""Features [b] → their logit weights [b,n]."""


@dataclasses.dataclass(frozen=True)
class Graph:
    """E edges between F features, sorted by source and then by falling weight.

    `source`, `target` [E] int64; `weight` [E] nats; `rate` [E] the firing rate of the target on the next token after
    the source, `base` [E] that on any token; `token` [E] the id of the token that contributes most to the difference.
    """

    n_features: int
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    rate: np.ndarray
    base: np.ndarray
    token: np.ndarray

    def __len__(self) -> int:
        return len(self.source)

    def part(self, kept: np.ndarray) -> Graph:
        """The graph with the edges for which `kept` [E] holds."""
        rest = (self.source, self.target, self.weight, self.rate, self.base, self.token)
        return Graph(self.n_features, *(x[kept] for x in rest))

    def find(self, source: Int[np.ndarray, " n"], target: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """[n] the number of each edge, -1 where there is none."""
        key = self.source * self.n_features + self.target
        order = np.argsort(key)
        wanted = np.asarray(source, np.int64) * self.n_features + target
        if not len(key):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)
        return np.where(key[order][at] == wanted, order[at], -1)


def feature_graph(
    rates: TokenRates,
    weights: Weights,
    strength: Float[np.ndarray, " F"],
    tokens: Int[np.ndarray, " n"],
    *,
    per_feature: int = 16,
    least_firings: int = 20,
    least_weight: float = LEAST_WEIGHT,
    block: int = 0,
) -> Graph:
    """For every feature its `per_feature` edges of the largest weights.

    Args:
      weights: the logit weights of some features for `tokens` [n], those that are not rare.
      strength: s_i. A feature that fires on fewer than `least_firings` of `tokens` has no edges, neither from nor to.
      block: features whose edges are computed together (0: as many as BLOCK_BYTES hold); no edge depends on it but for
        rounding.

    Raises BadInput on no tokens, on strengths of another number, and on weights that are not finite.
    """
    n, f = len(tokens), rates.n_features
    check_shape("feature_graph: strength", np.shape(strength), f)
    per_feature = min(whole_number(f"per_feature is {per_feature!r}", per_feature, 1), f)
    if not n or not rates.occurrences[tokens].all():
        raise BadInput(f"feature_graph was given {n} tokens: expected some, each of which occurs in the text")
    p, table = rates.unigram(tokens), rates.rates(tokens)
    base = table.astype(np.float64) @ p
    alive = rates.fired[:, tokens].sum(axis=1) >= least_firings
    strength = np.where(np.isfinite(strength), strength, 0)
    size = block or max(1, BLOCK_BYTES // (8 * max(f, n)))
    chosen = np.flatnonzero(alive)
    parts: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(chosen), size):
        rows = chosen[start : start + size]
        w = np.asarray(weights(rows), np.float64)
        check_shape("feature_graph: weights", w.shape, len(rows), n)
        if not np.isfinite(w).all():
            raise BadInput(f"feature_graph: logit weights of {rates.name} are not finite: expected finite parameters")
        after = _tilted(p, strength[rows, None] * w)
        rate = np.asarray(after.astype(np.float32) @ table.T, np.float64)  # [b,F]
        weight = np.where(alive, divergence(rate, base), 0)
        at, target = _largest(weight, per_feature, least_weight)
        carried = [int(np.argmax((after[i] - p) * table[j])) for i, j in zip(at, target, strict=True)]
        parts.append((rows[at], target, weight[at, target], rate[at, target], base[target], tokens[carried]))
    if not parts:
        parts = [tuple(np.zeros(0, kind) for kind in (int, int, float, float, float, int))]
    return Graph(f, *(np.concatenate(x) for x in zip(*parts, strict=True)))


def _largest(weight: np.ndarray, k: int, least: float) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) of the k largest entries of each row of [b,F] that are at least `least`, by row and then falling;
    equal ones in the order of their columns."""
    kept = np.sort(np.argpartition(weight, weight.shape[1] - k, axis=1)[:, weight.shape[1] - k :], axis=1)
    order = np.argsort(-np.take_along_axis(weight, kept, axis=1), axis=1, kind="stable")
    column = np.take_along_axis(kept, order, axis=1)
    row = np.repeat(np.arange(len(weight)), k)
    found = np.take_along_axis(weight, column, axis=1).reshape(-1) >= max(least, 1e-12)
    return row[found], column.reshape(-1)[found]


def _tilted(p: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """[b,n] p multiplied by exp(logits), each row with the sum 1."""
    x = p * np.exp(logits - logits.max(axis=1, keepdims=True))
    return x / x.sum(axis=1, keepdims=True)


def divergence(rate: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The divergence in nats of Bernoulli(base) from Bernoulli(rate), 0 where the rate is not above the base."""
    a, b = (np.clip(np.asarray(x, np.float64), 1e-12, 1 - 1e-12) for x in (rate, base))
    return np.where(a > b, a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b)), 0)
