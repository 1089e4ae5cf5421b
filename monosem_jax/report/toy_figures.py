"""Figures of toy models of superposition, from the tables and arrays of their run."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monosem_jax.report.figures import COLOURS, write_figure
from monosem_jax.report.plots import BLUE, GREY, ORANGE, is_number
from monosem_jax.runtime.rng import stream

Arrays = Mapping[str, np.ndarray]
LEVELS = {"dedicated 1": 1, "tetrahedron 3/4": 3 / 4, "triangle 2/3": 2 / 3, "digon 1/2": 1 / 2, "pentagon 2/5": 2 / 5}
LEVELS |= {"antiprism 3/8": 0.375, "absent 0": 0}


def write(directory: pathlib.Path, tables: Mapping[str, Any], arrays: Mapping[str, Arrays]) -> list[pathlib.Path]:
    """Writes every figure as PNG and SVG, and returns the files."""
    draw = {
        "polygons": functools.partial(polygons, arrays["polygons"]),
        "geometry": functools.partial(geometry, tables["geometry"], arrays["geometry"]),
        "phase": functools.partial(phase, tables["phase"]["phases"], arrays["phase"]),
        "learning": functools.partial(learning, tables["learning"], arrays["learning"]),
        "recovery": functools.partial(recovery, tables),
    }
    return [file for name, one in draw.items() for file in write_figure(directory, name, one)]


def polygons(arrays: Arrays) -> Any:
    """The columns of W as points of a plane, a panel for each density."""
    W, p = arrays["W"], arrays["p"][:, 0]
    columns = min(len(W), 5)
    figure, panels = _panels(-(-len(W) // columns), columns, 1.7)
    for axes, w, density in zip(panels, W, p, strict=False):
        for i, (x, y) in enumerate(w[:2].T):
            axes.plot([0, x], [0, y], color=COLOURS[i % len(COLOURS)], linewidth=1.2)
            axes.plot([x], [y], "o", color=COLOURS[i % len(COLOURS)], markersize=4)
        axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), xticks=[], yticks=[], aspect="equal")
        axes.set_title(f"1 − S = {density:.2f}", fontsize=9)
    for axes in panels[len(W) :]:
        axes.set_axis_off()
    return figure


def geometry(rows: Sequence[Mapping[str, Any]], arrays: Arrays) -> Any:
    """Dimensions per feature over 1 / (1 − S), and under it the dimensionality of every feature."""
    figure, (above, below) = _panels(2, 1, 2.9, width=7.0)
    x = [row["inverse_density"] for row in rows]
    above.plot(x, [row["d_star"] for row in rows], color=BLUE, marker="o", markersize=3.5)
    above.set_ylabel("D* = m / ‖W‖²")
    above.set_ylim(0, max(1.1, *(row["d_star"] for row in rows)))
    for level in (1, 0.5):
        above.axhline(level, color=ORANGE, linestyle="--", linewidth=1)
    found = dimensionality(arrays["W"])
    rng = stream("toy.figures")
    step = np.log(x[-1] / x[0]) / max(len(x) - 1, 1)
    for place, own in zip(x, found, strict=True):
        near = place * np.exp(step * 0.3 * rng.uniform(-1, 1, len(own)))
        below.plot(near, own, "o", color=BLUE, markersize=1.8, markeredgewidth=0, alpha=0.6)
    for name, level in LEVELS.items():
        below.axhline(level, color=GREY, linewidth=0.6)
        below.text(
            1.01, level - 0.02 * (level == 0.375), name, transform=below.get_yaxis_transform(), va="center", fontsize=7
        )
    below.set_ylabel("dimensionality D of a feature")
    for axes in (above, below):
        _log(axes, "x")
        axes.set_xlim(x[0] / np.exp(step / 2), x[-1] * np.exp(step / 2))
        axes.set_xlabel("1 / (1 − S)")
    return figure


def dimensionality(W: np.ndarray) -> np.ndarray:
    """D_i of W [I,m,n]."""
    gram = np.swapaxes(W, -1, -2) @ W.astype(np.float64)
    total = np.square(gram).sum(axis=-1)
    return np.square(np.einsum("...ii->...i", gram)) / np.where(total > 0, total, 1)


def phase(names: Sequence[str], arrays: Arrays) -> Any:
    """What training found, and what the closed form says, over density and importance."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    figure, panels = _panels(1, 2, 3.2, width=7.0)
    colours = [BLUE, "#e69f00", "#009e73"]
    shown = {"trained": arrays["phases"], "closed form": arrays["expected"].argmin(axis=0)}
    for axes, (title, found) in zip(panels, shown.items(), strict=True):
        masked = np.ma.masked_less(found.T, 0)
        axes.pcolormesh(arrays["p"], arrays["r"], masked, cmap=ListedColormap(colours), vmin=-0.5, vmax=2.5)
        axes.set(xlabel="1 − S", ylabel="importance of the second feature")
        _log(axes, "x")
        _log(axes, "y")
        axes.invert_xaxis()
        axes.grid(False)
        axes.set_title(title, fontsize=9, loc="left")
    patches = [Patch(color=c, label=name) for c, name in zip(colours, names, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=3)
    return figure


def learning(rows: Sequence[Mapping[str, Any]], arrays: Arrays) -> Any:
    """The loss and the dimensionality of every feature of the model with the most jumps, which are marked."""
    i = max(range(len(rows)), key=lambda n: len(rows[n]["steps"]))
    figure, (above, below) = _panels(2, 1, 2.2, width=7.0)
    above.plot(arrays["steps"], arrays["losses"][i], color=BLUE)
    above.set_ylabel("loss")
    _log(above, "y")
    for k, one in enumerate(arrays["dimensionality"][i].T):
        below.plot(arrays["steps"], one, color=COLOURS[k % len(COLOURS)], linewidth=1.2)
    below.set_ylabel("dimensionality D")
    for axes in (above, below):
        for step in rows[i]["steps"]:
            axes.axvline(step, color=GREY, linewidth=0.6, alpha=0.7)
        axes.set_xlabel("training step")
    above.set_title(f"1 − S = {rows[i]['p']:g}; grey: a feature's D jumps", fontsize=9, loc="left")
    return figure


def recovery(tables: Mapping[str, Any]) -> Any:
    """What dictionaries recover by architecture, and with and without resampling; what is absorbed."""
    figure, panels = _panels(1, 3, 3.2, width=10.5)
    rows = tables["architectures"]
    panels[0].set_title("features of the toy model", fontsize=9, loc="left")
    _bars(panels[0], [r["architecture"] for r in rows], {k: [r[k] for r in rows] for k in ("recovered", "precision")})
    rows = tables["resampling"]
    _bars(panels[1], [r["resampling"] for r in rows], {"recovered": [r["recovered"] for r in rows]})
    panels[1].set_title("resampling", fontsize=9, loc="left")
    absorbed = tables["absorption"]
    names = list(dict.fromkeys(r["architecture"] for r in absorbed))
    kinds = {"child only with parent": "parent", "independent": "independent"}
    shown = {
        label: [
            next((r["absorbed"] for r in absorbed if (r["architecture"], r["occurrence"]) == (n, k)), None)
            for n in names
        ]
        for label, k in kinds.items()
    }
    _bars(panels[2], names, shown)
    panels[2].set_title("absorbed", fontsize=9, loc="left")
    return figure


def _bars(axes: Any, names: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> None:
    """Horizontal bars between 0 and 1; a value that is missing has none."""
    height = 0.8 / max(len(series), 1)
    for k, (label, values) in enumerate(series.items()):
        places = [i + height * (k - (len(series) - 1) / 2) for i in range(len(values))]
        axes.barh(places, [v if is_number(v) else 0 for v in values], height, color=COLOURS[k], label=label)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(False, axis="y")
    if len(series) > 1:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=len(series), fontsize=7)


def _log(axes: Any, which: str) -> None:
    """A logarithmic axis with plain numbers as labels."""
    from matplotlib import ticker

    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_data_interval()
    axis.set_major_locator(ticker.LogLocator() if high > 30 * low else ticker.LogLocator(subs=(1, 2, 3, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(ticker.NullLocator())


def _panels(rows: int, columns: int, height: float, width: float = 0.0) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width or 1.6 * columns, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in panels:
        axes.tick_params(length=0, which="both")
    return figure, panels
