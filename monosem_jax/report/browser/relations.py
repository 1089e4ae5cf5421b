"""The data files of a comparison of dictionaries."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from monosem_jax.report.browser.container import write_json_chunk
from monosem_jax.report.browser.material import ComparisonMaterial
from monosem_jax.report.browser.relations_matches import write_matches, write_stability
from monosem_jax.report.browser.relations_plane import write_map
from monosem_jax.report.browser.relations_splitting import write_splitting

PREFIX = "compared.sets"  # of the keys of data files; with a dot, so that no dictionary has that name
SHOWN = ("name", "role", "model", "architecture", "seed", "site", "n_features", "dictionary", "set")
WITHOUT = "the comparison was made without it"
ONE_SIZE = "the dictionaries that were compared have one size: expected two or more"

Part = Callable[[pathlib.Path, ComparisonMaterial], dict[str, Any] | None]


def write_relations(folder: pathlib.Path, comparison: ComparisonMaterial) -> dict[str, Any]:
    """Writes the data files of a comparison into the browser in `folder`; returns its part of the manifest.

    Raises BadInput naming what is missing among the arrays of the comparison.
    """
    gaps = [dict(gap) for gap in comparison.tables.get("gaps") or []]
    found: dict[str, Any] = {
        # the end of the path of a run is its name; the rest says where someone's files lie
        "sets": [{key: row.get(key) for key in SHOWN} for row in comparison.sets],
        "tokens": comparison.summary.get("compared_tokens"),
        "gaps": gaps,
        "has": {},
        "absent": {},
    }
    for name, write in PARTS.items():
        part = write(folder, comparison)
        found["has"][name] = part is not None
        if part is None:
            found["absent"][name] = _why(name, gaps)
        else:
            found[name] = part
    return found


def _why(name: str, gaps: list[dict[str, Any]]) -> str:
    reasons = [str(gap.get("reason")) for gap in gaps if str(gap.get("kind", "")).startswith(name)]
    return "; ".join(reasons) or WITHOUT


def _automata(folder: pathlib.Path, comparison: ComparisonMaterial) -> dict[str, Any] | None:
    found: Mapping[str, Any] | None = comparison.tables.get("automata")
    if not found:
        return None
    write_json_chunk(folder, f"{PREFIX}/automata", found)
    return {"sets": list(found)}


def _motifs(folder: pathlib.Path, comparison: ComparisonMaterial) -> dict[str, Any] | None:
    found: Mapping[str, Any] | None = comparison.tables.get("motifs")
    if not found:
        return None
    write_json_chunk(folder, f"{PREFIX}/motifs", found)
    return {"set": found["set"]}


PARTS: dict[str, Part] = {
    "universality": lambda folder, comparison: write_matches(folder, PREFIX, comparison),
    "stability": lambda folder, comparison: write_stability(folder, PREFIX, comparison),
    "splitting": lambda folder, comparison: write_splitting(folder, PREFIX, comparison),
    "map": lambda folder, comparison: write_map(folder, PREFIX, comparison),
    "automata": _automata,
    "motifs": _motifs,
}
