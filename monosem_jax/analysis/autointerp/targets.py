"""The tokens of a feature's explanation examples whose contexts are pruned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monosem_jax.analysis.autointerp.pruning import STEPS, Targets
from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.windows import quantised
from monosem_jax.runtime.rng import stream

MOST = 48  # per feature


def choose_targets(samples: Sequence[Samples], tokens: np.ndarray, bos: int) -> tuple[Targets, np.ndarray]:
    """Targets of all features from the text `tokens` [C,T]: tokens of at least 1 of 9, the strongest of every window
    first, then others at random. Also [n,3]: the index in `samples`, the window and the column of each."""
    parts = [_of_feature(s, n) for n, s in enumerate(samples)]
    places = np.concatenate([np.zeros((0, 3), np.int64), *parts])
    before = np.full((len(places), STEPS[-1]), bos, np.int64)
    available, activation = np.zeros(len(places), np.int64), np.zeros(len(places))
    for k, (n, i, j) in enumerate(places):
        w = samples[n].explanation
        at = int(w.start[i] + j)
        own = np.asarray(tokens[int(w.context[i]), max(at + 1 - STEPS[-1], 0) : at + 1], np.int64)
        own = own[1:] if len(own) == at + 1 > 1 and own[0] == bos else own  # the BOS that begins the context
        before[k, STEPS[-1] - len(own) :] = own
        available[k], activation[k] = len(own), w.activations[i, j]
    feature = np.asarray([samples[n].feature for n in places[:, 0]], np.int64)
    return Targets(feature, activation, before, available), places


def _of_feature(s: Samples, n: int) -> np.ndarray:
    levels = quantised(s.explanation.activations, s.maximum)
    best = np.zeros(levels.shape, bool)
    best[np.arange(len(levels)), levels.argmax(axis=1)] = True
    at = np.argwhere(levels >= 1)
    chance = stream("autointerp.targets", s.feature).permutation(len(at))
    order = np.lexsort((chance, ~best[at[:, 0], at[:, 1]]))[:MOST]
    at = at[np.sort(order)]
    return np.concatenate([np.full((len(at), 1), n), at], axis=1)
