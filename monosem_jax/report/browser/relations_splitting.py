"""The data files of feature splitting: the edges between sizes, by parent and by child."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from monosem_jax.report.browser.container import write_arrays_chunk, write_json_chunk
from monosem_jax.report.browser.material import ComparisonMaterial
from monosem_jax.runtime.errors import BadInput

EDGES = 256  # features of a file
PARENTS, CHILDREN = 16, 32  # of a feature that are kept, best parents first and then by falling similarity
FIGURES = ("similarity", "chance", "cosine", "child_to_parent", "matched", "parent_to_child", "mass")
COVER = ("share", "mass", "within", "together")

Arrays = Mapping[str, np.ndarray]


def write_splitting(folder: pathlib.Path, prefix: str, comparison: ComparisonMaterial) -> dict[str, Any] | None:
    """Writes `splitting` (the table without the families that it tells) and `told` (those), and of each step K between
    sizes `children-K/C` and `parents-K/C`, chunk C of the edges by parent and by child. Returns the places of the sizes
    among the sets and the limits, or None when splitting was not looked for."""
    table, arrays = comparison.tables.get("splitting"), comparison.arrays("splitting_edges")
    if not table or arrays is None:
        return None
    write_json_chunk(folder, f"{prefix}/splitting", {k: v for k, v in table.items() if k != "told"})
    write_json_chunk(folder, f"{prefix}/told", table["told"])
    sizes = [int(n) for n in table["sizes"]]
    for step, (n_parents, n_children) in enumerate(itertools.pairwise(sizes)):
        edges = _step(arrays, step, n_parents, n_children)
        cover = _cover(arrays, step, n_parents)
        for chunk, part in by_feature(edges, "parent", n_parents, CHILDREN):
            here = slice(chunk * EDGES, (chunk + 1) * EDGES)
            covered = {f"cover_{name}": x[here] for name, x in cover.items()}
            write_arrays_chunk(folder, f"{prefix}/children-{step}/{chunk:05d}", {**part, **covered})
        for chunk, part in by_feature(edges, "child", n_children, PARENTS):
            write_arrays_chunk(folder, f"{prefix}/parents-{step}/{chunk:05d}", part)
    names = [str(s["name"]) for s in comparison.sets]
    return {
        "sets": [names.index(name) for name in table["sets"]],
        "chunk": EDGES,
        "most_children": CHILDREN,
        "most_parents": PARENTS,
        "rule": table["rule"],
    }


def by_feature(edges: Arrays, side: str, n: int, most: int) -> list[tuple[int, dict[str, np.ndarray]]]:
    """The chunks of the edges of `n` features, by the feature at their `side` ("parent" or "child").

    A chunk has `total` (edges of each of its features), `start` (one more: where the kept ones of each begin), and of
    the kept edges `other` (the feature at the other end), `best` and FIGURES.
    """
    other = "child" if side == "parent" else "parent"
    order = np.lexsort((-edges["similarity"], ~edges["best"], edges[side]))
    group = edges[side][order]
    total = np.bincount(group, minlength=n)
    first = np.cumsum(total) - total
    kept = order[np.arange(len(order)) - first[group] < most]
    start = np.concatenate([[0], np.cumsum(np.minimum(total, most))])
    found = []
    for chunk, begin in enumerate(range(0, n, EDGES)):
        end = min(begin + EDGES, n)
        here = kept[start[begin] : start[end]]
        found.append(
            (
                chunk,
                {
                    "total": total[begin:end],
                    "start": start[begin : end + 1] - start[begin],
                    "other": edges[other][here],
                    "best": edges["best"][here],
                    **{name: edges[name][here] for name in FIGURES},
                },
            )
        )
    return found


def _step(arrays: Arrays, step: int, n_parents: int, n_children: int) -> dict[str, np.ndarray]:
    """The edges of a step; raises BadInput when arrays are missing or do not fit the sizes."""
    found: dict[str, np.ndarray] = {}
    for name in ("parent", "child", "best", *FIGURES):
        x = arrays.get(f"step{step}_{name}")
        n = len(found.get("parent", x if x is not None else ()))
        if x is None or x.ndim != 1 or len(x) != n:
            raise BadInput(
                f"splitting_edges.npz: step{step}_{name} is {'missing' if x is None else x.shape}: expected ({n},)"
            )
        found[name] = x.astype(bool) if name == "best" else x
    for name, n in (("parent", n_parents), ("child", n_children)):
        x = found[name]
        if x.size and not (x.min() >= 0 and x.max() < n):
            raise BadInput(f"splitting_edges.npz: step{step}_{name} goes up to {x.max()}: expected 0 to {n - 1}")
    return found


def _cover(arrays: Arrays, step: int, n_parents: int) -> dict[str, np.ndarray]:
    """How the children of each parent cover it, NaN where that is not known."""
    nothing = np.full(n_parents, np.nan)
    found = {name: arrays.get(f"step{step}_cover_{name}", nothing) for name in COVER}
    return {name: x if len(x) == n_parents else nothing for name, x in found.items()}
