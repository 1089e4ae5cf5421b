"""Opening a run directory of any experiment, on any machine, whatever mesh wrote it. Nothing is read before it is used.

run = monosem_jax.load_run("runs/a1")
run.params["W_dec"]        # NumPy, without reading the optimizer's state
run.params_on(mesh)        # the same, each device reading its own part
run.feature(17)["W_dec"]   # one feature, without reading the others
"""

from __future__ import annotations

import functools
import pathlib
from typing import Any

from monosem_jax.activations.run import HarvestRun
from monosem_jax.analysis.run import AnalyzeRun, EvaluateRun
from monosem_jax.models.run import TransformerRun
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.loaded_run import LoadedRun
from monosem_jax.runtime.workdir import read_record
from monosem_jax.sae.run import SaeRun, SweepRun


class ReportRun(LoadedRun):
    """`page` is the report's file."""

    @property
    def page(self) -> pathlib.Path:
        return self.path / "index.html"


class QuickstartRun(LoadedRun):
    """All stages in one directory; those that were begun are opened by `stages`."""

    @functools.cached_property
    def stages(self) -> dict[str, LoadedRun]:
        """name -> run: transformer, store, sae, analysis, report."""
        return {p.parent.name: load_run(p.parent) for p in sorted(self.path.glob("*/config.json"))}


KINDS: dict[str, type[LoadedRun]] = {
    "train_transformer": TransformerRun, "harvest": HarvestRun, "train_sae": SaeRun, "import": SaeRun,
    "sweep": SweepRun, "evaluate": EvaluateRun, "analyze": AnalyzeRun, "report": ReportRun,
    "quickstart": QuickstartRun,
}  # fmt: skip


def load_run(path: str | pathlib.Path, step: int | None = None) -> Any:
    """Opens the run directory of any experiment; `step` chooses a checkpoint other than the newest.

    Raises BadInput when `path` is not a run directory, holds no such step, or was written by a newer version.
    """
    run = KINDS.get(read_record(pathlib.Path(path))["experiment"], LoadedRun)(path, step)
    if step is not None and step not in run.steps and not isinstance(run, SweepRun):
        raise BadInput(f"{path} holds no checkpoint of step {step}: it holds {run.steps}")
    return run
