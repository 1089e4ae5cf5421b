"""A threshold for numbers that mean nothing by themselves."""

from __future__ import annotations

import numpy as np

from monosem_jax.analysis.autointerp.protocol import Known


def threshold(scores: np.ndarray, fires: np.ndarray) -> float:
    """The number from which on windows are called firing, with the largest balanced accuracy on `scores` [n] of which
    the truth `fires` [n] is known. It lies halfway between two scores; of equally good ones it is the middle one."""
    order = np.argsort(scores, kind="stable")
    ranked, truth = np.asarray(scores, np.float64)[order], np.asarray(fires, bool)[order]
    # With k windows below the threshold: the share of silent windows among these, and of firing ones above.
    silent_below = np.concatenate([[0], np.cumsum(~truth)]) / max((~truth).sum(), 1)
    firing_above = 1 - np.concatenate([[0], np.cumsum(truth)]) / max(truth.sum(), 1)
    between = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])  # equal scores are not told apart
    found = np.where(between, silent_below + firing_above, -1)
    best = np.flatnonzero(found >= found.max() - 1e-12)
    k = int(best[len(best) // 2])
    ends = np.concatenate([[ranked[0] - 1], (ranked[1:] + ranked[:-1]) / 2, [ranked[-1] + 1]])
    return float(ends[k])


def part(known: Known, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(which of the known windows are used, whether the feature fires in them): `n` with a firing and `n` without, or
    as many as there are, evenly spaced."""
    chosen = [np.flatnonzero(known.fires == fires) for fires in (True, False)]
    chosen = [c[np.unique(np.linspace(0, len(c) - 1, min(n, len(c))).round().astype(int))] for c in chosen]
    rows = np.concatenate(chosen)
    return rows, known.fires[rows]
