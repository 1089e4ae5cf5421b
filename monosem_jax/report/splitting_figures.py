"""Figures of feature splitting: a family over sizes, the counts of children, and the map of dictionary vectors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monosem_jax.report.figures import COLOURS, drawn_token
from monosem_jax.report.plots import BLUE, GREY

TOKENS = 6  # shown of each feature
ROW = 0.34  # inches of height for each feature of the last column


def family_figure(told: Mapping[str, Any], sizes: Sequence[int]) -> Any:
    """One family of `splitting.json`'s `told`: sizes as columns, features with their tokens, edges to the
    best parent as lines whose width is the masked cosine similarity."""
    from matplotlib.figure import Figure

    places: list[tuple[int, float, Mapping[str, Any]]] = []
    lines: list[tuple[int, float, float, float]] = []
    height = _place(told["feature"], 0, 0.0, places, lines)
    columns = max(column for column, _, _ in places) + 1
    figure = Figure(figsize=(3.1 * columns, max(1.6, ROW * height + 0.6)), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    for column, start, stop, width in lines:
        axes.plot([column + 0.6, column + 0.97], [-start, -stop], color=GREY, linewidth=3 * width, alpha=0.6)
    first = told["level"]
    for column, y, row in places:
        tokens = " ".join(drawn_token(text) for text, _ in row["tokens"][:TOKENS])
        axes.text(column, -y + 0.16, _title(row), color=BLUE, fontsize=8, va="center", parse_math=False)
        axes.text(column, -y - 0.2, tokens[:30], fontsize=7, va="center", parse_math=False)
    for column in range(columns):
        axes.text(column, 1.1, f"{sizes[first + column]:,} features", color=GREY, fontsize=8, va="center")
    axes.set_xlim(-0.05, columns)
    axes.set_ylim(-height + 0.3, 1.4)
    return figure


def _title(row: Mapping[str, Any]) -> str:
    """A feature, and for a child the share of its firings on which its parent fires."""
    edge = row.get("edge")
    return f"{row['feature']}  ({edge['child_to_parent']:.0%} in its parent)" if edge else str(row["feature"])


def _place(
    row: Mapping[str, Any],
    column: int,
    top: float,
    places: list[tuple[int, float, Mapping[str, Any]]],
    lines: list[tuple[int, float, float, float]],
) -> float:
    """Places a feature before the middle of its children; returns the height that they take."""
    at, ys = top, []
    for child in row.get("children") or []:
        before = len(places)
        at += _place(child, column + 1, at, places, lines)
        y = next(y for c, y, r in places[before:] if r is child)
        ys.append((y, child["edge"]["similarity"]))
    middle = float(np.mean([y for y, _ in ys])) if ys else top
    places.append((column, middle, row))
    lines += [(column, middle, y, width or 0.0) for y, width in ys]
    return max(at - top, 1.0)


def children_figure(splitting: Mapping[str, Any]) -> Any:
    """How many features have 0, 1, 2, and 3 or more children, as shares, for each step; by best parents."""
    from matplotlib.figure import Figure

    steps = splitting["steps"]
    figure = Figure(figsize=(5.2, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.grid(False, axis="x")
    width = 0.8 / max(len(steps), 1)
    for k, (step, sizes) in enumerate(zip(steps, itertools.pairwise(splitting["sizes"]), strict=True)):
        counts = np.asarray(step["best"]["children"], float)
        x = np.arange(len(counts)) + (k - (len(steps) - 1) / 2) * width
        label = f"{sizes[0]:,} → {sizes[1]:,}"
        axes.bar(x, counts / max(counts.sum(), 1), width, color=COLOURS[k % len(COLOURS)], label=label)
    axes.set_xticks(range(4), ["0", "1", "2", "3 or more"])
    axes.set_xlabel("children in the next larger dictionary, by best parents")
    axes.set_ylabel("share of the features")
    axes.tick_params(length=0)
    axes.legend()
    return figure


def map_figure(table: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    """The plane of `map.npz`: a dot for each feature, in the colour of its dictionary, the smallest on top and largest
    in size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    axes = figure.subplots()
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    plane, number = arrays["plane"], arrays["set"]
    n = len(table["sizes"])
    for k in reversed(range(n)):
        here = plane[number == k]
        size = 18.0 / 3.0**k
        style: dict[str, Any] = {"color": COLOURS[k % len(COLOURS)], "linewidths": 0, "alpha": 0.8, "zorder": 2 + n - k}
        axes.scatter(here[:, 0], here[:, 1], s=max(size, 0.8), label=f"{table['sizes'][k]:,}", **style)
    axes.legend(title="features", markerscale=1.5, loc="best")
    return figure
