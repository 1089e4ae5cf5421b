"""The records of an analysis → one static page."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from monosem_jax.analysis.run import AnalyzeRun
from monosem_jax.load import load_run
from monosem_jax.report.page import require_libraries, write_page
from monosem_jax.report.records import Records
from monosem_jax.runtime.config import field, from_dict, upgrade
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import Place
from monosem_jax.runtime.workdir import RunDir, parent
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class ReportRunConfig:
    """Which analysis the page shows."""

    analysis: str = field("", place=Place())
    """Directory of a finished analyze run."""
    title: str = "Dictionary report"
    """Title of the page."""


@stage
def report(workdir: str | pathlib.Path, config: ReportRunConfig) -> dict[str, Any]:
    """Writes `index.html` into `workdir` and returns the summary."""
    require_libraries()
    if not config.analysis:
        raise BadInput("config.analysis is empty: expected the directory of a finished analyze run")
    analysis = load_run(config.analysis)
    if not isinstance(analysis, AnalyzeRun) or analysis.summary is None:
        raise BadInput(f"{config.analysis} is not a finished analyze run")
    parents = {"analysis": parent(config.analysis, "summary.json")}
    with RunDir(workdir, "report", {"title": config.title}, parents) as rundir:

        def write() -> dict[str, Any]:
            write_page(rundir.path / "index.html", _records(config.title, analysis))
            return {"features": len(analysis.feature_records)}

        return rundir.once(write)


def _records(title: str, analysis: AnalyzeRun) -> Records:
    dictionary = analysis.dictionary
    steps: tuple[int, ...] = ()
    if "train" in dictionary.config:  # otherwise it was imported
        resample = from_dict(ResampleConfig, dictionary.config["resample"])
        train = from_dict(TrainConfig, upgrade(TrainConfig, dictionary.config["train"]))
        steps = resample.resolve(train).steps
    return Records(
        title=title,
        dictionary=dictionary.summary or {},
        transformer=dictionary.transformer.summary,
        transformer_metrics=dictionary.transformer.metrics,
        dictionary_metrics=dictionary.metrics,
        resample_steps=list(steps),
        density=analysis.density,
        density_tokens=(analysis.summary or {})["scanned_tokens"],
        categories=analysis.category_records,
        features=analysis.feature_records,
    )
