"""Activations → a dictionary, by the paper's recipe, evaluated where its transformer is at hand."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax import layout
from monosem_jax import sae as sae_lib
from monosem_jax.config import check_seed, to_dict
from monosem_jax.errors import BadInput
from monosem_jax.evaluate import EvaluateConfig
from monosem_jax.fit import Group
from monosem_jax.online import OnlineConfig
from monosem_jax.resample import ResampleConfig
from monosem_jax.run import Run
from monosem_jax.sae.base import SaeConfig
from monosem_jax.sae.relu import ReluConfig
from monosem_jax.sharding import first_process, tree_shardings
from monosem_jax.stages import dictionaries
from monosem_jax.stages.sources import ONLINE, SYNTHETIC, Source, open_source
from monosem_jax.store.stream import StreamConfig
from monosem_jax.synthetic import SyntheticConfig
from monosem_jax.train import TrainConfig


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
    with Run(workdir, "train_sae", identity(config), source.parents, defaults(config)) as run:
        if run.finished:
            print(f"{run.path} is finished: nothing to do")
            return run.summary
        announce(config, mesh, source)
        material = dictionaries.prepare(config, source, mesh, checked=(run.path / "input.json").exists())
        dictionaries.note_input(run, material)
        group = dictionaries.make_group([config], [run], material)
        result = dictionaries.train([group], config, material, "dictionary")
        seconds = time.perf_counter() - begin
        return dictionaries.finish(run, config, result.states[0], result, material, seconds)


def announce(config: SaeRunConfig, mesh: Mesh, source: Source) -> None:
    """Says what training will take of every device."""
    if first_process():
        found = layout.Layout(
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
    rules, material = sae_lib.RULES, dictionaries.Material.unseen(config, width, mesh)
    sae = sae_lib.build(config.sae, width, config.train.dtype(), material.parts)
    tx = dictionaries.dictionary_optimizer(config.train, sae)
    shapes = jax.eval_shape(lambda: dictionaries.initial_state(sae, tx, material, 0, config.sae.hyper()))
    place = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)  # noqa: E731
    state = jax.tree.map(place, shapes, tree_shardings(shapes, rules, mesh))
    group = Group(state, dictionaries.make_objective(config, sae, mesh), tx, [], rules, mesh)
    rows = jax.ShapeDtypeStruct(
        (n_steps, config.train.batch_size, width), jnp.bfloat16,
        sharding=NamedSharding(mesh, PartitionSpec(None, "data")),
    )  # fmt: skip
    return group.compile(config.train).lower(state, rows)
