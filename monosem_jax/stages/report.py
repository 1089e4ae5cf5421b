"""The records of an analysis → one static page."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from monosem_jax.analysis.records import Feature
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
    n_features: int = field(60, at_least=0)
    """Features on the page: those that are best for a label or a proxy, then others spread over all that fire."""


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
    about = {"title": config.title, "n_features": config.n_features}
    with RunDir(workdir, "report", about, parents, ReportRunConfig()) as rundir:

        def write() -> dict[str, Any]:
            shown = _shown(analysis, config.n_features)
            write_page(rundir.path / "index.html", _records(config.title, analysis, shown))
            return {"features": len(shown)}

        return rundir.once(write)


def _shown(analysis: AnalyzeRun, n: int) -> list[Feature]:
    """The features that are best for a label or a proxy, then others, evenly spaced by number among those that fire."""
    records = {r.feature: r for r in analysis.feature_records}
    proxies = (analysis.summary or {}).get("proxies") or {}
    best = [*(c.feature for c in analysis.category_records), *(p.get("feature") for p in proxies.values())]
    first = list(dict.fromkeys(i for i in best if i in records))
    others = [i for i, r in records.items() if r.largest > 0 and i not in first]
    missing = min(max(n - len(first), 0), len(others))
    spread = [others[len(others) * k // missing] for k in range(missing)]
    return [records[i] for i in [*first, *spread]]


def _records(title: str, analysis: AnalyzeRun, shown: list[Feature]) -> Records:
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
        features=shown,
        evidence=analysis.summary or {},
    )
