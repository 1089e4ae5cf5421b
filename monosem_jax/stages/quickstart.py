"""Text → transformer → store → dictionary → analysis → report, each stage in its own run directory."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax

from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.models.base import parse_site
from monosem_jax.models.pretrained import open_pretrained
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.stages import analyze, harvest, import_model, report, train_sae, train_transformer
from monosem_jax.text.pack import TextConfig, check_same

# name -> (function, its configuration), in the order of running
Stages = dict[str, tuple[Callable[..., dict[str, Any]], Any]]


@dataclasses.dataclass(frozen=True)
class QuickstartConfig:
    """The configuration of every stage; paths between stages are filled in."""

    transformer: train_transformer.TransformerRunConfig = train_transformer.TransformerRunConfig()
    """Stage 1, train_transformer."""
    harvest: HarvestConfig = HarvestConfig()
    """Stage 2, harvest."""
    sae: train_sae.SaeRunConfig = train_sae.SaeRunConfig()
    """Stage 3, train_sae."""
    analyze: analyze.AnalyzeRunConfig = analyze.AnalyzeRunConfig()
    """Stage 4, analyze."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value, before any stage starts."""
        self.transformer.check()
        self.harvest.check()
        if len(self.harvest.sites_in(2)) > 1:
            raise BadInput(
                f"harvest.site is {self.harvest.site!r}: quickstart trains one dictionary "
                "(experiments.suite trains one for each site)"
            )
        dataclasses.replace(self.sae, source="store").check()
        self.analyze.check()


@dataclasses.dataclass(frozen=True)
class PretrainedQuickstartConfig:
    """The configuration of every stage on a pretrained model; paths between stages are filled in."""

    transformer: import_model.ImportModelConfig = import_model.ImportModelConfig()
    """Stage 1, import_model."""
    harvest: HarvestConfig = HarvestConfig(site="")
    """Stage 2, harvest. site: where the model is read; empty: the residual stream after the middle block."""
    sae: train_sae.SaeRunConfig = train_sae.SaeRunConfig()
    """Stage 3, train_sae."""
    analyze: analyze.AnalyzeRunConfig = analyze.AnalyzeRunConfig()
    """Stage 4, analyze."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value, before any stage starts."""
        self.transformer.check()
        self.harvest.check()
        dataclasses.replace(self.sae, source="store").check()
        self.analyze.check()


@stage
def quickstart(workdir: str | pathlib.Path, config: QuickstartConfig) -> dict[str, Any]:
    """Runs the stages that are not finished and returns the summary of all."""
    config.check()
    first = (train_transformer.train_transformer, config.transformer)
    rest = (config.transformer.seed, config.harvest, config.sae, config.analyze)
    return _all_stages(pathlib.Path(workdir), config, first, config.transformer.text, *rest)


@stage
def quickstart_pretrained(workdir: str | pathlib.Path, config: PretrainedQuickstartConfig) -> dict[str, Any]:
    """Runs the stages that are not finished on a pretrained model and returns the summary of all."""
    config.check()
    shape = open_pretrained(config.transformer.model).config
    site = config.harvest.site or f"resid_post.{shape.n_layers // 2}"
    parse_site(site, shape.n_layers)
    read = dataclasses.replace(config.harvest, site=site)
    first = (import_model.import_model, config.transformer)
    rest = (config.transformer.seed, read, config.sae, config.analyze)
    text = import_model.own_text(pathlib.Path(workdir) / "transformer", config.transformer)
    return _all_stages(pathlib.Path(workdir), config, first, text, *rest)


def _all_stages(
    root: pathlib.Path,
    config: Any,
    first: tuple[Callable[..., dict[str, Any]], Any],
    text: TextConfig,
    seed: int,
    read: HarvestConfig,
    sae: train_sae.SaeRunConfig,
    studied: analyze.AnalyzeRunConfig,
) -> dict[str, Any]:
    """Runs the stages in `root` that are not finished. `first` is the one that gives a model, and its configuration."""
    begin = time.perf_counter()
    page = root / "report" / "index.html"
    stages: Stages = {
        "transformer": first,
        "store": (harvest.harvest, harvest.HarvestRunConfig(seed, str(root / "transformer"), read)),
        "sae": (train_sae.train_sae, dataclasses.replace(sae, source=str(root / "store"))),
        "analysis": (analyze.analyze, dataclasses.replace(studied, run=str(root / "sae"))),
        "report": (report.report, report.ReportRunConfig(str(root / "analysis"), title="Quickstart")),
    }
    with RunDir(
        root, "quickstart", config, {}, type(config)(sae=train_sae.SaeRunConfig(sae=type(sae.sae)()))
    ) as rundir:
        fresh = not rundir.finished
        if rundir.finished:
            check_same(root / "transformer" / "text", text)
        summary = rundir.once(lambda: _run_stages(root, stages, begin), f". Report: {page}")
    if fresh:
        print(table(summary))
        print(f"\nreport: {page}")
    return summary


def _run_stages(root: pathlib.Path, stages: Stages, begin: float) -> dict[str, Any]:
    """Runs the stages one after the other, each in its directory under `root`, and returns their summaries."""
    summaries: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for number, (name, (run_stage, own)) in enumerate(stages.items(), 1):
        started = time.perf_counter()
        print(f"[{number}/{len(stages)}] {name}", flush=True)
        summaries[name] = run_stage(root / name, own)
        seconds[name] = round(time.perf_counter() - started, 1)
        jax.clear_caches()  # the next stage does not use this stage's programs
    return {"stages": summaries, "seconds": seconds, "wall_seconds": time.perf_counter() - begin}


def table(summary: dict[str, Any]) -> str:
    """The most important figures, in a few lines."""
    t, d, a = (summary["stages"][k] for k in ("transformer", "sae", "analysis"))

    def percent(x: float | None) -> str:
        return "-" if x is None else f"{x:.1%}"

    lines = [
        ("transformer, held-out loss", f"{t['heldout_loss']:.3f} nats/token (bigram {t['bigram_loss']:.3f})"),
        ("loss recovered, zero ablation", percent(d["loss_recovered_zero"])),
        ("loss recovered, mean ablation", percent(d["loss_recovered_mean"])),
        ("features active per token (L0)", f"{d['l0']:.1f} of {d['n_features']}"),
        ("variance explained", percent(d["variance_explained"])),
        ("dead features", f"{d['dead']} ({d['dead'] / d['n_features']:.1%}) on {d['evaluated_tokens']:,} tokens"),
        ("categories won by a feature", f"{a['categories_feature_better']} of {a['categories']}"),
        ("wall time", f"{summary['wall_seconds']:.0f} s"),
    ]
    return "\n" + "\n".join(f"  {name:<32}{value}" for name, value in lines)
