"""The figures of an analysis for a paper: densities, the proxies' features, and features beside neurons and control."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from monosem_jax.interop.analyzed import SET, Analyzed
from monosem_jax.interop.dashboards import url_name
from monosem_jax.report import publication
from monosem_jax.runtime.errors import BadInput

CONCEPTS = {"probe_k1": "probe, k = 1", "probe_k5": "probe, k = 5", "fms_1": "FMS@1", "fms_5": "FMS@5",
            "fms_1_shuffled": "FMS@1, shuffled"}  # fmt: skip
Figure = tuple[str, Callable[[], Any]]


def write_figures(folder: pathlib.Path, analysis: Analyzed) -> str:
    """Writes every figure for which there are numbers as SVG and PDF; returns what was written in words.

    Raises BadInput where there is none.
    """
    names = []
    for name, draw in _figures(analysis):
        publication.write(folder, name, draw)
        names.append(name)
    if not names:
        raise BadInput(f"{analysis.run.path} has no numbers to draw: its tables are missing")
    return f"{len(names)} figures as SVG and PDF ({', '.join(names)})"


def _figures(analysis: Analyzed) -> Iterator[Figure]:
    """(name, how it is drawn) of every figure for which there are numbers."""
    densities = {name: _densities(analysis, name) for name in analysis.sets}
    yield "density_spectrum", lambda: publication.density_spectrum(densities)
    rows = [row for row in _table(analysis, "proxies", {}).get("rows", []) if row.get("best")]
    if rows:
        sets = list(dict.fromkeys(best["set"] for row in rows for best in row["best"]))
        found = {s: [_pearson(row, s) for row in rows] for s in sets}
        label = "Pearson correlation"
        yield "proxies", lambda: publication.grouped_bars([row["proxy"] for row in rows], found, label)
    yield from _activations(analysis, rows)
    means: Mapping[str, Mapping[str, Any]] = _table(analysis, "probes", {}).get("means") or {}
    if means:
        values = {name: [row.get(key) for key in CONCEPTS] for name, row in means.items()}
        yield "concepts", lambda: publication.grouped_bars(list(CONCEPTS.values()), values, "accuracy or score")
    yield from _judges(analysis)


def _activations(analysis: Analyzed, rows: list[Mapping[str, Any]]) -> Iterator[Figure]:
    """The best feature of every proxy."""
    for row in rows:
        for best in row["best"]:
            if best["set"] != SET or not any(best["score"]["firings"]):
                continue
            try:
                largest = analysis.run.feature(best["feature"]).largest
            except BadInput:  # it has no record
                continue
            name, score = row["proxy"], best["score"]

            def draw(feature: int = best["feature"], proxy: str = name, top: float = largest, of: Any = score) -> Any:
                return publication.activation_histogram(feature, proxy, top, of)

            yield f"activations_{url_name(name)}", draw


def _judges(analysis: Analyzed) -> Iterator[Figure]:
    """Mean scores of every judge and kind: of each set, and with the explanation of another feature."""
    groups: list[str] = []
    values: dict[str, dict[str, float]] = {}
    shuffled: dict[str, dict[str, float]] = {}
    for row in _table(analysis, "judges", []):
        for s in row["summaries"]:
            if s["group"] == "all" and s["n"]:
                group = f"{row['judge']}, {s['kind']}"
                groups += [group] if group not in groups else []
                values.setdefault(row["set"], {})[group] = s["mean"]
                shuffled.setdefault(row["set"], {})[group] = s["shuffled_mean"]
    if groups:
        series, marks = (
            {name: [of.get(g) for g in groups] for name, of in found.items()} for found in (values, shuffled)
        )
        said = "another feature's explanation"
        yield "judges", lambda: publication.grouped_bars(groups, series, "mean score", marks, said)


def _densities(analysis: Analyzed, name: str) -> np.ndarray:
    if name == SET:
        return np.asarray(analysis.run.density)
    return np.asarray(analysis.run.records.index(name)["density"], float)


def _pearson(row: Mapping[str, Any], name: str) -> float | None:
    return next((best["score"]["pearson"] for best in row["best"] if best["set"] == name), None)


def _table(analysis: Analyzed, name: str, otherwise: Any) -> Any:
    """A table of the analysis, or `otherwise` where it was not made."""
    try:
        return analysis.run.table(name)
    except BadInput:
        return otherwise
