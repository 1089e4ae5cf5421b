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
from monosem_jax.online import OnlineConfig
from monosem_jax.resample import ResampleConfig, make_resampling
from monosem_jax.run import Run, progress, write_json
from monosem_jax.sae.constraints import project_out_parallel, renormalise
from monosem_jax.sae.median import geometric_median
from monosem_jax.sae.relu import ReluConfig
from monosem_jax.sharding import fetch, first_process
from monosem_jax.stages.sources import ONLINE, Source, check_finite, input_scale, open_source
from monosem_jax.store.arrays import Store
from monosem_jax.store.stream import StreamConfig
from monosem_jax.train import Report, State, TrainConfig, create, fit, optimizer

MEDIAN_ROWS = 32_768


@dataclasses.dataclass(frozen=True)
class SaeRunConfig:
    """Everything that decides a dictionary. `source` is a store, an array, or "online"; `transformer` a run directory,
    by default the one that the store was harvested from: it makes the rows online, and the loss figures always."""

    seed: int = 0
    source: str = ""
    transformer: str = ""
    sae: ReluConfig = ReluConfig()
    train: TrainConfig = TrainConfig()
    resample: ResampleConfig = ResampleConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    stream: StreamConfig = StreamConfig()
    online: OnlineConfig = OnlineConfig()

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        self.sae.check()
        self.train.check()
        self.resample.resolve(self.train)
        self.evaluate.check()
        self.stream.check()
        self.online.check()
        if not self.source:
            raise BadInput("config.source is empty: expected a store, an array, or online")


def run(workdir: str | pathlib.Path, config: SaeRunConfig) -> dict[str, Any]:
    """Trains a dictionary in `workdir` (or takes it up again), evaluates it, and returns its summary."""
    config.check()
    begin = time.perf_counter()
    mesh = config.train.open_mesh()
    if config.sae.n_features % mesh.shape["model"]:
        raise BadInput(
            f"sae.n_features {config.sae.n_features} is not divisible by the {mesh.shape['model']} model shards"
        )
    source = open_source(config)
    with Run(workdir, "train_sae", identity(config), source.parents) as run:
        if run.finished:
            print(f"{run.path} is finished: nothing to do")
            return run.summary
        result, scale = _train(run, config, mesh, source)
        params = sae_lib.fold_scale(fetch(result.state.params), scale)
        metrics, density = _evaluate(config, params, source)
        if first_process():
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


def identity(config: SaeRunConfig) -> dict[str, Any]:
    """The configuration without paths, and without what decides only where batches wait, not what is in them."""
    stream = StreamConfig(window_blocks=config.stream.window_blocks)
    source = ONLINE if config.source == ONLINE else ""
    return to_dict(dataclasses.replace(config, source=source, transformer="", stream=stream))


def _train(run: Run, config: SaeRunConfig, mesh: Any, source: Source) -> tuple[Any, float]:
    """Trains; returns the fit's result and the scale that activations were multiplied by."""
    if source.rows is not None and not isinstance(source.rows, Store) and not (run.path / "input.json").exists():
        check_finite(source.rows, config.source)
    stream = source.stream(config, mesh)
    sample = stream.sample(MEDIAN_ROWS).astype(np.float32)
    bad, width = np.count_nonzero(~np.isfinite(sample).all(axis=1)), sample.shape[1]
    if bad:
        how = f" in online.dtype {config.online.dtype}" if source.rows is None else ""
        raise BadInput(f"{config.source}: {bad} of the first {len(sample)} rows are not finite{how}")
    scale = input_scale(config.sae.input_scale, source.mean_square, sample)
    if first_process():
        write_json(run.path / "input.json", {"input_scale": scale, "site": source.site, "width": width})
    sae = sae_lib.build(config.sae, width, config.train.dtype())
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


def _silent(train: TrainConfig):
    """The report on features that have not fired for as long as between two reports."""
    count = jax.jit(lambda s: jnp.sum(s.step - s.stats["last_fired"] >= train.evaluate_every))
    return lambda state: {"silent": float(count(state))}


def _evaluate(config: SaeRunConfig, params: dict[str, np.ndarray], source: Source):
    """Metrics and densities on held-out text, or on the rows kept back."""
    sae = sae_lib.build(config.sae, params["W_enc"].shape[0], jnp.float32)
    transformer = source.transformer
    if transformer is None:
        return evaluate_rows(sae, params, source.heldout)
    tokens = np.asarray(transformer.text.tokens("heldout"))
    with progress(len(tokens), "evaluate", "contexts") as bar:
        return evaluate(
            transformer.model, transformer.params, sae, params, tokens, bos=transformer.text.bos,
            site=source.site, config=config.evaluate, advance=bar.update,
        )  # fmt: skip
