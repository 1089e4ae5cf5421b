"""The records of analyses → a browser of features: static files that open from disk."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import time
from collections.abc import Sequence
from typing import Any

from monosem_jax.analysis.run import AnalyzeRun
from monosem_jax.load import load_run
from monosem_jax.report.browser.site import write_site
from monosem_jax.runtime.config import field
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import Place, separated
from monosem_jax.runtime.provenance import versions
from monosem_jax.runtime.workdir import RunDir, parent
from monosem_jax.stages.browser_material import comparison_material, dictionary_material, open_comparison

PAGES = ("splitting", "automata", "compare")  # addresses of pages of the whole browser: no dictionary is called so


@dataclasses.dataclass(frozen=True)
class ReportRunConfig:
    """Which analyses the browser shows."""

    analysis: str = field("", place=Place(several=True))
    """Directories of finished analyze runs, with commas between; or the directory of a sweep's analyses. The first one
    is shown first."""
    compare: str = field("", place=Place())
    """Directory of a finished compare run, or empty: for twins, splitting, the map, and automata."""
    title: str = "Features of a dictionary"
    """Title of the browser."""


@stage
def report(workdir: str | pathlib.Path, config: ReportRunConfig) -> dict[str, Any]:
    """Writes `index.html` and its files into `workdir` and returns the summary.

    Raises BadInput on what is not a finished run of the kind expected, on damaged records, and on records of a newer
    format.
    """
    analyses = open_analyses(config.analysis)
    compared = open_comparison(config.compare) if config.compare else None
    parents = {f"analysis{i or ''}": parent(run.path, "summary.json") for i, run in enumerate(analyses)}
    if compared is not None:
        parents["compare"] = parent(compared.path, "summary.json")
    identity = dataclasses.replace(config, analysis="", compare="")
    with RunDir(workdir, "report", identity, parents, ReportRunConfig()) as rundir:

        def write() -> dict[str, Any]:
            begin = time.perf_counter()
            shown = [dictionary_material(id, run) for id, run in named(analyses).items()]
            related = None if compared is None else comparison_material(compared, shown, analyses)
            manifest = write_site(rundir.path, config.title, versions()["monosem_jax"], shown, related)
            seconds = time.perf_counter() - begin
            records = sum(s["records"] for d in manifest["dictionaries"] for s in d["sets"].values())
            size = sum(file.stat().st_size for file in rundir.path.rglob("*") if file.is_file())
            return {"records": records, "bytes": size, "records_per_second": records / seconds, "wall_seconds": seconds}

        summary = rundir.once(write)
    print(f"{rundir.path / 'index.html'} opens in a browser: {summary.get('records', 0):,} records")
    return summary


def open_analyses(paths: str) -> list[AnalyzeRun]:
    """The analyses of a comma-separated list of analyze runs and of directories that hold some (the analysis of a
    sweep).

    Raises BadInput on an empty list, an unfinished analysis, one that is given twice, and on what is no analysis.
    """
    if not paths:
        raise BadInput("config.analysis is empty: expected the directory of a finished analyze run")
    found: list[AnalyzeRun] = []
    for path in separated(paths, "config.analysis"):
        place = pathlib.Path(path)
        inside = [] if (place / "config.json").exists() else sorted(f.parent for f in place.glob("*/config.json"))
        for one in inside or [place]:
            run = load_run(one)
            if not isinstance(run, AnalyzeRun) or run.summary is None:
                raise BadInput(f"{one} is not a finished analyze run: expected one as config.analysis")
            found.append(run)
    places = [run.path for run in found]
    for place in places:
        if places.count(place) > 1:
            raise BadInput(f"config.analysis has {place} twice: expected each analysis once")
    return found


def named(analyses: Sequence[AnalyzeRun]) -> dict[str, AnalyzeRun]:
    """Each analysis under a short name for addresses: the end of the path of its dictionary."""
    found: dict[str, AnalyzeRun] = {}
    for run in analyses:
        path = pathlib.PurePath(run.record["parents"]["run"]["path"])
        plain = re.sub(r"[^A-Za-z0-9_+-]", "_", path.name) or "dictionary"
        ids = [plain, *(f"{plain}-{n}" for n in range(2, len(found) + 3))]
        found[next(id for id in ids if id not in found and id not in PAGES)] = run
    return found
