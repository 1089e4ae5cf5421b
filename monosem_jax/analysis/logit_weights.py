"""The direct effect of features on the next token (paper, "Feature Downstream Effects": logit weights).

Weights are those of the model's `direct_effect`, with the final normalisation folded in: a feature whose activation
rises by 1 changes the logit of token v by its weight there, divided by the norm that LayerNorm finds. Tokens that are
rare in training text are left out, since their unembedding hardly moved from its initial value, and each feature is
shifted so that its median over the others is 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.records import Histogram, LogitSummary
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import finite_numbers, whole_number
from monosem_jax.runtime.errors import BadInput

RARE = 20  # a token seen less often than this in training text is left out
LEAST_TOKENS = 10  # with fewer tokens a distribution of weights says nothing
BLOCK_BYTES = 1 << 25  # of weights at a time; their moments are computed in fp64
# A second mode: see `second_modes`.
LEAST_IN_MODE, TAIL, CHANCE = 3, 0.1, 1e-3


@pinned()
def logit_weights(
    tapped: TappedModel,
    site: str,
    directions: Float[np.ndarray, "F M"],
    tokens: Int[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "F n"]:
    """[F,n] logit weights of directions [F,M] at a site for `tokens` (the whole vocabulary, if None): the model's
    `direct_effect`, shifted so that the median over these tokens is 0.

    Beside the result, a block of BLOCK_BYTES is in memory several times. Raises BadInput at the input of an MLP, whose
    nonlinearity the direct path would have to cross, and on directions of another width.
    """
    directions = np.asarray(finite_numbers("logit_weights", directions, "F", tapped.model.width(site)))
    vocab_size = tapped.model.config.vocab_size
    out = np.empty((len(directions), vocab_size if tokens is None else len(tokens)), np.float32)
    size = max(1, BLOCK_BYTES // (4 * vocab_size))
    for start in range(0, max(len(directions), 1), size):
        v = tapped.model.direct_effect(tapped.params, site, directions[start : start + size])
        v = v if tokens is None else v[:, tokens]
        out[start : start + size] = v - np.median(v, axis=-1, keepdims=True)
    return out


def usual_tokens(
    occurrences: Int[np.ndarray, " V"], special: Sequence[int] = (), least: int = RARE
) -> Int[np.ndarray, " n"]:
    """The ids of the tokens that occur at least `least` times in training text, without the `special` ones.

    Raises BadInput where fewer than LEAST_TOKENS are left.
    """
    usual = np.asarray(occurrences) >= least
    usual[list(special)] = False
    if usual.sum() < LEAST_TOKENS:
        raise BadInput(
            f"logit weights: {usual.sum()} of {len(usual)} tokens occur {least} times or more in training text: "
            f"expected {LEAST_TOKENS} of them"
        )
    return np.flatnonzero(usual)


@dataclasses.dataclass(frozen=True)
class LogitStatistics:
    """The logit weights of F features over `tokens` [n], in few numbers each.

    `top_token`, `top_value` [F,k]: the largest weights, largest first; `bottom_token`, `bottom_value` the smallest,
    smallest first. `deviation`, `skewness`, `kurtosis` [F]: moments about the mean; a normal distribution has skewness
    0 and kurtosis 3 (NaN for a feature without any effect). `second_mode` [F]: tokens in a mode of their own far to the
    right, 0 if there is none (see `second_modes`).
    """

    name: str
    features: np.ndarray
    tokens: np.ndarray
    top_token: np.ndarray
    top_value: np.ndarray
    bottom_token: np.ndarray
    bottom_value: np.ndarray
    deviation: np.ndarray
    skewness: np.ndarray
    kurtosis: np.ndarray
    second_mode: np.ndarray

    def summary(self, i: int) -> LogitSummary:
        """The record of row `i`."""
        numbers = (self.deviation[i], self.skewness[i], self.kurtosis[i])
        return LogitSummary(len(self.tokens), *(round(float(np.nan_to_num(n)), 5) for n in numbers))

    def pairs(self, i: int, strings: Sequence[str]) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
        """([token, weight] of the largest weights, of the smallest ones) of row `i`, as records hold them."""

        def ends(tokens: np.ndarray, values: np.ndarray) -> list[tuple[str, float]]:
            return [(strings[int(t)], round(float(v), 4)) for t, v in zip(tokens, values, strict=True)]

        return ends(self.top_token[i], self.top_value[i]), ends(self.bottom_token[i], self.bottom_value[i])


@pinned()
def logit_statistics(
    of: FeatureSet,
    tokens: Int[np.ndarray, " n"],
    features: Sequence[int] | np.ndarray | None = None,
    *,
    k: int = 10,
    block: int = 0,
    advance: Callable[[int], Any] = lambda n: None,
) -> LogitStatistics:
    """The statistics of a set's logit weights over `tokens` (see `usual_tokens`), for `features` (all, if None).

    Weights of `block` features are in memory at a time (0: as many as BLOCK_BYTES hold), and no statistic depends on
    that but for rounding. `advance` is called with the number of features done. Raises BadInput like `logit_weights`.
    """
    chosen = np.arange(of.n_features) if features is None else np.asarray(features, np.int64)
    k = min(whole_number(f"k is {k!r}", k, 1), len(tokens))
    if not len(chosen):
        raise BadInput(f"logit_statistics of {of.name} was given no features: expected 1 or more")
    size = block or max(1, BLOCK_BYTES // (4 * of.tapped.model.config.vocab_size))
    site, columns = of.effect_site
    parts = []
    for start in range(0, len(chosen), size):
        rows = chosen[start : start + size]
        parts.append(_moments(logit_weights(of.tapped, site, of.directions[rows][:, columns], tokens), k))
        advance(len(rows))
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    tokens = np.asarray(tokens)
    places = {f"{end}_token": tokens[joined.pop(f"{end}_place")] for end in ("top", "bottom")}
    return LogitStatistics(of.name, chosen, tokens, **places, **joined)


def _moments(v: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """The statistics of a block of weights [F,n]; tokens are given as places among the n."""
    top = _largest(v, max(k, math.floor(v.shape[1] * TAIL) + 1))
    bottom = _largest(-v, k)
    tail = np.take_along_axis(v, top, axis=1)
    centred = v.astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    squares = np.square(centred)
    variance = squares.mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = np.mean(squares * centred, axis=1) / variance**1.5
        kurtosis = np.mean(np.square(squares), axis=1) / np.square(variance)
    return {
        "top_place": top[:, :k],
        "top_value": tail[:, :k],
        "bottom_place": bottom,
        "bottom_value": np.take_along_axis(v, bottom, axis=1),
        "deviation": np.sqrt(variance),
        "skewness": skewness,
        "kurtosis": kurtosis,
        "second_mode": _second_modes(tail, v.shape[1]),
    }


def _largest(v: np.ndarray, m: int) -> np.ndarray:
    """[F,m] the places of the m largest values of each row, largest first, equal ones in the order of their places."""
    n = v.shape[1]
    m = min(m, n)
    places = np.sort(np.argpartition(v, n - m, axis=1)[:, n - m :], axis=1)
    order = np.argsort(-np.take_along_axis(v, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)


def second_modes(v: Float[np.ndarray, "F n"]) -> Int[np.ndarray, " F"]:
    """For each row the number of its values in a mode of their own at the right end, 0 if there is none.

    The spacing between the k-th and the next largest value, times k, has the same exponential distribution for every k
    where the tail is exponential (Rényi), and grows smaller towards the end where it is lighter, as in a normal
    distribution. The gap below the k largest values counts as the border of a mode if its k-fold is larger than
    log(m / CHANCE) times the mean of those between it and the bulk, of m = TAIL · n gaps in all: that happens in a row
    with an exponential tail with a probability of about CHANCE. The k is LEAST_IN_MODE or more, and less than m / 2; of
    several such gaps the widest counts.
    """
    v = np.asarray(v)
    return _second_modes(-np.sort(-v, axis=1), v.shape[1])


def _second_modes(falling: np.ndarray, n: int) -> np.ndarray:
    """`second_modes` of rows of n values, of which the largest are given, largest first."""
    most = math.floor(n * TAIL)
    if most <= 2 * LEAST_IN_MODE:
        return np.zeros(len(falling), np.int64)
    right = falling[:, : most + 1].astype(np.float64)
    k = np.arange(1, most + 1)
    spacing = (right[:, :-1] - right[:, 1:]) * k
    beyond = np.cumsum(spacing[:, ::-1], axis=1)[:, ::-1]  # the sum of the spacings from k to the bulk
    bound = math.log(most / CHANCE) * beyond[:, 1:] / (most - k[:-1])
    found = spacing[:, :-1] > np.maximum(bound, 1e-6 * np.abs(right[:, :1]))  # equal values differ by rounding
    found[:, : LEAST_IN_MODE - 1] = False
    found[:, most // 2 :] = False  # next to the bulk the mean is over few gaps
    width = np.where(found, spacing[:, :-1] / k[:-1], 0)
    return np.where(found.any(axis=1), np.argmax(width, axis=1) + 1, 0)


def histogram(weights: Float[np.ndarray, " n"], bins: int = 60) -> Histogram:
    """The histogram of one feature's logit weights, in bins of equal width from the smallest to the largest."""
    weights = np.asarray(weights, np.float64)
    low, high = weights.min(), weights.max()
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    counts = np.bincount(np.clip(np.searchsorted(edges, weights, side="left") - 1, 0, bins - 1), minlength=bins)
    return Histogram(tuple(np.round(edges, 6).tolist()), tuple(counts.tolist()))


def logit_table(
    statistics: Sequence[LogitStatistics], alive: Mapping[str, Sequence[bool] | np.ndarray] | None = None
) -> list[dict[str, Any]]:
    """A row per set, for a table of features, neurons and control side by side: medians over the features, and the
    share of them that have a second mode. `alive`: by the name of the set which of its rows count."""
    rows = []
    for s in statistics:
        counts = np.isfinite(s.kurtosis)
        if alive is not None and s.name in alive:
            counts &= np.asarray(alive[s.name], bool)
        n = int(counts.sum())
        medians = {f"median_{key}": getattr(s, key)[counts] for key in ("deviation", "skewness", "kurtosis")}
        rows.append({
            "set": s.name,
            "features": n,
            "tokens": len(s.tokens),
            **{key: float(np.median(values)) if n else None for key, values in medians.items()},
            "second_mode": float(np.mean(s.second_mode[counts] > 0)) if n else None,
        })  # fmt: skip
    return rows
