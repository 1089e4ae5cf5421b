"""monosem_jax: "Towards Monosemanticity" end to end in JAX.

`load_run` opens the directory of any experiment. A stage is a function of (workdir, config) and returns its summary:

import monosem_jax as mj
mj.train_sae("runs/a1", mj.SaeRunConfig(source="runs/store"))
f = mj.load_sae("runs/a1").encode(x)

Analyses take feature sets: `feature_set`, `neurons` and `control` open those of a run, and `match` compares two.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers: at run time each name is imported where it is first used
    from monosem_jax.load import (
        control,
        feature_set,
        load_analysis,
        load_comparison,
        load_evaluation,
        load_model,
        load_quickstart,
        load_report,
        load_run,
        load_sae,
        load_store,
        load_suite,
        load_sweep,
        load_toy_models,
        load_transformer,
        match,
        neurons,
    )
    from monosem_jax.stages.analyze import AnalyzeRunConfig, analyze
    from monosem_jax.stages.compare import CompareRunConfig, compare
    from monosem_jax.stages.evaluate import EvaluateRunConfig, evaluate
    from monosem_jax.stages.export import ExportConfig, export
    from monosem_jax.stages.harvest import HarvestRunConfig, harvest
    from monosem_jax.stages.import_model import ImportModelConfig, import_model
    from monosem_jax.stages.inspect import InspectConfig, inspect
    from monosem_jax.stages.quickstart import QuickstartConfig, quickstart
    from monosem_jax.stages.report import ReportRunConfig, report
    from monosem_jax.stages.shuffle_transformer import ShuffleConfig, shuffle_transformer
    from monosem_jax.stages.suite import SuiteConfig, suite
    from monosem_jax.stages.sweep import SweepRunConfig, sweep
    from monosem_jax.stages.toy_models import ToyModelsConfig, toy_models
    from monosem_jax.stages.train_sae import SaeRunConfig, train_sae
    from monosem_jax.stages.train_transformer import TransformerRunConfig, train_transformer

__version__ = "0.2.0"
__all__ = [
    "AnalyzeRunConfig",
    "CompareRunConfig",
    "EvaluateRunConfig",
    "ExportConfig",
    "HarvestRunConfig",
    "ImportModelConfig",
    "InspectConfig",
    "QuickstartConfig",
    "ReportRunConfig",
    "SaeRunConfig",
    "ShuffleConfig",
    "SuiteConfig",
    "SweepRunConfig",
    "ToyModelsConfig",
    "TransformerRunConfig",
    "analyze",
    "compare",
    "control",
    "evaluate",
    "export",
    "feature_set",
    "harvest",
    "import_model",
    "inspect",
    "load_analysis",
    "load_comparison",
    "load_evaluation",
    "load_model",
    "load_quickstart",
    "load_report",
    "load_run",
    "load_sae",
    "load_store",
    "load_suite",
    "load_sweep",
    "load_toy_models",
    "load_transformer",
    "match",
    "neurons",
    "quickstart",
    "report",
    "shuffle_transformer",
    "suite",
    "sweep",
    "toy_models",
    "train_sae",
    "train_transformer",
]

_STAGES = {
    "analyze": "AnalyzeRunConfig",
    "compare": "CompareRunConfig",
    "evaluate": "EvaluateRunConfig",
    "export": "ExportConfig",
    "harvest": "HarvestRunConfig",
    "import_model": "ImportModelConfig",
    "inspect": "InspectConfig",
    "quickstart": "QuickstartConfig",
    "report": "ReportRunConfig",
    "shuffle_transformer": "ShuffleConfig",
    "suite": "SuiteConfig",
    "sweep": "SweepRunConfig",
    "toy_models": "ToyModelsConfig",
    "train_sae": "SaeRunConfig",
    "train_transformer": "TransformerRunConfig",
}
_SETS = ("feature_set", "neurons", "control", "match")
_MODULES = {name: "monosem_jax.load" for name in __all__ if name.startswith("load_") or name in _SETS}
_MODULES |= {name: f"monosem_jax.stages.{stage}" for stage, config in _STAGES.items() for name in (stage, config)}
del _MODULES["report"]  # the package of this name: calling it runs the stage


def __getattr__(name: str) -> Any:
    if name == "report":
        return importlib.import_module("monosem_jax.report")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(_MODULES[name]), name)  # JAX takes a second to import
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
