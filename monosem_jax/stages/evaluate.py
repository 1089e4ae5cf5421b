"""A trained dictionary → its metrics on held-out or validation text, in a run directory."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

import numpy as np
from jax.sharding import Mesh

from monosem_jax.analysis import metrics as metrics_lib
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.interop.opened import PublishedRun
from monosem_jax.load import load_run
from monosem_jax.models.pretrained import MODEL
from monosem_jax.models.run import TransformerRun
from monosem_jax.runtime.config import field, to_dict
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import Place
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.workdir import RunDir, parent
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages import published
from monosem_jax.text.corpus import EMBEDDED


@dataclasses.dataclass(frozen=True)
class EvaluateRunConfig:
    """Which dictionary is evaluated, at which checkpoint, and on how much text."""

    run: str = field("", place=Place())
    """Directory of a finished train_sae run (or of an import with its transformer), or the folder of a published
    dictionary, of any format that experiments.export --formats lists."""
    step: int = -1
    """The checkpoint; -1: the newest."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """The text, and how much of it."""
    transformer: str = field("", place=MODEL)
    """With a published dictionary: the model that it explains, or a run directory of it; empty: what it names."""
    site: str = ""
    """With a published dictionary: the site that it explains; empty: what the folder says."""
    model_text: str = field(EMBEDDED, identity=False, place=Place(words=(EMBEDDED,)))
    """With a pretrained model as transformer: the text that it reads, as text.corpus of import_model."""


def open_dictionary(path: str, step: int = -1) -> SaeRun:
    """A finished train_sae or import run whose transformer is available; raises BadInput on anything else."""
    if not path:
        raise BadInput("config.run is empty: expected the directory of a finished train_sae run")
    found = load_run(path, None if step == -1 else step)
    if isinstance(found, PublishedRun):
        raise BadInput(
            f"{path} is a published dictionary without its model: make a run of it with experiments.export "
            f"--workdir=DIR --import={path} --transformer=…"
        )
    if not isinstance(found, SaeRun) or found.summary is None:
        raise BadInput(f"{path} is not a finished train_sae run")
    if "transformer" not in found.record["parents"]:
        if found.published:
            raise BadInput(f"{path} was imported without a transformer: import it again with --transformer")
        raise BadInput(f"{path} was trained on an array without its transformer: its metrics are in its summary.json")
    return found


def measure(found: SaeRun, config: EvaluateConfig) -> tuple[dict[str, Any], np.ndarray]:
    """The metrics and densities of an opened dictionary on the text of its transformer."""
    return on_text(found.transformer, PublishedSAE(found.sae, found.params), found.site or "", config)


def write_metrics(path: pathlib.Path, found: SaeRun, config: EvaluateConfig, begin: float) -> dict[str, Any]:
    """Writes `density.npy` into `path` and returns the metrics, with the seconds since `begin`."""
    metrics, density = measure(found, config)
    np.save(path / "density.npy", density)
    return {**metrics, "wall_seconds": time.perf_counter() - begin}


def check_split(transformer: TransformerRun | None, config: EvaluateConfig) -> None:
    """Raises BadInput where the text that the configuration names is not there; without a transformer the metrics are
    those of held-out rows."""
    if transformer is not None:
        transformer.text.check_split(config.split)
    elif config.split != "heldout":
        raise BadInput(
            f"evaluate.split is {config.split}: rows without their transformer have no text, expected heldout"
        )


def on_text(
    transformer: TransformerRun, sae: PublishedSAE, site: str, config: EvaluateConfig, mesh: Mesh | None = None
) -> tuple[dict[str, Any], np.ndarray]:
    """`monosem_jax.analysis.metrics.evaluate` on the configured split of a transformer's text, with a progress bar."""
    tokens = np.asarray(transformer.text.tokens(config.split))
    total = metrics_lib.contexts_to_read(tokens, config)
    with progress(total, "evaluate (each context is read twice)", "contexts") as bar:
        return metrics_lib.evaluate(transformer.tapped(site), sae, tokens, config, advance=bar.update, mesh=mesh)


@stage
def evaluate(workdir: str | pathlib.Path, config: EvaluateRunConfig) -> dict[str, Any]:
    """Evaluates into `workdir` and returns the summary: the metrics of `monosem_jax.analysis.metrics.evaluate`."""
    config.evaluate.check()
    begin = time.perf_counter()
    config = published.as_run(config, workdir)
    found = open_dictionary(config.run, config.step)
    check_split(found.transformer, config.evaluate)
    parents = {"run": parent(config.run, "summary.json")}
    identity = to_dict(dataclasses.replace(config, run=""))
    with RunDir(workdir, "evaluate", identity, parents, EvaluateRunConfig()) as rundir:
        return rundir.once(lambda: write_metrics(rundir.path, found, config.evaluate, begin))
