"""A finished analysis → files for other programs: dashboards, caches, tables, figures."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

from monosem_jax.interop import delphi, feature_table, neuronpedia, saedashboard
from monosem_jax.interop.analyzed import Analyzed
from monosem_jax.load import load_run
from monosem_jax.report.plots import require_matplotlib
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import new_folder
from monosem_jax.stages.export_figures import write_figures

WRITERS: dict[str, Callable[[pathlib.Path, Analyzed], str]] = {
    "neuronpedia": neuronpedia.write,
    "saedashboard": saedashboard.write,
    "delphi": delphi.write,
    "csv": feature_table.write_csv,
    "parquet": feature_table.write_parquet,
    "figures": write_figures,
}
# What a format needs beyond the core, said before any work.
NEEDS: dict[str, Callable[[], None]] = {"parquet": feature_table.require_pyarrow, "figures": require_matplotlib}


def export_analysis(workdir: str | pathlib.Path, config: Any) -> dict[str, str]:
    """Writes the analysis in `workdir` in config.format into config.output, and returns format -> what was written.

    Raises BadInput when it is no finished analysis, the format needs what is missing, or the output already exists.
    """
    if config.step >= 0:
        raise BadInput(f"--step is given with --format={config.format}: an analysis is of one checkpoint")
    if not config.output:
        raise BadInput("--output is missing: give the folder to make")
    NEEDS.get(config.format, lambda: None)()
    analysis = Analyzed(load_run(workdir))
    with new_folder(config.output) as folder:
        written = WRITERS[config.format](folder, analysis)
    print(f"{config.output}: {config.format}, {written}")
    return {config.format: written}
