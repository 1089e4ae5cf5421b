"""Activations → a dictionary, by the paper's recipe, evaluated where its transformer is at hand."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax import sae as sae_lib
from monosem_jax.config import check_seed, to_dict
from monosem_jax.errors import BadInput
from monosem_jax.evaluate import EvaluateConfig, evaluate, evaluate_rows
from monosem_jax.objective import dictionary_loss, initial_stats
from monosem_jax.resample import ResampleConfig, make_resampling
from monosem_jax.run import Run, parent, progress, read_json, resolve_parent, write_json
from monosem_jax.runs import TransformerRun
from monosem_jax.sae.constraints import project_out_parallel, renormalise
from monosem_jax.sae.median import geometric_median
from monosem_jax.sae.relu import ReluConfig
from monosem_jax.sharding import fetch
from monosem_jax.stages.harvest import open_transformer
from monosem_jax.store.arrays import RowRange, Rows, Store, open_rows, source_identity
from monosem_jax.store.stream import RowStream
from monosem_jax.train import Report, State, TrainConfig, create, fit, optimizer

MEDIAN_ROWS = 32_768


@dataclasses.dataclass(frozen=True)
class SaeRunConfig:
    """Everything that decides a dictionary. `source` is a store directory or an array; `transformer` a run directory
    for the loss figures, by default the one that the store was harvested from."""

    seed: int = 0
    source: str = ""
    transformer: str = ""
    sae: ReluConfig = ReluConfig()
    train: TrainConfig = TrainConfig()
    resample: ResampleConfig = ResampleConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        self.sae.check()
        self.train.check()
        self.resample.resolve(self.train)
        self.evaluate.check()
        if not self.source:
            raise BadInput("config.source is empty: expected a store directory or a .npy array")


def run(workdir: str | pathlib.Path, config: SaeRunConfig) -> dict[str, Any]:
    """Trains a dictionary in `workdir` (or takes it up again), evaluates it, and returns its summary."""
    config.check()
    begin = time.perf_counter()
    mesh = config.train.open_mesh()
    if config.sae.n_features % mesh.shape["model"]:
        raise BadInput(
            f"sae.n_features {config.sae.n_features} is not divisible by the {mesh.shape['model']} model shards"
        )
    rows = open_rows(config.source)
    transformer = find_transformer(config, rows)
    parents = {"source": source_identity(config.source)}
    if transformer is not None:
        parents["transformer"] = parent(transformer.path, "summary.json")
    identity = to_dict(dataclasses.replace(config, source="", transformer=""))
    with Run(workdir, "train_sae", identity, parents) as run:
        if run.finished:
            print(f"{run.path} is finished: nothing to do")
            return run.summary
        training_rows, heldout_rows = split_rows(rows, config.train.batch_size, whole=transformer is not None)
        result, scale = _train(run, config, mesh, training_rows, rows)
        params = sae_lib.fold_scale(fetch(result.state.params), scale)
        metrics, density = _evaluate(config, params, transformer, rows, heldout_rows)
        np.save(run.path / "density.npy", density)
        summary = {
            **metrics,
            "l1_coefficient": config.sae.l1_coefficient,
            "rows_trained": config.train.steps * config.train.batch_size,
            "rows_per_second": result.steps * config.train.batch_size / max(result.seconds, 1e-9),
            "resumed_from_step": config.train.steps - result.steps,
            "wall_seconds": time.perf_counter() - begin,
        }
        return run.finish(summary)


def find_transformer(config: SaeRunConfig, rows: Rows) -> TransformerRun | None:
    """The transformer for the loss figures: as configured, else the store's own; None where there is none.

    Raises BadInput when the store was harvested from another one.
    """
    if config.transformer:
        found = open_transformer(config.transformer)
    elif isinstance(rows, Store) and (rows.path / "config.json").exists():
        record = read_json(rows.path / "config.json")["parents"].get("transformer")
        found = open_transformer(str(resolve_parent(rows.path, record))) if record else None
    else:
        found = None
    if found and isinstance(rows, Store) and rows.manifest["model"] != found.summary["params_sha256"]:
        raise BadInput(f"store {rows.path} was not harvested from {found.path}: the hashes of the parameters differ")
    return found


def split_rows(rows: Rows, batch_size: int, *, whole: bool) -> tuple[Rows, Rows | None]:
    """(rows to train on, rows kept for evaluation). Where there is held-out text all rows are trained on; else the
    last tenth, at most 65,536, is kept."""
    if whole:
        return rows, None
    keep = min(rows.n_rows // 10, 65_536)
    if rows.n_rows - keep < batch_size or not keep:
        raise BadInput(f"train.batch_size {batch_size} is larger than the {rows.n_rows - keep} rows to train on")
    return RowRange(rows, 0, rows.n_rows - keep), RowRange(rows, rows.n_rows - keep, rows.n_rows)


def _train(run: Run, config: SaeRunConfig, mesh: Any, training_rows: Rows, rows: Rows) -> tuple[Any, float]:
    """Trains; returns the fit's result and the scale that activations were multiplied by."""
    stream = RowStream(training_rows, config.train.batch_size, config.seed, mesh)
    sample = stream.rows(0, min(MEDIAN_ROWS, training_rows.n_rows)).astype(np.float32)
    scale = input_scale(config.sae.input_scale, rows, sample)
    site = rows.manifest["site"] if isinstance(rows, Store) else None
    write_json(run.path / "input.json", {"input_scale": scale, "site": site, "width": rows.width})
    sae = sae_lib.build(config.sae, rows.width, config.train.dtype())
    tx = optimizer(config.train, before=[project_out_parallel()], after=[renormalise()])
    steps, window = config.resample.resolve(config.train)
    rules = sae_lib.find(config.sae.architecture)[0].RULES
    median = np.asarray(jax.jit(geometric_median)(sample * scale))
    return fit(
        create(lambda: initial_state(config, sae, tx, median, scale), rules, mesh),
        config=config.train,
        loss=dictionary_loss(sae),
        tx=tx,
        batches=stream,
        run=run,
        rules=rules,
        mesh=mesh,
        transforms=[make_resampling(sae, steps, window, config.resample.n_inputs, config.resample.method)],
        boundaries=steps,
        reports=[Report(config.train.evaluate_every, _silent(config.train))],
        description="dictionary",
    ), scale  # fmt: skip


def initial_state(config: SaeRunConfig, sae: Any, tx: Any, median: np.ndarray, scale: float) -> State:
    """Kaiming-uniform untied weights, decoder bias at the geometric median of (scaled) activations."""
    init_key, key = jax.random.split(jax.random.key(config.seed))
    params = sae.init(init_key, jnp.zeros((1, len(median))), method=lambda m, x: m.decode(m.encode(x)))["params"]
    params = {**params, "b_dec": jnp.asarray(median, jnp.float32)}
    hyper = {"l1_coefficient": jnp.float32(config.sae.l1_coefficient), "input_scale": jnp.float32(scale)}
    return State.create(params, tx, stats=initial_stats(config.sae.n_features), hyper=hyper, key=key)


def input_scale(kind: str, rows: Rows, sample: np.ndarray) -> float:
    """What activations are multiplied by: 1, or 1 / their root mean square (over the store, else over the sample)."""
    if kind == "none":
        return 1.0
    mean_square = (
        rows.manifest["mean_square"] if isinstance(rows, Store) else float(np.mean(np.square(sample, dtype=np.float64)))
    )
    if mean_square <= 0:
        raise BadInput(f"the activations are all zero (mean square {mean_square}): nothing to train on")
    return float(mean_square**-0.5)


def _silent(train: TrainConfig):
    """The report on features that have not fired for as long as between two reports."""
    count = jax.jit(lambda s: jnp.sum(s.step - s.stats["last_fired"] >= train.evaluate_every))
    return lambda state: {"silent": float(count(state))}


def _evaluate(config, params, transformer: TransformerRun | None, rows: Rows, heldout: Rows | None):
    """Metrics and densities on held-out text, or on the rows kept back."""
    sae = sae_lib.build(config.sae, rows.width, jnp.float32)
    if transformer is None:
        return evaluate_rows(sae, params, heldout)
    tokens = np.asarray(transformer.text.tokens("heldout"))
    with progress(len(tokens), "evaluate", "contexts") as bar:
        return evaluate(
            transformer.model, transformer.params, sae, params, tokens, bos=transformer.text.bos,
            site=rows.manifest["site"], config=config.evaluate, advance=bar.update,
        )  # fmt: skip
