"""The data files of the map of dictionary vectors."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from monosem_jax.report.browser.container import write_arrays_chunk
from monosem_jax.report.browser.material import ComparisonMaterial
from monosem_jax.runtime.errors import BadInput

POINTS = 8192  # of a file


def write_map(folder: pathlib.Path, prefix: str, comparison: ComparisonMaterial) -> dict[str, Any] | None:
    """Writes `map/C`, chunk C of the points: `set` (place in the `sets` of the map), `feature`, `x`, `y`, `cluster`
    (-1: none), and `order` (the places of all points in an order in which alike ones are near each other). Returns the
    table with the places of its sets among those of the comparison, or None when there is no map."""
    table, arrays = comparison.tables.get("map"), comparison.arrays("map")
    if not table or arrays is None:
        return None
    missing = [name for name in ("set", "feature", "plane", "cluster", "order") if name not in arrays]
    if missing:
        raise BadInput(f"map.npz has no array {missing[0]}: expected set, feature, plane, cluster and order")
    n = len(arrays["set"])
    plane = np.asarray(arrays["plane"])
    if plane.shape != (n, 2) or any(len(arrays[name]) != n for name in ("feature", "cluster", "order")):
        raise BadInput(f"map.npz: plane has the shape {plane.shape}: expected ({n}, 2), and one value of all others")
    columns = {
        "set": np.asarray(arrays["set"]).astype(np.uint8),
        "feature": arrays["feature"],
        "x": plane[:, 0],
        "y": plane[:, 1],
        "cluster": arrays["cluster"],
        "order": arrays["order"],
    }
    for chunk, begin in enumerate(range(0, n, POINTS)):
        part = {name: x[begin : begin + POINTS] for name, x in columns.items()}
        write_arrays_chunk(folder, f"{prefix}/map/{chunk:05d}", part)
    names = [str(s["name"]) for s in comparison.sets]
    return {**table, "places": [names.index(name) for name in table["sets"]], "points": n, "chunk": POINTS}
