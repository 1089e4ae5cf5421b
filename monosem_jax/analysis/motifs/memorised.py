"""Memorisation features: those that fire inside one passage that many documents repeat (paper: a licence).

A passage is made of windows of WINDOW tokens that occur in LEAST_DOCUMENTS documents or more; windows that begin one
token apart belong to one passage. Windows of few different tokens, such as a ruled line, do not count. A feature that
fires LEAST_FIRINGS times or more is one of memorisation if at least LEAST_SHARE of its firings are in one passage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Int

from monosem_jax.analysis.motifs.places import Places, window

WINDOW, LEAST_DOCUMENTS, LEAST_SHARE, LEAST_FIRINGS = 8, 3, 0.8, 20
LEAST_DIFFERENT = WINDOW // 2  # tokens in a window


@dataclasses.dataclass(frozen=True)
class Memorised:
    """`share` of the feature's `firings` are in one passage that is in `documents` documents; `text` is an example of
    it, around a firing."""

    feature: int
    share: float
    firings: int
    documents: int
    text: str


def memorised(places: Places, strings: Sequence[str]) -> list[Memorised]:
    """The memorisation features by falling share."""
    passage = passages(places)
    documents = np.asarray(places.documents).reshape(-1)
    found = []
    for i in range(places.n_features):
        fires = places.of(i)
        inside = passage[fires]
        if len(fires) < LEAST_FIRINGS or not (inside >= 0).any():
            continue
        names, counts = np.unique(inside[inside >= 0], return_counts=True)
        if counts.max() < LEAST_SHARE * len(fires):
            continue
        here = fires[inside == names[np.argmax(counts)]]
        shown = "".join(strings[int(t)] for t in window(places, here[len(here) // 2], WINDOW, WINDOW))
        found.append(Memorised(i, float(counts.max() / len(fires)), len(fires), len(np.unique(documents[here])), shown))
    return sorted(found, key=lambda m: -m.share)


def passages(places: Places) -> Int[np.ndarray, " C*T"]:
    """[C·T] the number of the passage that each token lies in, -1: none."""
    tokens = np.asarray(places.tokens, np.int64)
    c, length = tokens.shape
    found = np.full(c * length, -1, np.int64)
    n = length - WINDOW + 1
    if n < 1:
        return found
    windows = np.lib.stride_tricks.sliding_window_view(tokens, WINDOW, axis=1).reshape(c * n, WINDOW)
    ordered = np.sort(windows, axis=1)
    different = 1 + np.sum(ordered[:, 1:] != ordered[:, :-1], axis=1)
    fits = (windows != places.bos).all(axis=1) & (different >= LEAST_DIFFERENT)
    at = np.flatnonzero(fits)
    at = (at // n) * length + at % n  # the place of the first token
    _, kind = np.unique(_hash(windows[fits]), return_inverse=True)
    if not len(kind):
        return found
    document = np.asarray(places.documents).reshape(-1)[at].astype(np.int64)
    both = np.unique(kind.astype(np.int64) * (int(document.max()) + 1) + document)
    repeated = np.bincount(both // (int(document.max()) + 1), minlength=kind.max() + 1) >= LEAST_DOCUMENTS
    at, kind = at[repeated[kind]], kind[repeated[kind]]
    # Windows one token apart in the same context are of one passage.
    near = np.flatnonzero((np.diff(at) == 1) & (at[1:] // length == at[:-1] // length))
    size = len(repeated)
    joined = scipy.sparse.coo_array((np.ones(len(near)), (kind[near], kind[near + 1])), (size, size))
    _, name = scipy.sparse.csgraph.connected_components(joined, directed=False)
    for step in range(WINDOW - 1, -1, -1):  # of several windows the first counts
        found[at + step] = name[kind]
    return found


def _hash(windows: Int[np.ndarray, "n w"]) -> np.ndarray:
    """[n] uint64, equal for equal windows; two of a million different ones are equal with a probability of 1e-7."""
    h = np.zeros(len(windows), np.uint64)
    for column in windows.T:
        h = (h ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        h ^= h >> np.uint64(29)
    return h
