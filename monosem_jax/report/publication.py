"""Figures for a paper, as SVG and PDF: one column wide, the same bytes for the same numbers. Colours are safe for the
colour-blind, and sets differ in their lines or hatches too."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from monosem_jax.report.figures import COLOURS, drawn_token
from monosem_jax.report.plots import GREY, STYLE, is_number

WIDTH, HEIGHT = 3.4, 2.3  # inches
PAPER = {**STYLE, "font.size": 8, "pdf.fonttype": 42, "hatch.linewidth": 0.5}  # 42: text in a PDF stays text
NOTHING = {"svg": dict.fromkeys(("Date", "Creator", "Format", "Type")), "pdf": {"CreationDate": None, "Producer": None}}
DASHES, HATCHES = ("-", "--", ":", "-."), ("", "////", "....", "xxxx", "\\\\\\\\")
PER_DECADE = 5  # bins of a density spectrum
LIGHT = "#c9ced4"


def write(folder: pathlib.Path, name: str, draw: Callable[[], Any]) -> list[str]:
    """Writes the figure that `draw` returns as NAME.svg and NAME.pdf, and returns their names."""
    import matplotlib

    with matplotlib.rc_context({**PAPER, "svg.hashsalt": name}):
        figure = draw()
        for kind, metadata in NOTHING.items():
            figure.savefig(folder / f"{name}.{kind}", metadata=metadata)
    return [f"{name}.{kind}" for kind in NOTHING]


def density_spectrum(densities: Mapping[str, np.ndarray]) -> Any:
    """The share of each set's features by the logarithm of their density; those that never fire are counted in the
    legend. `densities`: set -> [F]."""
    figure, (axes,) = _figure(1)
    alive = {name: d[np.isfinite(d) & (d > 0)] for name, d in densities.items()}
    low = min((np.floor(np.log10(d.min())) for d in alive.values() if d.size), default=-6.0)
    bins = np.linspace(low, 0, max(int(-low * PER_DECADE), 1) + 1)
    for i, (name, d) in enumerate(alive.items()):
        total = len(densities[name])
        heights = np.histogram(np.log10(d), bins)[0] / max(total, 1)
        label = f"{name} ({total - d.size:,} of {total:,} dead)"
        axes.stairs(heights, bins, color=COLOURS[i % len(COLOURS)], linestyle=DASHES[i % len(DASHES)], label=label,
                    fill=False, linewidth=1.3)  # fmt: skip
    axes.set_xlabel("log₁₀ of the share of tokens it fires on")
    axes.set_ylabel("share of the set")
    axes.set_ylim(bottom=0)
    _legend_above(figure, axes, 1)
    return figure


def activation_histogram(feature: int, proxy: str, largest: float, score: Mapping[str, Any]) -> Any:
    """A feature's firings in equal intervals of (0, largest], those on tokens of the proxy apart, and below the share
    of them. `score`: `specificity` and `firings` of each interval, as in a record; an interval without a specificity is
    grey."""
    figure, (counts, shares) = _figure(2, height=1.35 * HEIGHT)
    firings = np.asarray(score["firings"], float)
    edges = np.linspace(0, largest, len(firings) + 1)
    middles, width = (edges[:-1] + edges[1:]) / 2, largest / len(firings)
    known = np.asarray([is_number(s) for s in score["specificity"]])
    share = np.asarray([s if is_number(s) else 0.0 for s in score["specificity"]])
    name = drawn_token(proxy)
    bar = {"width": 0.92 * width, "linewidth": 0}
    counts.bar(middles, firings * share * known, color=COLOURS[0], label=f"on tokens of {name}", **bar)
    other = firings * (1 - share) * known
    counts.bar(middles, other, bottom=firings * share * known, color=COLOURS[1], hatch="////", edgecolor="white",
               label="on other tokens", **bar)  # fmt: skip
    if not known.all():
        counts.bar(middles, firings * ~known, color=LIGHT, label="too few to say", **bar)
    counts.set_ylabel("firings")
    counts.set_title(f"feature {feature}", fontsize=8, loc="left")
    shares.plot(middles[known], share[known], color=COLOURS[0], marker="o", markersize=3)
    shares.set_ylim(0, 1.05)
    shares.set_ylabel("share")
    shares.set_xlabel("activation")
    _legend_above(figure, counts, 1)
    return figure


def grouped_bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    label: str,
    marks: Mapping[str, Sequence[float | None]] | None = None,
    mark_label: str = "",
) -> Any:
    """Groups of bars, one bar per series in each; a missing value has no bar. `marks`: by the name of a series, values
    drawn as lines across its bars, such as baselines; `mark_label` is what they are."""
    wide = max(WIDTH, 0.17 * len(groups) * max(len(series), 1) + 0.5)
    figure, (axes,) = _figure(1, width=wide, height=1.15 * HEIGHT)
    step = 0.8 / max(len(series), 1)
    for i, (name, values) in enumerate(series.items()):
        shift = (i - (len(series) - 1) / 2) * step
        there = [(j + shift, v) for j, v in enumerate(values) if is_number(v)]
        axes.bar([x for x, _ in there], [v for _, v in there], 0.92 * step, color=COLOURS[i % len(COLOURS)],
                 hatch=HATCHES[i % len(HATCHES)], edgecolor="white", linewidth=0, label=drawn_token(name))  # fmt: skip
        lines = [(j + shift, v) for j, v in enumerate((marks or {}).get(name, ())) if is_number(v)]
        if lines:
            low, high = ([x + side * 0.46 * step for x, _ in lines] for side in (-1, 1))
            axes.hlines([v for _, v in lines], low, high, color="#16191d", linewidth=1.4, label=mark_label or None)
            mark_label = ""  # one entry of the legend
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.grid(False, axis="x")
    slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(groups)), [drawn_token(g) for g in groups], **slanted)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylabel(label)
    _legend_above(figure, axes, len(series) + bool(marks) if wide > WIDTH else 2)
    return figure


def _figure(rows: int, width: float = WIDTH, height: float = HEIGHT) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    heights = [2] * (rows - 1) + [1]
    found = figure.subplots(rows, 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0].tolist()
    for axes in found:
        axes.tick_params(length=0, which="both")
    return figure, found


def _legend_above(figure: Any, axes: Any, columns: int) -> None:
    """The legend above the axes, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, handlelength=1.6, columnspacing=1.2)
