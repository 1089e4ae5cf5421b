"""The table of a suite: a line for the dictionary of each site, as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Sequence
from typing import Any

from monosem_jax.report import markdown
from monosem_jax.runtime.formatting import text_table

Row = dict[str, Any]
COLUMNS = {  # and their headings; `told` tells why a line has no figures
    "name": "dictionary of",
    "width": "width",
    "n_features": "features",
    "l0": "L0",
    "variance_explained": "variance",
    "loss_recovered_zero": "loss (zero)",
    "loss_recovered_mean": "loss (mean)",
    "ce_intact": "nats/token",
    "ce_reconstructed": "spliced",
    "l0_share_above_1pct": "L0 by > 1 %",
    "median_density": "median density",
    "dead": "dead",
    "ultralow": "ultralow",
    "twins": "twins",
    "fms_1": "FMS@1",
    "probe_k1": "probe k=1",
    "judge_score": "judge",
    "told": "",
}
EVIDENCE = ("twins", "fms_1", "probe_k1", "judge_score")


def shown(rows: Sequence[Row]) -> list[str]:
    """The columns that some line has a value for."""
    return [column for column in COLUMNS if any(row.get(column) is not None for row in rows)]


def text(rows: Sequence[Row]) -> str:
    """The lines as aligned text."""
    columns = shown(rows)
    cells = [["" if (v := row.get(c)) is None else markdown.cell(v) for c in columns] for row in rows]
    return "\n".join(text_table([[COLUMNS[c] for c in columns], *cells], left=(0,)))


def write(directory: pathlib.Path, rows: Sequence[Row], title: str) -> list[pathlib.Path]:
    """Writes suite.csv, with every column (a missing value is empty), and suite.md, and returns the files."""
    out, columns = io.StringIO(), shown(rows)
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    body = [[row.get(c) for c in columns] for row in rows]
    texts = {"suite.csv": out.getvalue(), "suite.md": markdown.table(title, [COLUMNS[c] for c in columns], body)}
    for name, content in texts.items():
        (directory / name).write_bytes(content.encode())
    return [directory / name for name in texts]
