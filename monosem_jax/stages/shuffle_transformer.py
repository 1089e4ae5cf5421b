"""A trained transformer → the control transformer: the same text and shape, the entries of every matrix shuffled."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.models.run import TransformerRun, open_transformer
from monosem_jax.models.shuffle import shuffled
from monosem_jax.runtime.checkpoint import Checkpoints
from monosem_jax.runtime.config import check_seed, field
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import Place
from monosem_jax.runtime.processes import first_process
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.workdir import RunDir, parent
from monosem_jax.stages.train_transformer import make_heldout_loss, params_hash


@dataclasses.dataclass(frozen=True)
class ShuffleConfig:
    """Which transformer is shuffled, and how."""

    seed: int = 0
    """Decides the order of the entries."""
    shuffle_of: str = field("", place=Place(flag="--shuffle_of"))
    """Run directory of a finished train_transformer run."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        if not self.shuffle_of:
            raise BadInput("--shuffle_of is empty: expected the directory of a finished train_transformer run")


@stage
def shuffle_transformer(workdir: str | pathlib.Path, config: ShuffleConfig) -> dict[str, Any]:
    """Makes `workdir` a finished train_transformer run whose matrices are those of `config.shuffle_of`, shuffled, and
    returns its summary. Its configuration, its parents and its summary say `shuffle_of`.

    Raises BadInput when that is not a finished train_transformer run, or is itself a shuffled one.
    """
    config.check()
    begin = time.perf_counter()
    source = open_transformer(config.shuffle_of)
    if "shuffle_of" in source.record["parents"]:
        raise BadInput(f"--shuffle_of {config.shuffle_of} is a shuffled transformer itself: expected a trained one")
    about: dict[str, Any] = {
        "seed": config.seed,
        "shuffle_of": _summary_of(source)["params_sha256"],
        **{section: source.config[section] for section in ("text", "transformer") if section in source.config},
    }
    parents = {"shuffle_of": parent(source.path, "summary.json")}
    with RunDir(workdir, "train_transformer", about, parents) as rundir:
        return rundir.once(lambda: _write(rundir.path, source, config.seed, begin))


def _write(path: pathlib.Path, source: TransformerRun, seed: int, begin: float) -> dict[str, Any]:
    """Writes text and checkpoint of the control, and returns the summary."""
    if first_process():
        _share(source.text.path, path / "text")
    params = shuffled(source.params, seed)
    checkpoints = Checkpoints(path / "checkpoints")
    try:
        checkpoints.save(0, jax.tree.map(jnp.asarray, params), {"step": jnp.int32(0)})
        checkpoints.wait()
    finally:
        checkpoints.close()
    heldout, trained = np.asarray(source.text.tokens("heldout")), _summary_of(source)
    with progress(len(heldout), "evaluate the shuffled transformer", "contexts") as bar:
        loss = make_heldout_loss(source.model, heldout)(params, bar.update)
    return {
        "shuffle_of": trained["params_sha256"],
        "heldout_loss": loss,
        "bigram_loss": trained["bigram_loss"],
        "heldout_tokens": int(heldout[:, 1:].size),
        "parameters": sum(int(p.size) for p in jax.tree.leaves(params)),
        "params_sha256": params_hash(params),
        "tokens_trained": 0,
        "wall_seconds": time.perf_counter() - begin,
    }


def _summary_of(source: TransformerRun) -> dict[str, Any]:
    return source.summary or {}  # `open_transformer` takes finished runs only


def _share(source: pathlib.Path, target: pathlib.Path) -> None:
    """Links the files of a text directory into another, or copies them to another file system; text.json comes last.

    Files of a text directory are never changed in place, so the links go on holding what they hold now, whatever
    becomes of the source.
    """
    target.mkdir(exist_ok=True)
    for file in sorted(source.iterdir(), key=lambda p: p.name == "text.json"):
        if not file.is_file() or file.name.startswith("."):
            continue
        temporary = target / f".{file.name}.tmp"
        for old in (temporary, target / file.name):
            old.unlink(missing_ok=True)
        try:
            os.link(file, temporary)
        except OSError:
            shutil.copy2(file, temporary)
        os.replace(temporary, target / file.name)
