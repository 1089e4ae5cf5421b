"""Activations → a dictionary, by the paper's recipe, evaluated with its transformer if there is one."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.activations import sources
from monosem_jax.activations.online import OnlineConfig
from monosem_jax.activations.scale import InputScale
from monosem_jax.activations.sources import open_source, recorded_name
from monosem_jax.activations.sources.base import ActivationSource, SourceRequest
from monosem_jax.activations.sources.stored import is_several
from monosem_jax.activations.stream.stream import StreamConfig
from monosem_jax.activations.synthetic import SyntheticConfig
from monosem_jax.analysis.metrics import EvaluateConfig, evaluate_rows
from monosem_jax.models.pretrained import MODEL
from monosem_jax.runtime.config import check_seed, field
from monosem_jax.runtime.edge import stage
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import Place
from monosem_jax.runtime.mesh import tree_shardings
from monosem_jax.runtime.processes import first_process
from monosem_jax.runtime.progress import SHORT, progress
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae import trainer
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.config import SaeConfig
from monosem_jax.sae.cost_model import describe
from monosem_jax.sae.objective import dictionary_optimizer
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.sae.trainer import SaeMember
from monosem_jax.stages.adopted import adopted
from monosem_jax.stages.evaluate import check_split, on_text
from monosem_jax.text.corpus import EMBEDDED
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.loop import Ensemble, FitResult
from monosem_jax.training.step import State


@dataclasses.dataclass(frozen=True)
class SaeRunConfig:
    """Everything that decides a dictionary."""

    seed: int = 0
    """Decides everything random: initial values, the order of the rows, resampling."""
    data_seed: int = -1
    """Decides the order of the rows instead of seed; -1: seed does."""
    source: str = field("", place=sources.PLACE)
    """A store, an array (.npy, zarr, safetensors), several of these separated by commas, whose columns are put side by
    side, online or synthetic."""
    transformer: str = field("", place=MODEL)
    """Run directory of the transformer; empty: the one that the store was harvested from. Needed for online rows and
    for the loss metrics."""
    sae: SaeConfig = ReluConfig()
    """The dictionary."""
    train: TrainConfig = TrainConfig()
    """The training loop."""
    resample: ResampleConfig = ResampleConfig()
    """Resampling of dead neurons."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """Evaluation on text that was not trained on."""
    stream: StreamConfig = StreamConfig()
    """How rows of a store or an array are read."""
    online: OnlineConfig = OnlineConfig()
    """Rows of --config.source=online."""
    synthetic: SyntheticConfig = SyntheticConfig()
    """Rows of --config.source=synthetic."""
    model_text: str = field(EMBEDDED, identity=False, place=Place(words=(EMBEDDED,)))
    """With a pretrained model as transformer: the text that it reads, as text.corpus of import_model."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_seed(self.seed)
        check_seed(self.order_seed, "config.data_seed")
        self.sae.check()
        self.train.check()
        self._check_architecture(bool(self.resample.resolve(self.train).steps))
        self.evaluate.check()
        self.stream.check()
        self.online.check()
        self.synthetic.check()
        if not self.source:
            raise BadInput("config.source is empty: expected a store, an array, online or synthetic")
        if is_several(self.source) and not self.sae.recipe().sites.several:
            takes = [name for name, kind in sae_lib.ARCHITECTURES.items() if kind().recipe().sites.several]
            raise BadInput(
                f"config.source is {self.source!r}: {self.sae.architecture} reads one source; several, whose columns "
                f"are put side by side, are for {' and '.join(takes)}, and files with more rows of the same have to "
                "be made one file"
            )

    def _check_architecture(self, resamples: bool) -> None:
        name, recipe = self.sae.architecture, self.sae.recipe()
        if resamples and recipe.row_losses is None:
            raise BadInput(f"resample.steps is {self.resample.steps}: {name} is trained without, expected ()")
        parts = self.train.micro_batches
        if parts > 1 and recipe.whole_batch:
            raise BadInput(f"train.micro_batches is {parts}: {name} looks at a batch as a whole, expected 1")

    @property
    def order_seed(self) -> int:
        """The seed of the order of the rows."""
        return self.seed if self.data_seed == -1 else self.data_seed

    def source_request(self) -> SourceRequest:
        """The part of the configuration that opens the source."""
        return SourceRequest(
            source=self.source,
            transformer=self.transformer,
            batch_size=self.train.batch_size,
            seed=self.order_seed,
            compute_dtype=self.train.dtype(),
            stream=self.stream,
            online=self.online,
            synthetic=self.synthetic,
        )


@stage
def train_sae(workdir: str | pathlib.Path, config: SaeRunConfig) -> dict[str, Any]:
    """Trains a dictionary in `workdir`, or resumes there, evaluates it, and returns the summary."""
    config.check()
    begin = time.perf_counter()
    config = adopted(config, workdir, config.seed)
    source = open_source(config.source_request())
    check_split(source.transformer, config.evaluate)
    sae = sae_lib.build(config.sae, source.width, config.train.dtype(), source.widths)
    mesh = trainer.open_mesh(config.train, [config.sae.n_features], source.width)
    with RunDir(workdir, "train_sae", identity(config), source.parents, defaults(config)) as rundir:
        return rundir.once(lambda: _train(rundir, config, source, sae, mesh, begin))


def _train(
    rundir: RunDir, config: SaeRunConfig, source: ActivationSource, sae: SparseAutoencoder, mesh: Mesh, begin: float
) -> dict[str, Any]:
    """Trains and evaluates the dictionary of a run directory, and returns the summary."""
    train, resample = config.train, config.resample.resolve(config.train)
    announce(sae, config.sae, train, mesh, source)
    checked = (rundir.path / "input.json").exists()
    stream, statistics = trainer.prepare(source, sae.parts, config.sae.input_scale, mesh, checked=checked)
    trainer.write_input_record(rundir, statistics, source)
    member = SaeMember(config.seed, config.sae, rundir)
    ensemble = trainer.make_ensemble(sae, [member], statistics, mesh, train, resample)
    result = trainer.train_ensembles([ensemble], stream, train, resample, "dictionary")
    evaluator = Evaluator(source, statistics.scale, mesh, config.evaluate)
    seconds = time.perf_counter() - begin
    return summarize(rundir.path, config.sae, sae, result.states[0], result, evaluator, train, seconds)


def announce(sae: SparseAutoencoder, config: SaeConfig, train: TrainConfig, mesh: Mesh, source: ActivationSource):
    """Prints the memory that training will need on every device."""
    if first_process():
        cost = trainer.step_cost(sae, config, train, mesh)
        print(describe(cost, train.steps_per_dispatch, source.dtype.itemsize), flush=True)


def identity(config: SaeRunConfig) -> SaeRunConfig:
    """The configuration without paths, and without settings that change only where batches are kept, not their rows."""
    stream = StreamConfig(window_blocks=config.stream.window_blocks)
    source = recorded_name(config.source)
    return dataclasses.replace(config, source=source, transformer="", stream=stream)


def defaults(config: SaeRunConfig) -> SaeRunConfig:
    """The identity of a configuration in which only the architecture was chosen."""
    return identity(type(config)(sae=type(config.sae)()))


def lower_dispatch(
    sae: SparseAutoencoder, config: SaeConfig, train: TrainConfig, mesh: Mesh, n_steps: int
) -> jax.stages.Lowered:
    """The training program of `n_steps` steps; nothing is computed, so the devices need not exist.

    Rows are bfloat16, as in stores.
    """
    train.check_mesh(mesh)
    shapes = trainer.step_shapes(sae, config, train)

    def place(x: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    state = jax.tree.map(place, shapes, tree_shardings(shapes, sae_lib.RULES, mesh))
    objective = trainer.make_objective(sae, config, train, mesh)
    ensemble = Ensemble(state, objective, dictionary_optimizer(train, sae), [], sae_lib.RULES, mesh)
    shape = (n_steps, train.batch_size, sum(sae.parts))
    rows = jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=NamedSharding(mesh, PartitionSpec(None, "data")))
    dispatch: Any = ensemble.compile(train)
    return dispatch.lower(state, rows)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Evaluates the dictionaries that were trained on a source, on text that was not trained on or on the source's
    held-out rows."""

    source: ActivationSource
    scale: InputScale
    mesh: Mesh
    config: EvaluateConfig

    def figures(self, sae: SparseAutoencoder, state: State) -> tuple[dict[str, Any], np.ndarray]:
        """Metrics and densities [F]. The parameters stay sharded on the devices as they were trained."""
        sae, source = sae.clone(dtype=jnp.float32), self.source

        def published(params, stats):
            return sae.unscale(sae.to_inference(params, stats), self.scale)

        shardings = tree_shardings(jax.eval_shape(published, state.params, state.stats), sae_lib.RULES, self.mesh)
        params = jax.jit(published, out_shardings=shardings)(state.params, state.stats)
        if source.transformer is not None and source.site is not None:
            return on_text(source.transformer, PublishedSAE(sae, params), source.site, self.config, self.mesh)
        if source.heldout is None:
            raise AssertionError("a source has held-out rows where it has no transformer")
        with progress(source.heldout.n_rows, "evaluate", "rows", delay=SHORT) as bar:
            return evaluate_rows(PublishedSAE(sae, params), source.heldout, mesh=self.mesh, advance=bar.update)


def summarize(
    path: pathlib.Path,
    config: SaeConfig,
    sae: SparseAutoencoder,
    state: State,
    result: FitResult,
    evaluator: Evaluator,
    train: TrainConfig,
    seconds: float,
    frozen_at: int | None = None,
) -> dict[str, Any]:
    """Evaluates a trained member, writes `density.npy` into `path`, and returns the summary. `frozen_at` is the step
    at which the member diverged and its training ended."""
    metrics, density = evaluator.figures(sae, state)
    vectors = state.params["W_dec"]
    if sae.recipe.activation.signed:  # finding a vector also finds its opposite
        vectors = jnp.concatenate([vectors, -vectors])
    metrics |= evaluator.source.score(vectors)
    if first_process():
        np.save(path / "density.npy", density)
    summary = {
        **metrics,
        config.sparsity_key: config.sparsity,
        "rows_trained": train.steps * train.batch_size,
        "rows_per_second": result.steps * train.batch_size / max(result.seconds, 1e-9),
        "steps_skipped": int(state.guard["skipped"]),
        "resumed_from_step": train.steps - result.steps,
        "checkpoint_stall_seconds": result.mean_stall,
        "wall_seconds": seconds,
    }
    if frozen_at is not None:
        summary["diverged_at_step"] = frozen_at
    return summary
