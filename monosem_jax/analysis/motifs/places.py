"""Where features fire: every firing of every feature with its place in the text."""

from __future__ import annotations

import dataclasses

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.scan.reading import read
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.rng import stream


@dataclasses.dataclass(frozen=True)
class Places:
    """Firings by feature: `place` [m] int64 (context · T + position), those of feature i from starts[i] to
    starts[i+1], in rising order. `tokens` [C,T] is the text, `documents` [C,T] the number of each token's document,
    `bos` the token that is left out."""

    tokens: np.ndarray
    documents: np.ndarray
    bos: int
    starts: np.ndarray
    place: np.ndarray

    @property
    def n_features(self) -> int:
        return len(self.starts) - 1

    def of(self, feature: int) -> Int[np.ndarray, " n"]:
        return self.place[self.starts[feature] : self.starts[feature + 1]]

    def shuffled(self, seed: int = 0) -> Places:
        """Every occurrence of a token exchanges its firings with one drawn at random, so that each feature fires as
        often on each token as before, but anywhere: what the token alone would give."""
        flat = np.asarray(self.tokens).reshape(-1)
        rng = stream("motifs.shuffled", seed)
        ordered = np.argsort(flat, kind="stable")
        random = np.lexsort((rng.random(len(flat)), flat))
        to = np.empty_like(ordered)
        to[ordered] = random
        feature = np.repeat(np.arange(self.n_features), np.diff(self.starts))
        place = to[self.place]
        return dataclasses.replace(self, place=place[np.lexsort((place, feature))])


@pinned()
def firing_places(
    features: FeatureSet,
    tokens: Int[np.ndarray, "C T"],
    documents: Int[np.ndarray, "C T"],
    *,
    batch: int = 32,
    mesh: Mesh | None = None,
) -> Places:
    """One pass over contexts [C,T]; 12 bytes for every firing. Raises BadInput on tokens that the model does not
    have."""
    feature, place = [], []
    for part in read(features, tokens, batch=batch, mesh=mesh):
        feature.append(part.fires.feature)
        place.append(part.first_token + part.fires.row.astype(np.int64))
    every, where = (np.concatenate([*x, np.zeros(0, kind)]) for x, kind in ((feature, np.int32), (place, np.int64)))
    order = np.lexsort((where, every))
    starts = np.searchsorted(every[order], np.arange(features.n_features + 1))
    return Places(np.asarray(tokens), np.asarray(documents), features.tapped.bos, starts, where[order])


def window(places: Places, place: int, before: int, after: int) -> Int[np.ndarray, " n"]:
    """The tokens around a place, within its context."""
    c, t = divmod(int(place), places.tokens.shape[1])
    return np.asarray(places.tokens[c, max(t - before, 0) : t + after + 1])
