"""The distribution of best correlations as a figure: features, neurons, and the control."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from monosem_jax.report.figures import COLOURS, write_figure

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Curve:
    """Shares of features per bin from -1 to 1, and their median."""

    label: str
    counts: Sequence[int]
    median: float


def write_universality(directory: pathlib.Path, rows: Sequence[Row]) -> list[pathlib.Path]:
    """Writes universality.png and .svg into a directory from the rows of the table `universality`; nothing without
    rows. Drawn are the first set with the others, and the neurons of one model with those of another."""
    curves = _curves(rows)
    return write_figure(directory, "universality", lambda: _figure(curves)) if curves else []


def _curves(rows: Sequence[Row]) -> list[_Curve]:
    if not rows:
        return []
    first = rows[0]["a"]
    seen: set[frozenset[str]] = set()
    found = []
    for row in rows:
        pair = frozenset((row["a"], row["b"]))
        neurons = row["role_a"] == row["role_b"] == "neurons"
        if row["alive"] and pair not in seen and (row["a"] == first or neurons):
            seen.add(pair)
            found.append(_Curve(f"{row['a']} in {row['b']}", row["counts"], row["median"]))
    return found


def _figure(curves: Sequence[_Curve]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.subplots()
    n = len(curves[0].counts)
    edges = [2 * i / n - 1 for i in range(n + 1)]
    for i, curve in enumerate(curves):
        colour, total = COLOURS[i % len(COLOURS)], sum(curve.counts)
        label = f"{curve.label}: {curve.median:.2f}"
        axes.stairs([c / total for c in curve.counts], edges, color=colour, label=label, linewidth=1.4)
        axes.axvline(curve.median, color=colour, linestyle="--", linewidth=0.8)
    lowest = min(edges[next(i for i, c in enumerate(curve.counts) if c)] for curve in curves)
    axes.set_xlim(min(0, lowest), 1)
    axes.set_ylim(bottom=0)
    axes.tick_params(length=0)
    axes.set_xlabel("correlation with the best match")
    axes.set_ylabel("share of the features that fire")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.10g} %")
    figure.legend(loc="outside lower center", ncols=2, title="median")
    return figure
