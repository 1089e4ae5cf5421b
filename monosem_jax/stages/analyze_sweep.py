"""A sweep → an analysis of each of its dictionaries, and their figures beside those of the sweep."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from monosem_jax.report import pareto
from monosem_jax.report.plots import require_matplotlib
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.run import SweepRun

EVIDENCE = ("twins", "fms_1", "probe_k1", "judge_score")


def analyze_members(
    workdir: str | pathlib.Path, found: SweepRun, config: Any, analyze: Callable[[pathlib.Path, Any], dict[str, Any]]
) -> dict[str, Any]:
    """Analyzes each member in workdir/NAME, as `analyze` does with `config` and the member as its run; those that are
    finished are not analyzed again. Writes the table and the figures of the sweep with the evidence beside, and returns
    {"members": rows}. Members that diverged are left out.

    Raises BadInput on an unfinished sweep.
    """
    require_matplotlib()
    if found.table is None:
        raise BadInput(f"{found.path} is an unfinished sweep: expected a finished one")
    rows = []
    for row in found.table:
        if row.get("diverged_at_step") is None:
            member = found.path / "members" / row["name"]
            summary = analyze(pathlib.Path(workdir) / row["name"], dataclasses.replace(config, run=str(member)))
            row = {**row, **{key: summary.get(key) for key in EVIDENCE}}
        rows.append(row)
    files = pareto.write_sweep(pathlib.Path(workdir), rows)
    print(pareto.table(rows))
    print("\n" + "\n".join(str(f) for f in files))
    return {"members": rows}
