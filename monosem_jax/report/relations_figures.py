"""The figures of a comparison, from its tables and arrays."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from monosem_jax.report.automata_figures import automaton_figure
from monosem_jax.report.figures import write_figure
from monosem_jax.report.splitting_figures import children_figure, family_figure, map_figure
from monosem_jax.report.universality_figures import write_universality


def write_relations_figures(
    directory: pathlib.Path, tables: Mapping[str, Any], arrays: Mapping[str, Mapping[str, np.ndarray]]
) -> list[pathlib.Path]:
    """Writes into a directory, as PNG and SVG, what there is to draw: `universality`, `children`, `family_N` for each
    family that is told, `map`, and `automaton_N` for the N-th automaton of the first set if it is confirmed. `tables`
    and `arrays` by the names of `CompareRun.table` and of the NPZ files."""
    files = write_universality(directory, tables.get("universality") or [])
    for name, draw in _drawings(tables, arrays).items():
        files += write_figure(directory, name, draw)
    return files


def _drawings(
    tables: Mapping[str, Any], arrays: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {}
    if splitting := tables.get("splitting"):
        found["children"] = functools.partial(children_figure, splitting)
        for i, told in enumerate(splitting["told"]):
            if told["feature"].get("children"):
                found[f"family_{i}"] = functools.partial(family_figure, told, splitting["sizes"])
    if (table := tables.get("map")) and "map" in arrays:
        found["map"] = functools.partial(map_figure, table, arrays["map"])
    first = tables["sets"][0]["name"]
    for i, automaton in enumerate((tables.get("automata") or {}).get(first, {}).get("automata", [])):
        if automaton["confirmed"]:
            found[f"automaton_{i}"] = functools.partial(automaton_figure, automaton)
    return found
