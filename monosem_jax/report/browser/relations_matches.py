"""The data files of best matches between the sets of a comparison, and of stability over seeds."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from monosem_jax.report.browser.container import write_arrays_chunk, write_json_chunk
from monosem_jax.report.browser.material import ComparisonMaterial
from monosem_jax.runtime.errors import BadInput

MATCHES = 2048  # features of a file
STABILITY = 1 << 16


def write_matches(folder: pathlib.Path, prefix: str, comparison: ComparisonMaterial) -> dict[str, Any] | None:
    """Writes `universality`, the table, and `match-I-J/C`: chunk C of the matches of set I in set J. Returns the pairs
    of places in the sets that were compared, or None when nothing was.

    A file has for MATCHES features `feature` (the best match; -1: it never fires) and `correlation`, `back` and
    `back_correlation` (the best match of that one in I), `one_to_one` and `one_to_one_correlation` (-1 and NaN where it
    has none).
    """
    rows, arrays = comparison.tables.get("universality"), comparison.arrays("matches")
    if not rows or arrays is None:
        return None
    write_json_chunk(folder, f"{prefix}/universality", rows)
    names = [str(s["name"]) for s in comparison.sets]
    sizes = [int(s["n_features"]) for s in comparison.sets]
    pairs = [[i, j] for i, a in enumerate(names) for j, b in enumerate(names) if f"{a}|{b}|feature" in arrays]
    for i, j in pairs:
        columns = matched(arrays, (names[i], names[j]), (sizes[i], sizes[j]))
        for chunk, begin in enumerate(range(0, sizes[i], MATCHES)):
            part = {name: x[begin : begin + MATCHES] for name, x in columns.items()}
            write_arrays_chunk(folder, f"{prefix}/match-{i}-{j}/{chunk:05d}", part)
    return {"pairs": pairs, "chunk": MATCHES}


def matched(arrays: Mapping[str, np.ndarray], names: tuple[str, str], sizes: tuple[int, int]) -> dict[str, np.ndarray]:
    """The columns of the matches of a set in another, [F] each. Raises BadInput when they do not fit the sets."""
    a, b = names
    there = _columns(arrays, f"{a}|{b}", sizes)
    found = dict(there)
    known = there["feature"] >= 0
    back = _columns(arrays, f"{b}|{a}", sizes[::-1]) if f"{b}|{a}|feature" in arrays else None
    found["back"], found["back_correlation"] = np.full(sizes[0], -1), np.full(sizes[0], np.nan, np.float32)
    if back is not None:
        for to, source in (("back", "feature"), ("back_correlation", "correlation")):
            found[to][known] = back[source][there["feature"][known]]
    return found


def _columns(arrays: Mapping[str, np.ndarray], pair: str, sizes: tuple[int, int]) -> dict[str, np.ndarray]:
    found = {}
    for kind, none in (
        ("feature", None), ("correlation", None), ("one_to_one", -1), ("one_to_one_correlation", np.nan),
    ):  # fmt: skip
        x = arrays.get(f"{pair}|{kind}")
        if x is None and none is not None:
            x = np.full(sizes[0], none)
        if x is None or np.shape(x) != (sizes[0],):
            raise BadInput(
                f"matches.npz: {pair}|{kind} has the shape {None if x is None else np.shape(x)}: expected ({sizes[0]},)"
            )
        if kind in ("feature", "one_to_one") and x.size and not (x.min() >= -1 and x.max() < sizes[1]):
            raise BadInput(f"matches.npz: {pair}|{kind} goes up to {x.max()}: expected numbers below {sizes[1]}")
        found[kind] = x
    return found


def write_stability(folder: pathlib.Path, prefix: str, comparison: ComparisonMaterial) -> dict[str, Any] | None:
    """Writes `stability/C`, chunk C of the stability of the features of one set. Returns the table, or None."""
    table, arrays = comparison.tables.get("stability"), comparison.arrays("stability")
    if not table or arrays is None:
        return None
    values = np.asarray(arrays.get("stability"))
    if values.ndim != 1:
        raise BadInput(f"stability.npz has no array stability of one dimension, but {values.shape}")
    for chunk, begin in enumerate(range(0, len(values), STABILITY)):
        part = {"stability": values[begin : begin + STABILITY]}
        write_arrays_chunk(folder, f"{prefix}/stability/{chunk:05d}", part)
    return {**table, "chunk": STABILITY}
