"""Figures of series of points, as PNG and SVG files. A series connects settings; a setting is the mean of several
members, which are drawn as small markers around it."""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monosem_jax.report.plots import BLUE, GREY, ORANGE, STYLE
from monosem_jax.report.text import escaped, lone_token_text, visible

Point = tuple[float, float]
COLOURS = (
    BLUE,
    ORANGE,
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#16191d",
)  # safe for the colour-blind
MARKERS = "osD^vP*X"
SIZE, DPI = (7.0, 4.0), 180  # inches
# The labels within a decade of a logarithmic axis that spans at most this ratio.
LABELS = ((4, ()), (30, (1, 1.5, 2, 3, 5, 7)), (500, (1, 2, 5)), (math.inf, (1,)))


@dataclasses.dataclass(frozen=True)
class Series:
    """A line of settings, in the order in which it connects them, each with the points of its members."""

    label: str
    settings: Sequence[Sequence[Point]]


def mean(points: Sequence[Point]) -> Point:
    """The mean of points."""
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def write_figure(directory: pathlib.Path, name: str, draw: Callable[[], Any]) -> list[pathlib.Path]:
    """Writes the figure that `draw` returns as PNG and SVG, without dates, so that equal figures give equal files."""
    import matplotlib

    files = [directory / f"{name}.png", directory / f"{name}.svg"]
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = draw()
        figure.savefig(files[0], dpi=DPI, metadata={"Software": None})
        figure.savefig(files[1], metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return files


def drawn_token(token: str) -> str:
    """A token in a figure, with escapes for characters of which the font has no glyph."""
    return "".join(c if ord(c) in _glyphs() else escaped(c) for c in visible(lone_token_text(token)))


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager, ft2font

    return frozenset(ft2font.FT2Font(font_manager.findfont(STYLE["font.sans-serif"][0])).get_charmap())


def pareto_figure(
    series: Sequence[Series], best: Sequence[Point], y_label: str, *, share: bool, legend: str = "features"
) -> Any:
    """L0 against a metric. The points `best`, from left to right, are ringed, and steps between them show the front.
    `share`: the metric is shown in per cent. `legend`: the title of the legend."""
    figure, (axes,) = _figure(1)
    for one, style in zip(series, _styles(len(series)), strict=True):
        _draw(axes, one, style)
    rings = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "markeredgewidth": 0.8, "linewidth": 0.8}
    axes.plot(*zip(*best, strict=True), color=GREY, **rings, drawstyle="steps-post", zorder=1, label="front")
    axes.set_xlabel("L0: features active per token")
    axes.set_ylabel(y_label)
    xs, ys = zip(*(p for s in series for points in s.settings for p in points), strict=True)
    _log_axis(axes, "x", xs)
    if share:
        axes.yaxis.set_major_formatter(_percent)
        if min(ys) == max(ys):
            axes.set_ylim(ys[0] - 0.01, ys[0] + 0.01)
    elif min(ys) > 0 and max(ys) > 4 * min(ys):
        _log_axis(axes, "y", ys)
    _legend(figure, [axes], legend)
    return figure


def sizes_figure(panels: Mapping[str, Sequence[Series]]) -> Any:
    """Sizes of dictionaries against shares of their features, a panel for each title. Each series is one sparsity
    coefficient, and all panels have the same ones."""
    from matplotlib import ticker

    figure, all_axes = _figure(len(panels))
    for axes, (title, series) in zip(all_axes, panels.items(), strict=True):
        for one, style in zip(series, _styles(len(series)), strict=True):
            _draw(axes, one, style)
        sizes = sorted({x for s in series for points in s.settings for x, _ in points})
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_xlabel("features in the dictionary")
        axes.set_xscale("log", base=2)
        slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if len(sizes) > 3 else {}
        axes.set_xticks(sizes, [f"{n:,}" for n in sizes], **slanted)
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
        axes.set_ylim(bottom=0, top=max(axes.get_ylim()[1], 0.01))
        axes.yaxis.set_major_formatter(_percent)
    all_axes[0].set_ylabel("share of the features")
    _legend(figure, all_axes, "L1")
    return figure


def _draw(axes: Any, series: Series, style: dict[str, Any]) -> None:
    """Draws the means of a series, connected, and the members of settings that have several."""
    if not series.settings:
        return
    means = zip(*map(mean, series.settings), strict=True)
    axes.plot(*means, **style, markersize=6, zorder=3, label=series.label, clip_on=False)
    several = [p for points in series.settings if len(points) > 1 for p in points]
    if several:
        look = {**style, "linestyle": "", "markersize": 3.2, "markeredgewidth": 0, "alpha": 0.75}
        axes.plot(*zip(*several, strict=True), **look, zorder=2, clip_on=False)


def _styles(n: int) -> list[dict[str, Any]]:
    """A colour and a marker for each of n series; the pairs repeat after 56."""
    return [{"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]} for i in range(n)]


def _figure(n: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    all_axes = figure.subplots(1, n, squeeze=False)[0].tolist()
    for axes in all_axes:
        axes.tick_params(length=0, which="both")
    return figure, all_axes


def _log_axis(axes: Any, which: str, values: Sequence[float]) -> None:
    """A logarithmic axis with round numbers as labels; a single value gets room around it."""
    from matplotlib import ticker

    low, high = min(values), max(values)
    axes.set(**{f"{which}scale": "log"})
    if low == high:
        axes.set(**{f"{which}lim": (low / 2, high * 2)})
    axis = axes.xaxis if which == "x" else axes.yaxis
    # As many labels per decade as there is room for. On less than a decade LogLocator may find no round number.
    subs = next(s for most, s in LABELS if high <= most * low)
    axis.set_major_locator(ticker.LogLocator(subs=subs) if subs else ticker.MaxNLocator(5))
    axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axis.set_minor_locator(ticker.NullLocator())


def _percent(share: float, _: Any = None) -> str:
    return f"{100 * share:.10g} %"


def _legend(figure: Any, all_axes: Sequence[Any], title: str) -> None:
    """Puts the legend beside the figure, where it covers no point; a series may be missing in one of the panels."""
    shown: dict[str, Any] = {}
    for axes in all_axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    if any(line.get_linestyle() == "None" for axes in all_axes for line in axes.lines):
        shown["one seed"] = all_axes[0].plot([], [], "o", color=GREY, markersize=3.2)[0]
    figure.legend(shown.values(), shown.keys(), title=title, loc="outside right center", alignment="left")
