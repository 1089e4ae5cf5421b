"""Figures as SVG elements to be put into HTML: no scripts, no references, the same bytes for the same numbers."""

from __future__ import annotations

import dataclasses
import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from monosem_jax.runtime.errors import BadInput

BLUE, ORANGE, GREY = "#1d5b9e", "#b84a00", "#5b6470"
SIZE = (4.2, 2.5)  # inches; small, so that labels stay legible on a telephone
ULTRALOW = 1e-6
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "axes.edgecolor": "#8b939c",
    "axes.labelcolor": "#3a424b",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ed",
    "grid.linewidth": 0.7,
    "xtick.color": "#8b939c",
    "ytick.color": "#8b939c",
    "xtick.labelcolor": "#3a424b",
    "ytick.labelcolor": "#3a424b",
    "legend.frameon": False,
    "text.parse_math": False,
}

Level = tuple[str, float | None]  # a label and a value, None where it is unknown


def require_matplotlib() -> None:
    """Raises BadInput when matplotlib, which only the report needs, is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise BadInput("the report needs matplotlib: pip install 'monosem_jax[report]'") from None


@dataclasses.dataclass(frozen=True)
class Line:
    """A named curve; points that are not finite have been left out."""

    label: str
    steps: list[float]
    values: list[float]
    colour: str = BLUE


def line(metrics: Sequence[Mapping[str, Any]], key: str, label: str, colour: str = BLUE) -> Line:
    """The curve of `key` over the lines that have it."""
    points = [(r["step"], r[key]) for r in metrics if is_number(r.get(key)) and is_number(r.get("step"))]
    return Line(label, [p[0] for p in points], [p[1] for p in points], colour)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number."""
    return isinstance(value, int | float | np.number) and math.isfinite(value)


def curves(
    name: str,
    lines: Sequence[Line],
    y_label: str,
    *,
    log: bool = False,
    level: Level | None = None,
    marks: Sequence[int] = (),
) -> str:
    """Curves over training steps as an <svg>, or "" when no curve has a point.

    `level` is a (label, value) drawn as a dashed line; `marks` are steps drawn as thin vertical lines. `name` makes the
    ids of the figure unique.
    """
    lines = [x for x in lines if x.values]
    if not lines:
        return ""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure, axes = _axes(y_label)
        for step in marks:
            axes.axvline(step, color=GREY, linewidth=0.6, alpha=0.7)
        for x in lines:
            axes.plot(x.steps, x.values, color=x.colour, label=x.label, marker="o" if len(x.values) == 1 else None)
        if level and is_number(level[1]):
            axes.axhline(level[1], color=GREY, linestyle="--", linewidth=1.2, label=level[0])
        _scale(axes, log and min(v for x in lines for v in x.values) > 0)
        if len(axes.get_legend_handles_labels()[0]) > 1:
            axes.legend()
        axes.set_xlabel("training step")
        axes.xaxis.set_major_formatter(_short)
        axes.locator_params("x", nbins=6)
        return _svg(figure, name, _describe(y_label, lines, level))


def density_histogram(name: str, density: np.ndarray) -> str:
    """The features that fire, by the logarithm of their density, as an <svg>; "" when none fires."""
    alive = density[np.isfinite(density) & (density > 0)]
    if not alive.size:
        return ""
    import matplotlib

    log = np.log10(alive)
    low = math.floor(log.min() * 5) / 5 - 0.2
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes("features")
        axes.grid(False, axis="x")
        axes.hist(log, bins=np.arange(low, 0.21, 0.1), color=BLUE)
        axes.set_xlim(low, 0.1)
        limit = math.log10(ULTRALOW)
        if low < limit:
            axes.axvspan(low, limit, color="#f6d9c4", zorder=0, linewidth=0)
            axes.text(low, 1.01, " ultralow", color=ORANGE, transform=axes.get_xaxis_transform(), va="bottom")
        axes.set_xlabel("log₁₀ of the share of tokens it fires on")
        return _svg(
            figure,
            name,
            f"Histogram of the densities of {alive.size} features that fire, median {_g(np.median(alive))}",
        )


def _axes(y_label: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylabel(y_label)
    axes.tick_params(length=0)
    return figure, axes


def _scale(axes: Any, log: bool) -> None:
    """Formats the y axis; a logarithmic one shows both the steep beginning and the flat end of a curve."""
    from matplotlib import ticker

    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
        axes.tick_params(which="minor", length=0)
    axes.yaxis.set_major_formatter(_short)


def _short(value: float, _: Any = None) -> str:
    """An axis label: 25k, 1.5M."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= unit:
            return f"{_g(value / (unit if suffix != 'k' else 1e3))}{suffix}"
    return _g(value)


def _g(value: float) -> str:
    return f"{value:.4g}"


def _describe(y_label: str, lines: Sequence[Line], level: Level | None) -> str:
    said = [f"{x.label} from {_g(x.values[0])} to {_g(x.values[-1])} at step {_g(x.steps[-1])}" for x in lines]
    if level and is_number(level[1]):
        said.append(f"{level[0]} {_g(level[1])}")
    return f"Curves by training step, {y_label}: {', '.join(said)}"


def _svg(figure: Any, name: str, label: str) -> str:
    """The figure as an <svg> that scales with the page, with unique ids and a description for screen readers."""
    import matplotlib

    out = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata=nothing, transparent=True)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>|<metadata.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    box = "".join(re.findall(r'viewBox="([-\d. ]+)"', svg)[:1])
    svg = re.sub(
        r"<svg[^>]*>", f'<svg class="plot" viewBox="{box}" role="img" aria-label="{html.escape(label)}">', svg, count=1
    )
    svg = svg.replace("xlink:href", "href")
    # Matplotlib gives the same ids, such as axes_1, to every figure; on a page each id must be unique.
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return re.sub(r"\n\s*", "\n", svg).strip()
