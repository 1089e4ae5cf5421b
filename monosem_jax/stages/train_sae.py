"""Activations → a dictionary, by the paper's recipe, evaluated where its transformer is at hand."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.activations.online import OnlineConfig
from monosem_jax.activations.sources import ONLINE, SYNTHETIC, ActivationSource, open_source
from monosem_jax.activations.stream.stream import StreamConfig
from monosem_jax.activations.synthetic import SyntheticConfig, recovery
from monosem_jax.analysis.metrics import EvaluateConfig, evaluate_rows
from monosem_jax.runtime.config import check_seed, to_dict
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import device_get_global, tree_shardings
from monosem_jax.runtime.processes import first_process
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae import cost_model as layout
from monosem_jax.sae import trainer as dictionaries
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.config import SaeConfig
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.sae.trainer import TrainingInputs
from monosem_jax.stages.evaluate import on_heldout
from monosem_jax.training.loop import Ensemble, FitResult
from monosem_jax.training.step import State, TrainConfig


@dataclasses.dataclass(frozen=True)
class SaeRunConfig:
    """Everything that decides a dictionary. `source` is a store, an array, several of these separated by commas, whose
    rows are put beside each other, "online", or "synthetic"; `transformer` a run directory, by default the one that the
    store was harvested from: it makes the rows online, and the loss figures always. `data_seed` decides the order of
    the rows; -1: `seed` does, as it does everything else."""

    seed: int = 0
    data_seed: int = -1
    source: str = ""
    transformer: str = ""
    sae: SaeConfig = ReluConfig()
    train: TrainConfig = TrainConfig()
    resample: ResampleConfig = ResampleConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    stream: StreamConfig = StreamConfig()
    online: OnlineConfig = OnlineConfig()
    synthetic: SyntheticConfig = SyntheticConfig()

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        check_seed(self.order_seed, "config.data_seed")
        self.sae.check()
        self.train.check()
        steps, _ = self.resample.resolve(self.train)
        self._check_architecture(bool(steps))
        self.evaluate.check()
        self.stream.check()
        self.online.check()
        self.synthetic.check()
        if not self.source:
            raise BadInput("config.source is empty: expected a store, an array, online or synthetic")

    def _check_architecture(self, resamples: bool) -> None:
        name, module = self.sae.architecture, sae_lib.find(self.sae.architecture)[1]
        if resamples and not module.RESAMPLES:
            raise BadInput(f"resample.steps is {self.resample.steps}: {name} is trained without, expected ()")
        parts = self.train.micro_batches
        if parts > 1 and module(width=1, n_features=1, config=self.sae).whole_batch:
            raise BadInput(f"train.micro_batches is {parts}: {name} looks at a batch as a whole, expected 1")

    @property
    def order_seed(self) -> int:
        """The seed of the order of the rows."""
        return self.seed if self.data_seed == -1 else self.data_seed


def run(workdir: str | pathlib.Path, config: SaeRunConfig) -> dict[str, Any]:
    """Trains a dictionary in `workdir` (or takes it up again), evaluates it, and returns its summary."""
    config.check()
    begin = time.perf_counter()
    source = open_source(config)
    mesh = dictionaries.open_mesh(config, source, config.sae.n_features)
    with RunDir(workdir, "train_sae", identity(config), source.parents, defaults(config)) as run:
        if run.finished:
            print(f"{run.path} is finished: nothing to do")
            return run.summary
        announce(config, mesh, source)
        material = dictionaries.prepare(config, source, mesh, checked=(run.path / "input.json").exists())
        dictionaries.write_input_record(run, material)
        group = dictionaries.make_ensemble([config], [run], material)
        result = dictionaries.train([group], config, material, "dictionary")
        seconds = time.perf_counter() - begin
        return finish(run, config, result.states[0], result, material, seconds)


def announce(config: SaeRunConfig, mesh: Mesh, source: ActivationSource) -> None:
    """Says what training will take of every device."""
    if first_process():
        found = layout.StepCost(
            mesh.shape["data"], mesh.shape["model"], config.sae.n_features, source.width, config.train.batch_size,
            jnp.dtype(config.train.dtype()).itemsize, config.train.micro_batches,
        )  # fmt: skip
        print(layout.describe(found, config.train.steps_per_dispatch, source.itemsize(config)), flush=True)


def identity(config: SaeRunConfig) -> dict[str, Any]:
    """The configuration without paths, and without what decides only where batches wait, not what is in them."""
    stream = StreamConfig(window_blocks=config.stream.window_blocks)
    source = config.source if config.source in (ONLINE, SYNTHETIC) else ""
    return to_dict(dataclasses.replace(config, source=source, transformer="", stream=stream))


def defaults(config: SaeRunConfig) -> dict[str, Any]:
    """The identity of a configuration of which nothing but the architecture was said."""
    return identity(type(config)(sae=type(config.sae)()))


def lower_dispatch(config: SaeRunConfig, mesh: Mesh, width: int, n_steps: int) -> jax.stages.Lowered:
    """The training program of `n_steps` steps on rows of `width`, for devices that need not exist: nothing is computed.

    Rows are bfloat16, as stores have them.
    """
    config.train.check_mesh(mesh)
    rules, material = sae_lib.RULES, dictionaries.TrainingInputs.unseen(config, width, mesh)
    sae = sae_lib.build(config.sae, width, config.train.dtype(), material.parts)
    tx = dictionaries.dictionary_optimizer(config.train, sae)
    shapes = jax.eval_shape(lambda: dictionaries.initial_state(sae, tx, material, 0, config.sae.hyper()))
    place = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)  # noqa: E731
    state = jax.tree.map(place, shapes, tree_shardings(shapes, rules, mesh))
    group = Ensemble(state, dictionaries.make_objective(config, sae, mesh), tx, [], rules, mesh)
    rows = jax.ShapeDtypeStruct(
        (n_steps, config.train.batch_size, width), jnp.bfloat16,
        sharding=NamedSharding(mesh, PartitionSpec(None, "data")),
    )  # fmt: skip
    return group.compile(config.train).lower(state, rows)


def figures(config: Any, state: State, material: TrainingInputs) -> tuple[dict[str, Any], np.ndarray]:
    """Metrics and densities of a trained member, on held-out text or on the rows kept back; its dictionary stays on
    the devices as it was trained."""
    source, mesh = material.source, material.mesh
    sae = sae_lib.build(config.sae, material.width, jnp.float32, material.parts)

    def published(params, stats):
        return sae.fold(sae.publish(params, stats), material.scale)

    shardings = tree_shardings(jax.eval_shape(published, state.params, state.stats), sae_lib.RULES, mesh)
    params = jax.jit(published, out_shardings=shardings)(state.params, state.stats)
    if source.transformer is None:
        return evaluate_rows(PublishedSAE(sae, params), source.heldout, mesh=mesh)
    return on_heldout(source.transformer, PublishedSAE(sae, params), source.site, config.evaluate, mesh)


def finish(
    run: RunDir, config: Any, state: State, result: FitResult, material: TrainingInputs, seconds: float,
    frozen_at: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Evaluates a member and writes the last files of its run directory; returns its summary."""
    metrics, density = figures(config, state, material)
    if material.source.truth is not None:
        metrics |= recovery(material.source.truth, device_get_global(state.params["W_dec"]))
    if first_process():
        np.save(run.path / "density.npy", density)
    size = config.train.batch_size
    summary = {
        **metrics,
        config.sae.sparsity_key: config.sae.sparsity,
        "rows_trained": config.train.steps * size,
        "rows_per_second": result.steps * size / max(result.seconds, 1e-9),
        "steps_skipped": int(state.guard["skipped"]),
        "resumed_from_step": config.train.steps - result.steps,
        "checkpoint_stall_seconds": result.mean_stall,
        "wall_seconds": seconds,
    }
    if frozen_at is not None:
        summary["diverged_at_step"] = frozen_at
    return run.finish(summary)
