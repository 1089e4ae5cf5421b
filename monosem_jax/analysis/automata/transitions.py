"""How often one feature fires on a token and another on the next: what the text itself says about edges.

Two features of one topic follow each other by chance: both fire in the same documents. So the pairs are also counted at
a distance, DISTANCE tokens apart in the same document, where an automaton's step is over and the topic is the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from jax.sharding import Mesh
from jaxtyping import Float, Int

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.scan.batch import Batch
from monosem_jax.analysis.scan.reading import read
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape, whole_number

DISTANCE = 8


@dataclasses.dataclass(frozen=True)
class Transitions:
    """Counts of E pairs (source, target) over `places` places in the text that have a later token `distance` away in
    the same document. `joint` [E]: the source fires at the place and the target at the later token; `first` [E] the
    source at the place, `second` [E] the target at the later token."""

    distance: int
    places: int
    joint: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @property
    def expected(self) -> Float[np.ndarray, " E"]:
        """[E] the joint firings if the two were independent."""
        return self.first * self.second / max(self.places, 1)

    @property
    def lift(self) -> Float[np.ndarray, " E"]:
        """[E] joint firings over those expected, NaN where one of the two never fires."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.joint / self.expected


@pinned()
def transitions(
    features: FeatureSet,
    tokens: Int[np.ndarray, "C T"],
    source: Int[np.ndarray, " E"],
    target: Int[np.ndarray, " E"],
    *,
    distances: tuple[int, ...] = (1, DISTANCE),
    batch: int = 32,
    mesh: Mesh | None = None,
    advance: Callable[[int], Any] = lambda n: None,
) -> tuple[Transitions, ...]:
    """The counts of pairs at every distance, in one pass over contexts [C,T]; memory grows with the pairs alone.

    Raises BadInput on tokens that the model does not have, and on a distance below 1.
    """
    source, target = np.asarray(source, np.int64), np.asarray(target, np.int64)
    check_shape("transitions: target", target.shape, len(source))
    for d in distances:
        whole_number(f"a distance of transitions is {d!r}", d, 1)
    f = features.n_features
    key, where = np.unique(source * f + target, return_inverse=True)
    joint, first, second = (np.zeros((len(distances), n), np.int64) for n in (len(key), f, f))
    places = np.zeros(len(distances), np.int64)
    for part in read(features, tokens, batch=batch, mesh=mesh):
        fires = part.fires
        m = scipy.sparse.csr_array((np.ones(len(fires.row), np.int32), fires.row, fires.starts), (f, fires.n_rows))
        columns = scipy.sparse.csc_array(m)
        for i, d in enumerate(distances):
            here = _places(part, d)
            before, after = _columns(columns, here), _columns(columns, here + d)
            product = scipy.sparse.coo_array(before @ after.T)
            found = product.row.astype(np.int64) * f + product.col
            at = np.minimum(np.searchsorted(key, found), max(len(key) - 1, 0))
            known = key[at] == found if len(key) else np.zeros(len(found), bool)
            np.add.at(joint[i], at[known], product.data[known])
            first[i] += np.diff(before.indptr)
            second[i] += np.diff(after.indptr)
            places[i] += len(here)
        advance(len(part.tokens))
    return tuple(
        Transitions(d, int(places[i]), joint[i][where], first[i][source], second[i][target])
        for i, d in enumerate(distances)
    )


def _columns(x: scipy.sparse.csc_array, chosen: np.ndarray) -> scipy.sparse.csr_array:
    """Some columns, by row."""
    return scipy.sparse.csr_array(x[:, chosen])  # pyright: ignore[reportGeneralTypeIssues]


def _places(part: Batch, distance: int) -> np.ndarray:
    """The rows of a batch that have a token `distance` later in the same context, with no BOS from one to the other."""
    real: np.ndarray = part.real.reshape(part.tokens.shape)
    length = real.shape[1]
    if distance >= length:
        return np.zeros(0, np.int64)
    bos = np.cumsum(~real, axis=1)
    same = real[:, :-distance] & (bos[:, distance:] == bos[:, :-distance])
    c, t = np.nonzero(same)
    return c * length + t
