"""Shared and exclusive features of two models as a table, and how many of the exclusive ones are so in fact."""

from __future__ import annotations

from typing import Any

import numpy as np

from monosem_jax.analysis.model_diff.sides import EXCLUSIVE, Sides
from monosem_jax.runtime.arguments import check_shape

BINS = 20
THRESHOLDS = (0.05, 0.1, 0.2, 0.3)
SHRUNK = 0.25  # a feature of A alone whose refitted relative norm is this or more has a part in B too, and conversely
OF_ONE = ("shrunk", "decoupled", "confirmed", "undecided")  # what features of one model alone turn out to be
LEAST_FIRINGS = 20  # with fewer, in the rows that were measured, least squares fits chance
DECOUPLED = 0.5  # correlation of a feature of one model alone with one of the other: a part of a feature of both


def difference(sides: Sides, correlation: np.ndarray | None = None) -> dict[str, Any]:
    """The table, JSON-able, over the features that fire.

    `histogram`: features by relative norm in 20 equal bins from 0 (A alone) to 1 (B alone). `by_threshold`: features of
    A alone, of both, of B alone. `exclusive` (at EXCLUSIVE): of those of one model alone, how many are `shrunk` (least
    squares gives a vector for the other model too), `decoupled` (a feature that the other model has fires with it),
    `confirmed` (neither), and `undecided` (they fire too rarely to say). `alone`: medians of the correlation of a
    feature with what one model alone gives of it.

    Args:
      correlation: [F] the best correlation of each feature's activation with a feature of the other model, as
        universality finds it; its medians stand beside the classes.
    """
    relative, alive, masks = sides.relative, firing(sides), classes(sides)
    groups = {name: masks[name] for name in ("a", "both", "b")}
    one = groups["a"] | groups["b"]
    counts, edges = np.histogram(relative[alive], bins=BINS, range=(0, 1))
    found = {
        "features": len(relative),
        "firing": int(alive.sum()),
        "rows": sides.rows,
        "histogram": {"edges": [round(float(e), 4) for e in edges], "counts": counts.tolist()},
        "by_threshold": [
            {"threshold": t, **{name: int(g.sum()) for name, g in _groups(relative, alive, t).items()}}
            for t in THRESHOLDS
        ],
        "exclusive": {
            "features": int(one.sum()),
            **{name: int(masks[name].sum()) for name in OF_ONE},
        },
        "alone": {name: {side: median(sides.alone[g, i]) for i, side in enumerate("ab")} for name, g in groups.items()},
    }
    if correlation is not None:
        check_shape("difference: correlation", np.shape(correlation), len(relative))
        told = {**groups, "confirmed": masks["confirmed"]}
        found["best_correlation"] = {name: median(np.asarray(correlation)[g]) for name, g in told.items()}
    return found


def firing(sides: Sides) -> np.ndarray:
    """[F] the features that fire and have vectors: those that have a class."""
    return (sides.fired > 0) & np.isfinite(sides.relative)


def classes(sides: Sides) -> dict[str, np.ndarray]:
    """[F] masks over the features that fire: `a`, `both`, `b` at EXCLUSIVE, and of those in `a` and `b` the `undecided`
    (too few firings, or no vector in common to two halves of the rows), `shrunk`, `decoupled` (and not shrunk), and
    `confirmed` (none of these)."""
    groups, refitted = _groups(sides.relative, firing(sides), EXCLUSIVE), sides.relative_refitted
    one = groups["a"] | groups["b"]
    undecided = one & ((sides.fired < LEAST_FIRINGS) | ~np.isfinite(refitted))
    shrunk = one & ~undecided & np.where(groups["a"], refitted >= SHRUNK, refitted <= 1 - SHRUNK)
    decoupled = one & ~undecided & ~shrunk & (np.nan_to_num(sides.partner, nan=-1) >= DECOUPLED)
    confirmed = one & ~undecided & ~shrunk & ~decoupled
    return {**groups, "undecided": undecided, "shrunk": shrunk, "decoupled": decoupled, "confirmed": confirmed}


def _groups(relative: np.ndarray, alive: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
    a, b = alive & (relative < threshold), alive & (relative > 1 - threshold)
    return {"a": a, "both": alive & ~a & ~b, "b": b}


def median(values: np.ndarray) -> float | None:
    """Of the values that are numbers, to 4 decimal places; None if there are none."""
    known = values[np.isfinite(values)]
    return round(float(np.median(known)), 4) if len(known) else None
