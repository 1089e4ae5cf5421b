"""The tables of a comparison as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from monosem_jax.report import relations_automata, relations_crosscoder, relations_splitting, relations_universality
from monosem_jax.report.markdown import table

SECTIONS: tuple[Callable[[Mapping[str, Any]], str], ...] = (
    relations_universality.section,
    relations_splitting.section,
    relations_automata.automata,
    relations_automata.motifs,
    relations_crosscoder.section,
)
"""Functions of the tables, by their names, that give a section of Markdown each, "" if there is nothing to say."""


def markdown(tables: Mapping[str, Any]) -> str:
    """The tables that there are, by the names of `CompareRun.table`, as one Markdown text."""
    gaps = table("What is missing", ["kind", "reason"], [[g["kind"], g["reason"]] for g in tables.get("gaps") or []])
    parts = [_sets(tables), *(section(tables) for section in SECTIONS), gaps]
    return "\n".join(part for part in parts if part)


def _sets(tables: Mapping[str, Any]) -> str:
    keys = ("name", "role", "architecture", "seed", "site", "n_features", "run")
    rows = [[row.get(key) for key in keys] for row in tables.get("sets") or []]
    return table("What is compared", ["set", "role", "architecture", "seed", "site", "features", "run"], rows)
