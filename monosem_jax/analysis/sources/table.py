"""What can be said over all features of a set: where their activations on their top examples come from."""

from __future__ import annotations

from typing import Any

import numpy as np

from monosem_jax.analysis.sources.summary import DISTANCES, SourceSums

# The main cause of a feature: the largest of these parts of its activation, summed over its examples.
CAUSES = ("token itself", "previous token", "2 to 4 back", "5 or more back", "BOS", "bias")


def parts(sums: SourceSums) -> np.ndarray:
    """[n,6] the activations of n pairs as sums over CAUSES. The token itself: directly, and through attention."""
    near = sums.by_distance
    itself, previous, middle, far = near[:, 0] + sums.direct, near[:, 1], near[:, 2:4].sum(1), near[:, 4:7].sum(1)
    return np.stack([itself, previous, middle, far, near[:, 7], sums.bias], axis=1)


def source_row(sums: SourceSums, feature: np.ndarray, activation: np.ndarray) -> dict[str, Any]:
    """A row of the table, from n pairs of features (`feature` [n]) and top examples.

    `main_cause`: features by what they are mostly caused by (CAUSES). The other figures are means over a feature's
    examples, then medians over features. `share_of_activation`: the sum of each cause, divided by the activation; the
    causes of one activation add up to 1 and may be negative. `share_of_size`: each contribution of a token through a
    path taken as positive, divided by the sum of all of them, bias left out: "direct", "attention", of attention by
    distance and by head. `largest_error`: the largest difference between a sum and the activation [n] that was scanned,
    in units of it.
    """
    ids, of = np.unique(feature, return_inverse=True)
    causes = parts(sums)
    per_feature = _means(causes, of, len(ids))
    main = per_feature.argmax(axis=1)
    size = np.abs(sums.direct) + sums.by_distance_size.sum(axis=1)
    known = size > 0
    shares = np.concatenate([np.abs(sums.direct)[:, None], sums.by_distance_size, sums.by_head_size], axis=1)
    shares = _means(np.where(known[:, None], shares / np.where(known, size, 1)[:, None], 0), of, len(ids))
    error = np.abs(sums.total - activation) / np.where(activation > 0, activation, 1)
    direct, by_distance = shares[:, 0], shares[:, 1 : 1 + len(DISTANCES)]
    return {
        "features": len(ids),
        "examples": len(feature),
        "main_cause": {name: int(np.sum(main == i)) for i, name in enumerate(CAUSES)},
        "share_of_activation": _named(CAUSES, _means(causes / activation[:, None], of, len(ids))),
        "share_of_size": {
            "direct": _median(direct),
            "attention": _median(by_distance.sum(axis=1)),
            "by_distance": _named(DISTANCES, by_distance),
            "by_head": [_median(column) for column in shares[:, 1 + len(DISTANCES) :].T],
        },
        "largest_error": float(error.max()) if len(error) else None,
    }


def _means(values: np.ndarray, of: np.ndarray, n: int) -> np.ndarray:
    """[n,k] the mean of the rows [p,k] of each feature; of[p] is the place of its feature."""
    total = np.zeros((n, values.shape[1]))
    np.add.at(total, of, values)
    return total / np.maximum(np.bincount(of, minlength=n), 1)[:, None]


def _named(names: tuple[str, ...], values: np.ndarray) -> dict[str, float | None]:
    return {name: _median(column) for name, column in zip(names, values.T, strict=True)}


def _median(values: np.ndarray) -> float | None:
    return round(float(np.median(values)), 5) if len(values) else None
