"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monosem_jax.report.text import visible


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> str:
    """A heading, a note, and the rows under their header; "" without rows."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(cell(c) for c in row) + " |" for row in (header, ["---"] * len(header), *rows)]
    return f"## {title}\n\n{note + chr(10) + chr(10) if note else ''}" + "\n".join(lines) + "\n"


def cell(value: Any) -> str:
    """A value as it stands in a table: numbers short, "–" for None, text escaped."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e-2 or abs(value) >= 1e4 else f"{value:.3f}".rstrip("0").rstrip(".")
    return visible(str(value)).replace("|", "\\|")


def percent(x: float | None) -> str | None:
    """A share as a whole percentage."""
    return None if x is None else f"{100 * x:.0f} %"
