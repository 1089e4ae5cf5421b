"""A sweep as a table and figures: the sparsity of its dictionaries against how well they reconstruct.

Members of one size and one sparsity coefficient differ by seed: together they are a setting, represented by their mean.
The front consists of the settings that no other beats in both respects.
"""

from __future__ import annotations

import csv
import functools
import io
import itertools
import math
import pathlib
from collections.abc import Hashable, Sequence
from typing import Any

from monosem_jax.report.figures import Point, Series, mean, pareto_figure, sizes_figure, write_figure
from monosem_jax.report.plots import is_number, require_matplotlib
from monosem_jax.report.text import visible
from monosem_jax.runtime.formatting import distinct, text_table

Row = dict[str, Any]
COLUMNS = {  # and their headings in the table; a column without one appears as a note at the end of a line
    "name": "name",
    "n_features": "features",
    "l1_coefficient": "L1",
    "seed": "seed",
    "l0": "L0",
    "mse": "mse",
    "variance_explained": "variance",
    "loss_recovered_zero": "loss (zero)",
    "loss_recovered_mean": "loss (mean)",
    "dead": "dead",
    "ultralow": "ultralow",
    "l0_share_above_1pct": "L0 by > 1 %",
    "median_density": "median density",
    "twins": "twins",
    "fms_1": "FMS@1",
    "probe_k1": "probe k=1",
    "judge_score": "judge",
    "diverged_at_step": "",
}
# The key that sets the sparsity in each architecture, and its heading in the table.
SPARSITY = {"l1_coefficient": "L1", "k": "k", "l0_coefficient": "L0 weight", "target_l0": "target L0"}
LOSSES = ("loss_recovered_zero", "loss_recovered_mean")
SHARES = ("variance_explained", "l0_share_above_1pct", *LOSSES)
FRACTIONS = (*SPARSITY, "l0", "mse", "median_density", "fms_1", "probe_k1", "judge_score")
PANELS = {"dead": "dead: never active", "ultralow": "ultralow: on < 1 token in 10⁶"}


def front(points: Sequence[Point]) -> list[int]:
    """The indices of the points on the front, from left to right: no other point is at most equal in both coordinates
    and smaller in one. Of equal points all are on the front, or none."""
    best = math.inf
    kept: list[int] = []
    order = sorted(range(len(points)), key=points.__getitem__)
    for point, same in itertools.groupby(order, key=points.__getitem__):
        if point[1] < best:
            best = point[1]
            kept += same
    return kept


def write_sweep(directory: pathlib.Path, rows: Sequence[Row]) -> list[pathlib.Path]:
    """Writes sweep.csv and each figure that the rows have numbers for, as PNG and SVG, and returns the files.

    Figures: pareto_loss, L0 against loss recovered; pareto_mse, L0 against the error; pareto_dense, L0 against the
    share of it that dense features carry; after an analysis pareto_fms and pareto_judge; sizes, the shares of dead and
    ultralow features. The same rows give the same bytes, in any order. Members that diverged are in sweep.csv only.
    Raises BadInput when matplotlib is missing.
    """
    require_matplotlib()
    rows = _ordered(rows)
    directory.mkdir(parents=True, exist_ok=True)
    written = [directory / "sweep.csv"]
    written[0].write_bytes(to_csv(rows).encode())
    loss = _loss(rows)
    label = f"loss recovered ({loss.removeprefix('loss_recovered_')} ablation)"
    figures = (
        ("pareto_loss", loss, label),
        ("pareto_mse", "mse", "mean squared error"),
        ("pareto_dense", "l0_share_above_1pct", "share of L0 by features on > 1 % of tokens"),
        ("pareto_fms", "fms_1", "Feature Monosemanticity Score, FMS@1"),
        ("pareto_judge", "judge_score", "judge's simulation score"),
    )
    for name, metric, y_label in figures:
        if found := settings(rows, metric):
            best = [mean(found[key]) for key in _best(found, metric)]
            draw = functools.partial(pareto_figure, _by_size(found), best, y_label, share=metric in SHARES)
            written += write_figure(directory, name, draw)
    panels = {title: series for column, title in PANELS.items() if (series := _by_coefficient(rows, column))}
    if panels:
        written += write_figure(directory, "sizes", functools.partial(sizes_figure, panels))
    return written


def to_csv(rows: Sequence[Row]) -> str:
    """All columns of all rows as CSV (RFC 4180); a missing value is empty, and unknown columns come last."""
    others = sorted({key for row in rows for key in row} - COLUMNS.keys())
    out = io.StringIO()
    writer = csv.DictWriter(out, [*COLUMNS, *others], lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(_ordered(rows))
    return out.getvalue()


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text, without columns that no row has; '*' marks the settings on the front."""
    rows, metric = _ordered(rows), _loss(rows)
    found = settings(rows, metric) or settings(rows, metric := "mse")
    best = _best(found, metric)
    headings = {
        c: h for column, h in COLUMNS.items() for c, h in (SPARSITY if column in SPARSITY else {column: h}).items()
    }
    names = [c for c, heading in headings.items() if heading and any(row.get(c) is not None for row in rows)]
    lines = [[*(headings[c] for c in names), ""]]
    for row in rows:
        note = "*" if _is_drawn(row, metric) and _setting(row) in best else ""
        if diverged(row):
            note = f"diverged at step {_written('diverged_at_step', row['diverged_at_step'])}"
        lines.append([*(_written(c, row.get(c)) for c in names), note])
    text = text_table(lines, left=[i for i, c in enumerate((*names, "")) if c in ("name", "")])
    if best:
        better = "lower mean squared error" if metric == "mse" else "higher loss recovered"
        text += ["", f"* the front: no other setting has a lower L0 and a {better}, both as means over seeds"]
    return "\n".join(text)


def diverged(row: Row) -> bool:
    """Whether a member's training diverged and was stopped."""
    return row.get("diverged_at_step") is not None


def settings(rows: Sequence[Row], metric: str) -> dict[Hashable, list[Point]]:
    """The (L0, metric) of the members of each setting, without members that have no place on a logarithmic L0 axis."""
    found: dict[Hashable, list[Point]] = {}
    for row in rows:
        if _is_drawn(row, metric):
            found.setdefault(_setting(row), []).append((row["l0"], row[metric]))
    return found


def _is_drawn(row: Row, metric: str) -> bool:
    return not diverged(row) and all(is_number(row.get(c)) for c in ("n_features", "l0", metric)) and row["l0"] > 0


def _setting(row: Row) -> tuple[int, Hashable]:
    """The size and the sparsity coefficient; a member without a coefficient is a setting of its own."""
    value = _sparsity(row)
    return row["n_features"], value if is_number(value) else row.get("name")


def _sparsity(row: Row) -> float | None:
    return next((row[key] for key in SPARSITY if is_number(row.get(key))), None)


def _best(found: dict[Hashable, list[Point]], metric: str) -> list[Hashable]:
    """The settings on the front, from left to right."""
    sign = 1 if metric in ("mse", "l0_share_above_1pct") else -1  # which are better small
    keys, means = list(found), [mean(points) for points in found.values()]
    return [keys[i] for i in front([(x, sign * y) for x, y in means])]


def _by_size(found: dict[Any, list[Point]]) -> list[Series]:
    """A series for every size, connected from low to high L0."""
    sizes = sorted({n for n, _ in found})
    return [Series(f"{n:,}", sorted((found[k] for k in found if k[0] == n), key=mean)) for n in sizes]


def _by_coefficient(rows: Sequence[Row], column: str) -> list[Series]:
    """A series for every sparsity coefficient, connected by size: sizes against shares of the features. Empty if no row
    has the column; otherwise every column has the same coefficients, so that colours agree between panels."""
    found: dict[float, dict[float, list[Point]]] = {}
    for row in rows:
        value, n = _sparsity(row), row.get("n_features")
        if not diverged(row) and is_number(n):
            sizes = found.setdefault(value if is_number(value) else math.inf, {})
            if is_number(row.get(column)):
                sizes.setdefault(n, []).append((n, row[column] / n))
    series = [
        Series(name if l1 < math.inf else "none", [sizes[n] for n in sorted(sizes)])
        for name, (l1, sizes) in zip(distinct(sorted(found)), sorted(found.items()), strict=True)
    ]
    return series if any(s.settings for s in series) else []


def _loss(rows: Sequence[Row]) -> str:
    """The loss recovered that can be drawn: against zero ablation if any member has it."""
    return next((metric for metric in LOSSES if settings(rows, metric)), LOSSES[0])


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """Sorted by size, sparsity coefficient, seed and name; missing values come last."""

    def key(row: Row) -> list[tuple[bool, Any]]:
        numbers = [row.get("n_features"), _sparsity(row), row.get("seed")]
        return [*((not is_number(n), n if is_number(n) else 0) for n in numbers), (False, str(row.get("name")))]

    return sorted(rows, key=key)


def _written(column: str, value: Any) -> str:
    if value is None:
        return "–"
    if not is_number(value) or column == "seed":
        return visible(str(value))
    if column in SHARES:
        return f"{100 * value:.2f} %"
    return f"{value:.4g}" if column in FRACTIONS else f"{value:,}"
