"""Opening a run directory of any experiment, on any machine, whatever mesh wrote it. Files are read when first used.

run = monosem_jax.load_sae("runs/a1")   # or load_run, whatever experiment made it
run.params["W_dec"]        # NumPy, without reading the optimizer's state
run.params_on(mesh)        # the same, each device reading its own part
run.feature(17)["W_dec"]   # one feature, without reading the others
"""

from __future__ import annotations

import functools
import pathlib
from typing import TypeVar

from monosem_jax.activations.run import HarvestRun
from monosem_jax.analysis.run import AnalyzeRun, EvaluateRun
from monosem_jax.models.run import TransformerRun
from monosem_jax.runtime.arguments import Named, whole_number
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.loaded_run import LoadedRun
from monosem_jax.runtime.locations import local_path
from monosem_jax.runtime.workdir import read_record
from monosem_jax.sae.run import SaeRun, SweepRun


class ReportRun(LoadedRun):
    """`page` is the report's file."""

    @property
    def page(self) -> pathlib.Path:
        return self.path / "index.html"


class QuickstartRun(LoadedRun):
    """All stages in one directory; `stages` opens those that were begun."""

    @functools.cached_property
    def stages(self) -> dict[str, LoadedRun]:
        """name -> run: transformer, store, sae, analysis, report."""
        found = {p.parent.name: load_run(p.parent) for p in sorted(self.path.glob("*/config.json"))}
        return Named(f"the stage of {self.path}", found)


KINDS: dict[str, type[LoadedRun]] = {
    "train_transformer": TransformerRun, "harvest": HarvestRun, "train_sae": SaeRun, "import": SaeRun,
    "sweep": SweepRun, "evaluate": EvaluateRun, "analyze": AnalyzeRun, "report": ReportRun,
    "quickstart": QuickstartRun,
}  # fmt: skip


AnyRun = (
    TransformerRun | HarvestRun | SaeRun | SweepRun | EvaluateRun | AnalyzeRun | ReportRun | QuickstartRun | LoadedRun
)
Path = str | pathlib.Path
R = TypeVar("R", bound=LoadedRun)


def load_run(path: Path, step: int | None = None) -> AnyRun:
    """Opens the run directory of any experiment; `step` chooses a checkpoint other than the newest.

    Raises BadInput when `path` is not a run directory, holds no such step, or was written by a newer version.
    """
    step = None if step is None else whole_number(f"step is {step!r}", step, 0)
    where = local_path(path, "path")
    run = KINDS.get(read_record(where)["experiment"], LoadedRun)(where, step)
    if step is not None and step not in run.steps and not isinstance(run, SweepRun):
        raise BadInput(f"{path} holds no checkpoint of step {step}: it holds {run.steps}")
    return run


def _load(path: Path, step: int | None, kind: type[R]) -> R:
    run = load_run(path, step)
    if type(run) is not kind:
        names = " or ".join(name for name, other in KINDS.items() if other is kind)
        raise BadInput(f"{path} is the run directory of {run.experiment}: expected one of {names}")
    return run


def load_transformer(path: Path, step: int | None = None) -> TransformerRun:
    """`load_run` of a train_transformer directory; raises BadInput on one of another experiment, as all of these."""
    return _load(path, step, TransformerRun)


def load_store(path: Path) -> HarvestRun:
    """`load_run` of a harvest directory."""
    return _load(path, None, HarvestRun)


def load_sae(path: Path, step: int | None = None) -> SaeRun:
    """`load_run` of a train_sae directory, or of one that was imported."""
    return _load(path, step, SaeRun)


def load_sweep(path: Path, step: int | None = None) -> SweepRun:
    """`load_run` of a sweep's directory; `step` is that of the members."""
    return _load(path, step, SweepRun)


def load_evaluation(path: Path) -> EvaluateRun:
    """`load_run` of an evaluate directory."""
    return _load(path, None, EvaluateRun)


def load_analysis(path: Path) -> AnalyzeRun:
    """`load_run` of an analyze directory."""
    return _load(path, None, AnalyzeRun)


def load_report(path: Path) -> ReportRun:
    """`load_run` of a report directory."""
    return _load(path, None, ReportRun)


def load_quickstart(path: Path) -> QuickstartRun:
    """`load_run` of a quickstart directory."""
    return _load(path, None, QuickstartRun)
