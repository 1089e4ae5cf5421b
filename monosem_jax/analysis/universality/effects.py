"""Whether matched features have the same effects: logit weights, and attribution vectors.

The attribution vector of feature i has an entry for every token t_j: f_i(t_j) v_{i,t_{j+1}}, its activation times its
logit weight for the token that follows (paper, "Universality", on attribution vectors). Tokens are left out whose next
token is rare in training text, as it is left out of logit weights, and the last one of each context.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from monosem_jax.analysis.feature_sets import FeatureSet, check_comparable
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.analysis.scan.batch import Batch, Sums
from monosem_jax.analysis.scan.firings import Dense, Firings
from monosem_jax.analysis.scan.pairs import add_products, mean_and_deviation
from monosem_jax.analysis.scan.passes import read_once
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import token_ids
from monosem_jax.runtime.errors import BadInput

BLOCK_BYTES = 1 << 25  # of rows that are correlated at a time, in float64


def weights_of(features: FeatureSet, usual: Int[np.ndarray, " n"]) -> Float[np.ndarray, "F n"]:
    """[F,n] the logit weights of a set for the tokens `usual`. Raises BadInput like `logit_weights`."""
    return np.asarray(logit_weights(features.tapped, features.effect_site[0], features.effect_directions, usual))


def row_correlations(a: Float[np.ndarray, "F n"], b: Float[np.ndarray, "F n"]) -> Float[np.ndarray, " F"]:
    """[F] Pearson correlations of the rows of two arrays, in float64; NaN where one never varies."""
    found = np.zeros(len(a))
    size = max(1, BLOCK_BYTES // (8 * max(np.shape(a)[1], 1)))
    for start in range(0, len(a), size):
        part = slice(start, start + size)
        x, y = (z[part] - z[part].mean(axis=1, dtype=np.float64)[:, None] for z in (a, b))
        with np.errstate(divide="ignore", invalid="ignore"):
            found[part] = np.einsum("fn,fn->f", x, y) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
    return found


@dataclasses.dataclass(frozen=True)
class Attributions:
    """Pearson correlations of attribution vectors over `tokens` tokens. `matched` [F]: of feature i of `a` with the
    feature of `b` that was given for it (NaN: none, or one of them is constant). `table` [S,G]: of the features
    `sample` [S] of `a` with all of `b`."""

    tokens: int
    matched: Float[np.ndarray, " F"]
    sample: Int[np.ndarray, " S"]
    table: Float[np.ndarray, "S G"]


@pinned()
def attributions(
    a: FeatureSet,
    b: FeatureSet,
    tokens: Int[np.ndarray, "C T"],
    usual: Int[np.ndarray, " n"],
    matched: Int[np.ndarray, " F"],
    sample: Sequence[int] | Int[np.ndarray, " S"],
    *,
    weights: tuple[np.ndarray, np.ndarray] | None = None,
    batch: int = 32,
    mesh: Mesh | None = None,
    advance: Callable[[int], Any] = lambda n: None,
) -> Attributions:
    """Correlations of attribution vectors of two sets over contexts [C,T].

    Args:
      usual: ids of the tokens that have logit weights (`usual_tokens`).
      matched: [F] a feature of `b` for each feature of `a`, -1: none.
      sample: features of `a` that are compared with all of `b`.
      weights: `weights_of` both sets, if they are known.

    Raises BadInput on sets of other tokenizers, and when no token has a usual one after it.
    """
    check_comparable(a, b)
    checked = np.asarray(token_ids("attributions", tokens, a.tapped.model.config.vocab_size))
    columns = np.full(a.tapped.model.config.vocab_size, -1)
    columns[usual] = np.arange(len(usual))
    n = int(np.sum((columns[checked[:, 1:]] >= 0) & (checked[:, :-1] != a.tapped.bos)))
    if not n:
        raise BadInput("attributions: no token is followed by one that has logit weights: expected some")
    if a.name == b.name:
        b = dataclasses.replace(b, name=f"{b.name} (b)")
    va, vb = weights or (weights_of(a, usual), weights_of(b, usual))
    chosen = np.asarray(sample, np.int64)
    sums = _AttributionSums(va, vb, columns, np.asarray(matched), chosen, b.name)
    read_once([a, b], checked, {"attributions": sums}, batch=batch, mesh=mesh, advance=advance)
    s = sums.state
    mean, deviation = mean_and_deviation(s["total"], s["square"], n)
    other_mean, other_deviation = mean_and_deviation(s["other_total"], s["other_square"], n)
    with np.errstate(divide="ignore", invalid="ignore"):
        of = np.maximum(matched, 0)
        pairs = (s["pairs"] / n - mean * other_mean[of]) / (deviation * other_deviation[of])
        table = s["table"] / n - np.outer(mean[chosen], other_mean)
        table /= np.outer(deviation[chosen], other_deviation)
    pairs = np.where((np.asarray(matched) >= 0) & np.isfinite(pairs), pairs, np.nan)
    return Attributions(n, pairs, chosen, np.where(np.isfinite(table), table, np.nan))


class _AttributionSums(Sums):
    def __init__(
        self, va: np.ndarray, vb: np.ndarray, columns: np.ndarray, matched: np.ndarray, sample: np.ndarray, other: str
    ):
        self._va, self._vb, self._columns, self._other = va, vb, columns, other
        self._rows = np.flatnonzero(matched >= 0)
        self._matched, self._sample = matched[self._rows], sample
        f, g = len(va), len(vb)
        sizes = {"total": f, "square": f, "other_total": g, "other_square": g, "pairs": f}
        self.state = {name: np.zeros(size) for name, size in sizes.items()} | {"table": np.zeros((len(sample), g))}

    def add(self, batch: Batch) -> None:
        following = np.full(batch.tokens.shape, -1)
        following[:, :-1] = self._columns[batch.tokens[:, 1:]]
        column = np.where(batch.real, following.reshape(-1), -1)
        f, g = _times(batch.firings, self._va, column), _times(batch.others[self._other], self._vb, column)
        for prefix, x in (("", f), ("other_", g)):
            total, square = x.moments()
            self.state[f"{prefix}total"] += total
            self.state[f"{prefix}square"] += square
        rows, there = f.matrix(), g.matrix().tocsr()
        self.state["pairs"][self._rows] += rows[self._rows].multiply(there[self._matched]).sum(axis=1)
        if len(self._sample):
            part = rows[self._sample]
            some = Firings(part.indptr.astype(np.int32), part.indices, part.data, f.n_rows)
            add_products(self.state["table"], some, g)


def _times(x: Firings | Dense, v: np.ndarray, column: np.ndarray) -> Firings | Dense:
    """Activations times the logit weights v [F,n] of the columns [B]; 0 where the column is -1."""
    if isinstance(x, Dense):
        return Dense(np.where((column >= 0)[:, None], x.f * v[:, column].T, 0))
    kept = x.where(column[x.row] >= 0)
    return dataclasses.replace(kept, value=kept.value * v[kept.feature, column[kept.row]])
