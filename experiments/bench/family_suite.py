"""The benchmark suite "family": how fast every architecture trains, and the Pareto fronts of other libraries."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import family, peer_fronts
from monosem_jax.activations import sources
from monosem_jax.activations.sources import open_source
from monosem_jax.runtime.config import field
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import Place
from monosem_jax.sae import trainer
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.evaluate import on_text
from monosem_jax.stages.sweep import finished_sweeps
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import TrainConfig

FIGURES = ("l0", "variance_explained", "loss_recovered_zero", "dead")


@dataclasses.dataclass(frozen=True)
class FamilyBenchConfig:
    """The suite "family": rates of training steps; with --peers also other libraries' trainers, on the same rows as
    `experiments.sweep --config=sweep_family`."""

    features: tuple[int, ...] = (2048, 16_384)
    """Sizes of the dictionaries timed."""
    batch_size: int = 0
    """Rows per step; 0: chosen by the platform."""
    width: int = 512
    """Width of the rows timed."""
    turn_seconds: float = 2.0
    """Seconds per turn."""
    rounds: int = 5
    """Turns of each architecture."""
    source: str = field("", place=sources.PLACE)
    """--peers: the store or array on which they train."""
    sweeps: str = field("", place=Place())
    """--peers: the directory of our sweeps, with which they are compared."""
    steps: int = 2000
    """--peers: steps of 256 rows."""
    learning_rate: float = 1e-3
    """--peers: of the other libraries' trainers."""
    n_features: int = 2048
    """--peers: size of the dictionaries."""
    only: str = ""
    """--peers: train only those with this in their name ("SAELens", "topk")."""
    peers: bool = False
    """Other libraries' trainers too."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if not self.features and not self.peers:
            raise BadInput("config.family.features is empty: there is nothing to measure")
        if self.peers and not self.source:
            raise BadInput("config.family.source is empty: --peers needs rows to train on, such as a harvested store")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise BadInput(f"config.family.learning_rate is {self.learning_rate}: a positive number is needed")


def suite(config: FamilyBenchConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (name, figures) for every part."""
    for n_features in config.features:
        yield f"{n_features:,} features", family.rates_of(
            n_features, width=config.width, batch=config.batch_size or _batch(n_features),
            turn_seconds=config.turn_seconds, rounds=config.rounds,
        )  # fmt: skip
    if config.peers:
        yield from fronts(config)


def _batch(n_features: int) -> int:
    return 8192 if jax.default_backend() != "cpu" else max(256, (1 << 21) // n_features)


def fronts(config: FamilyBenchConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Reconstruction quality and L0 of other libraries' dictionaries, next to ours of the same architecture at the same
    L0."""
    train = TrainConfig(steps=config.steps, batch_size=256)
    given = SaeRunConfig(source=config.source, train=train, resample=ResampleConfig(steps=()))
    source = open_source(given.source_request())
    if source.transformer is None or source.site is None:
        raise BadInput(f"{config.source} comes without its transformer: losses cannot be compared")
    stream = source.stream(trainer.open_mesh(train, [1], source.width))
    ours = read_sweeps(config.sweeps)

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, train.steps, 50):
            yield from np.asarray(stream(start, min(50, train.steps - start)).astype(jnp.float32))

    for library, architectures in peer_fronts.SETTINGS.items():
        for architecture, values in architectures.items():
            for value in values:
                name = f"{library} {architecture} {value:g}"
                if config.only not in name:
                    continue
                job = peer_fronts.PeerTraining(
                    architecture, value, batches, source.width, config.n_features, train.steps, train.batch_size,
                    config.learning_rate,
                )  # fmt: skip
                begin = time.perf_counter()
                kind, params = peer_fronts.TRAINERS[library](job)
                seconds = time.perf_counter() - begin
                sae = peer_fronts.module(job, kind)
                found, _ = on_text(source.transformer, PublishedSAE(sae, params), source.site, given.evaluate)
                figures = {key: found[key] for key in FIGURES} | {"seconds": seconds}
                yield name, {"theirs": figures, "ours": at_l0(ours.get(architecture, []), found["l0"]), "ratios": {}}


def read_sweeps(directory: str) -> dict[str, list[dict[str, float]]]:
    """architecture -> the members of its finished sweeps in a folder, from low to high L0."""
    found: dict[str, list] = {}
    for run in finished_sweeps(directory).values() if directory else ():
        found.setdefault(run.config["sae"]["architecture"], []).extend(run.table)
    return {name: sorted(rows, key=lambda row: row["l0"]) for name, rows in found.items()}


def at_l0(rows: list[dict[str, float]], l0: float) -> dict[str, float]:
    """The members' figures interpolated linearly in log L0 at this L0; {} if it lies outside their range."""
    if not rows or not rows[0]["l0"] <= l0 <= rows[-1]["l0"]:
        return {}
    x = np.log([row["l0"] for row in rows])
    return {key: float(np.interp(np.log(l0), x, [row[key] for row in rows])) for key in FIGURES[1:3]}
