"""A transformer's activations on its training contexts → a store."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

from monosem_jax.config import check_seed, to_dict
from monosem_jax.errors import BadInput
from monosem_jax.harvest import HarvestConfig, harvest
from monosem_jax.run import Run, parent, progress
from monosem_jax.runs import TransformerRun, load_run
from monosem_jax.signals import stop_flag


@dataclasses.dataclass(frozen=True)
class HarvestRunConfig:
    """Which transformer (a finished run directory), and which of its activations."""

    seed: int = 0
    transformer: str = ""
    harvest: HarvestConfig = HarvestConfig()

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        self.harvest.check()


def open_transformer(path: str) -> TransformerRun:
    """A finished transformer run; raises BadInput on anything else."""
    if not path:
        raise BadInput("config.transformer is empty: expected the directory of a finished train_transformer run")
    found = load_run(path)
    if not isinstance(found, TransformerRun) or found.summary is None:
        raise BadInput(f"{path} is not a finished train_transformer run")
    return found


def run(workdir: str | pathlib.Path, config: HarvestRunConfig) -> dict[str, Any]:
    """Harvests into `workdir` (or takes it up again) and returns its summary."""
    config.check()
    begin = time.perf_counter()
    source = open_transformer(config.transformer)
    parents = {"transformer": parent(config.transformer, "summary.json")}
    with Run(workdir, "harvest", to_dict(dataclasses.replace(config, transformer="")), parents) as run:
        if run.finished:
            print(f"{run.path} is finished: nothing to do")
            return run.summary
        manifest = source.text.manifest
        identity = {
            "model": source.summary["params_sha256"],
            "tokenizer_sha256": manifest["tokenizer_sha256"],
            "corpus_sha256": manifest["corpus_sha256"],
        }
        with stop_flag() as stop, progress(0, "harvest", "rows") as bar:
            done = harvest(
                run.path, source.model, source.params, source.text.tokens("train"), bos=source.text.bos,
                config=config.harvest, seed=config.seed, identity=identity, stop=stop, advance=bar.update,
                total=lambda n: bar.reset(total=n),
            )  # fmt: skip
        seconds = time.perf_counter() - begin
        summary = {k: done[k] for k in ("n_rows", "width", "site", "mean_norm", "mean_square")}
        return run.finish({**summary, "rows_per_second": done["n_rows"] / seconds, "wall_seconds": seconds})
