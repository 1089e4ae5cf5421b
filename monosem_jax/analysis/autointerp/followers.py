"""Which tokens come after those on which a feature fires, in the examples that a judge sees."""

from __future__ import annotations

from collections import Counter

import numpy as np

from monosem_jax.analysis.autointerp.protocol import Refusal
from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.token_neighbours import TokenNeighbours
from monosem_jax.analysis.autointerp.windows import quantised


def followers(samples: Samples) -> Counter[int]:
    """token → the sum of the activations (0 to 9) of the tokens that it follows in the explanation examples."""
    levels = quantised(samples.explanation.activations, samples.maximum)
    found: Counter[int] = Counter()
    for i, j in np.argwhere(levels[:, :-1] >= 1):
        found[int(samples.explanation.tokens[i, j + 1])] += int(levels[i, j])
    return found


def belongs(found: Counter[int], tokens: np.ndarray, neighbours: TokenNeighbours) -> np.ndarray | Refusal:
    """[n] the half of `tokens` that is most like the followers; of equal ones, those that come first.

    Likeness is the mean of the cosines (those below 0 count as 0) between the activations at the site of a token and of
    each follower, weighted like the followers; see `TokenNeighbours`. A follower is like itself with 1. Nothing here
    knows the unembedding, from which logit weights come.
    """
    if not found:
        return Refusal("no token follows one on which the feature fires in the examples")
    own = np.asarray(list(found), np.int64)
    weight = np.asarray(list(found.values()), np.float64)
    likeness = np.maximum(neighbours.units(tokens) @ neighbours.units(own).T, 0) @ (weight / weight.sum())
    said = np.zeros(len(tokens), bool)
    said[np.argsort(-likeness, kind="stable")[: len(tokens) // 2]] = True
    return said
