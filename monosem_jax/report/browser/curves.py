"""Curves of training, thinned for drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

KEYS = ("loss", "heldout_loss", "mse", "l1", "l0", "silent")
POINTS = 400  # of a curve, at most: about one for each two pixels


def curves(metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """The curves of a log by key, each as [steps, values] with at most POINTS points; values that are not finite are
    left out. Steps that a resumed run wrote again have their last value."""
    found: dict[str, list[list[float]]] = {}
    for key in KEYS:
        points = {m["step"]: m[key] for m in metrics if _is_number(m.get("step")) and _is_number(m.get(key))}
        if points:
            steps = sorted(points)
            kept = thinned(np.asarray([points[s] for s in steps], np.float64), POINTS)
            found[key] = [[steps[i] for i in kept], rounded([points[steps[i]] for i in kept])]
    return found


def thinned(values: np.ndarray, most: int) -> list[int]:
    """Which of the values [n] to draw, in order, at most `most` (at least 4): all of them, or the first, the last, and
    of each of equal groups of neighbours the smallest and the largest, so that no spike is lost."""
    n = len(values)
    if n <= most:
        return list(range(n))
    kept = {0, n - 1}
    for group in np.array_split(np.arange(n), (most - 2) // 2):
        kept |= {int(group[np.argmin(values[group])]), int(group[np.argmax(values[group])])}
    return sorted(kept)


def rounded(values: Any, digits: int = 5) -> list[float]:
    """The values with that many significant digits."""
    return [float(f"{v:.{digits}g}") for v in np.asarray(values, np.float64).tolist()]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
