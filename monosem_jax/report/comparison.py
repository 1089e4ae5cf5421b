"""Several sweeps in one table and one figure: which reconstructs best at which L0."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from monosem_jax.report import pareto
from monosem_jax.report.figures import Series, mean, pareto_figure, write_figure
from monosem_jax.report.plots import require_matplotlib


class Sweep(Protocol):
    """The opened run directory of a sweep."""

    config: dict[str, Any]

    @property
    def table(self) -> list[dict[str, Any]] | None:
        """The rows of the table, None while the sweep is unfinished."""
        ...


FIGURES = {"loss": "loss recovered (zero ablation)", "variance_explained": "variance explained"}


def write_comparison(directory: pathlib.Path, sweeps: Mapping[str, Sequence[pareto.Row]]) -> list[pathlib.Path]:
    """Writes comparison.csv, the members of all sweeps with a column `sweep`, and compare_loss and compare_variance,
    L0 against the metric, as PNG and SVG; returns the files.

    Raises BadInput when matplotlib is missing.
    """
    require_matplotlib()
    written = [directory / "comparison.csv"]
    rows = [{"sweep": name, **row} for name, members in sweeps.items() for row in members]
    written[0].write_bytes(pareto.to_csv(rows).encode())
    for name, y_label in FIGURES.items():
        metric = "loss_recovered_zero" if name == "loss" else name
        series, points = [], []
        for sweep, members in sweeps.items():
            found = list(pareto.settings(members, metric).values())
            points += [mean(p) for p in found]
            if found:
                series.append(Series(sweep, sorted(found, key=mean)))
        if series:
            best = [points[i] for i in pareto.front([(x, -y) for x, y in points])]
            draw = functools.partial(pareto_figure, series, best, y_label, share=True, legend="sweep")
            written += write_figure(directory, f"compare_{name.split('_')[0]}", draw)
    return written


def table(sweeps: Mapping[str, Sequence[pareto.Row]]) -> str:
    """The table of every sweep under its name."""
    return "\n\n".join(f"{name}\n{pareto.table(rows)}" for name, rows in sweeps.items())


def rows_of(run: Sweep) -> list[pareto.Row]:
    """The rows of a finished sweep's table, with the architecture of each."""
    return [{"architecture": run.config["sae"]["architecture"], **row} for row in run.table or ()]
