"""For every feature of a set the feature of another set whose activations correlate most with its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.optimize
from jax.sharding import Mesh
from jaxtyping import Float, Int

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.joint.pair_sums import Pair, PairSums, pair_sums
from monosem_jax.analysis.scan.config import ScanConfig
from monosem_jax.analysis.scan.entry import scan
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.errors import BadInput

MOST_BYTES = 1 << 32  # of the table of all pairs; larger ones are compared by candidates
STABLE = 0.7  # a feature with a larger stability counts as found again
SKETCHED = 8  # candidates that are kept of a sketch, of which the best counts


@dataclasses.dataclass(frozen=True)
class Matches:
    """For each of the F features of `a` the best feature of `b`, over `tokens` tokens (BOS left out).

    `feature` [F] int32: the feature of `b` with the largest Pearson correlation of activations (-1 for a feature that
    never varies), `correlation` [F] fp32 (NaN there). Several features may have the same best one; `one_to_one` [F] and
    `one_to_one_correlation` [F] are the assignment without repetition that has the largest sum of correlations (-1 and
    NaN for a feature that is left over); None where only candidates were compared. `exact`: whether all pairs were
    compared, or candidates came from a sketch; then the correlation by which a candidate was chosen is off by about
    `error` (one standard deviation), while those given here are exact.
    """

    a: str
    b: str
    tokens: int
    feature: Int[np.ndarray, " F"]
    correlation: Float[np.ndarray, " F"]
    one_to_one: Int[np.ndarray, " F"] | None = None
    one_to_one_correlation: Float[np.ndarray, " F"] | None = None
    exact: bool = True
    error: float = 0.0

    @property
    def alive(self) -> np.ndarray:
        """[F] which features of `a` have a match: those that vary over the tokens."""
        return self.feature >= 0


def matches_of(sums: PairSums, assignment: np.ndarray | None = None) -> Matches:
    """The matches of all pairs. `assignment`: what `one_to_one` found for these sums, if it is known.

    Raises BadInput when no feature of one of the sets varies.
    """
    r = sums.correlation()
    check_some_vary(r, sums.a.name, sums.b.name, sums.tokens)
    feature, correlation = largest(r)
    pairs = one_to_one(r) if assignment is None else assignment
    return Matches(sums.a.name, sums.b.name, sums.tokens, feature, correlation, pairs, correlations_at(r, pairs))


def check_some_vary(r: np.ndarray, a: str, b: str, tokens: int) -> None:
    """Raises BadInput when there is no correlation among [F,G]: where no feature of one of the sets varies."""
    if not np.isfinite(r).any():
        raise BadInput(f"{a} and {b} have no two features that fire on the {tokens} tokens: expected some to compare")


def largest(r: Float[np.ndarray, "F G"]) -> tuple[Int[np.ndarray, " F"], Float[np.ndarray, " F"]]:
    """The place and the value of the largest number in every row; -1 and NaN in a row of NaN. Of equal ones the first
    counts."""
    found = np.where(np.isnan(r), -np.inf, r)
    at = found.argmax(axis=1).astype(np.int32)
    value = np.take_along_axis(found, at[:, None], axis=1)[:, 0].astype(np.float32)
    none = value == -np.inf
    return np.where(none, -1, at).astype(np.int32), np.where(none, np.nan, value).astype(np.float32)


def within(sums: PairSums) -> Float[np.ndarray, " F"]:
    """[F] the best correlation of each feature with another one of its own set, from the sums of a set with itself; NaN
    where one never fires. A set that repeats itself is matched well by any set in which its few directions occur."""
    r = sums.correlation()
    np.fill_diagonal(r, np.nan)
    return largest(r)[1]


def one_to_one(r: Float[np.ndarray, "F G"]) -> Int[np.ndarray, " F"]:
    """[F] int32: to each row a column of its own so that the sum of the correlations is largest; -1 for rows of NaN and
    for those that are left over. Rows and columns of features that never vary take no part."""
    rows, columns = (np.flatnonzero(np.isfinite(r).any(axis=axis)) for axis in (1, 0))
    found = np.full(len(r), -1, np.int32)
    i, j = scipy.optimize.linear_sum_assignment(r[np.ix_(rows, columns)], maximize=True)
    found[rows[i]] = columns[j]
    return found


def exchanged(assignment: Int[np.ndarray, " F"], n: int) -> Int[np.ndarray, " G"]:
    """An assignment seen from the other set, which has n features."""
    found = np.full(n, -1, np.int32)
    rows = np.flatnonzero(assignment >= 0)
    found[assignment[rows]] = rows
    return found


def correlations_at(r: Float[np.ndarray, "F G"], at: Int[np.ndarray, " F"]) -> Float[np.ndarray, " F"]:
    """[F] the correlation of each row with the column `at`, NaN for -1."""
    found = np.take_along_axis(r, np.maximum(at, 0)[:, None], axis=1)[:, 0]
    return np.where(at < 0, np.nan, found).astype(np.float32)


def candidates(
    a: FeatureSet,
    b: FeatureSet,
    tokens: Int[np.ndarray, "C T"],
    *,
    batch: int = 32,
    mesh: Mesh | None = None,
    seed: int = 0,
    pairs: int = 0,
    columns: int = 512,
) -> Matches:
    """The matches of sets that are too large for a table of all pairs (more than `pairs`): candidates come from a
    sketch of `columns` random projections, and their correlations are exact. See `analysis.scan.pairs.Sketch`."""
    config = ScanConfig(
        batch_contexts=batch,
        seed=seed,
        pairs=pairs,
        neighbours=SKETCHED,
        sketch_columns=columns,
        correlation_tokens=np.asarray(tokens).size,
        top_contexts=1,
        per_interval=1,
        random_tokens=0,
        top_tokens=1,
    )
    found = scan(a, tokens, config=config, against=[b], mesh=mesh).neighbours[b.name]
    feature, correlation = found.index[:, 0], found.correlation[:, 0].astype(np.float32)
    check_some_vary(correlation, a.name, b.name, found.tokens)
    return Matches(a.name, b.name, found.tokens, feature, correlation, exact=found.exact, error=found.error)


@pinned()
def match_sets(
    a: FeatureSet,
    b: FeatureSet,
    tokens: Int[np.ndarray, "C T"],
    *,
    batch: int = 32,
    mesh: Mesh | None = None,
    most_bytes: int = MOST_BYTES,
) -> Matches:
    """The matches of two sets of the same tokenizer over contexts [C,T]. Pairs whose table takes more than `most_bytes`
    are compared by candidates.

    Raises BadInput on sets of other tokenizers, on tokens that the models do not have, and when nothing fires.
    """
    if a.name == b.name:
        a, b = (dataclasses.replace(s, name=f"{s.name} of {which}") for s, which in ((a, "a"), (b, "b")))
    pair = Pair(0, 1)
    if pair.n_bytes([a, b]) > most_bytes:
        return candidates(a, b, tokens, batch=batch, mesh=mesh, pairs=most_bytes // 8)
    return matches_of(pair_sums([a, b], [pair], tokens, batch=batch, mesh=mesh)[0])


def stability(correlations: Sequence[Float[np.ndarray, " F"]]) -> Float[np.ndarray, " F"]:
    """[F] how far the features of a dictionary come back in dictionaries that differ by their seed alone: the mean over
    these of each feature's best correlation, negative ones counted as 0; NaN for a feature that never fires."""
    return np.mean([np.clip(c, 0, 1) for c in correlations], axis=0)
