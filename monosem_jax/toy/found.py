"""Studies of what dictionaries find on toy models: every architecture, sizes, absorption, resampling."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from monosem_jax.runtime.config import check_bounds, field
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures as sae
from monosem_jax.sae.config import SaeConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.toy.dictionaries import train_on_rows
from monosem_jax.toy.recovery import Recovery, absorption, measure
from monosem_jax.toy.superposition import ToyConfig, Toys, train_toys
from monosem_jax.training.config import OptimizerConfig, ScheduleConfig, TrainConfig

Rows = list[dict[str, Any]]
AUXK: dict[str, Any] = {"k_aux": 32, "dead_rows": 20_000}
# Every architecture that reconstructs the rows it reads, with settings that find nearly all features where
# about two are active on a row.
SETTINGS: dict[str, SaeConfig] = {
    "relu": sae.ReluConfig(l1_coefficient=0.2, input_scale="unit_rms", l1_warmup=0.05),
    "april_2024": sae.AprilConfig(l1_coefficient=4.0),
    "topk": sae.TopKConfig(k=2, **AUXK),
    "batchtopk": sae.BatchTopKConfig(k=2, **AUXK),
    "jumprelu": sae.JumpReluConfig(l0_coefficient=0.3, initial_threshold=0.05, l0_warmup=0.1, bandwidth=0.1),
    "gated": sae.GatedConfig(l1_coefficient=1.2),
    "matryoshka": sae.MatryoshkaConfig(k=1, **AUXK),
    "p_anneal": sae.PAnnealConfig(l1_coefficient=0.7),
    "abs_topk": sae.AbsTopKConfig(k=3, **AUXK),
}


@dataclasses.dataclass(frozen=True)
class DictionariesConfig:
    """Dictionaries that are trained on the hidden activations of toy models."""

    density: float = field(0.025, above=0, at_most=1)
    """The share of rows in which each feature is active; much above 0.05 they cannot be told apart."""
    factor: int = field(2, at_least=1)
    """Features of a dictionary for each feature of the toy model, where architectures are compared."""
    factors: tuple[int, ...] = (1, 4, 16)
    """The same where sizes are compared."""
    steps: int = field(3000, at_least=10)
    """Optimizer steps."""
    batch_size: int = field(256, at_least=1)
    """Rows in a batch."""
    learning_rate: float = field(2e-3, above=0)
    """The peak of Adam's learning rate."""
    rows: int = field(131_072, at_least=1)
    """Hidden activations to train on."""
    measured_rows: int = field(32_768, at_least=1)
    """Others to measure on."""
    architectures: tuple[str, ...] = ()
    """Those that are compared; (): all that read plain rows."""
    split_by: tuple[str, ...] = ("april_2024", "topk")
    """Those that are compared by size."""
    absorb_by: tuple[str, ...] = ("relu", "april_2024", "topk")
    """Those whose absorption is measured."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_bounds(self, "config.dictionaries.")
        for key in ("architectures", "split_by", "absorb_by"):
            for name in getattr(self, key):
                if name not in SETTINGS:
                    raise BadInput(f"config.dictionaries.{key} has {name!r}: expected some of {', '.join(SETTINGS)}")
        if not self.factors or min(self.factors) < 1:
            raise BadInput(f"config.dictionaries.factors is {self.factors}: expected numbers of 1 or more")
        if self.batch_size > self.rows:
            raise BadInput(f"config.dictionaries.batch_size is {self.batch_size}: expected at most rows, {self.rows}")

    def train(self, learning_rate: float = 0.0) -> TrainConfig:
        """The training of a dictionary."""
        return TrainConfig(
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=learning_rate or self.learning_rate,
            steps_per_dispatch=500,
            checkpoint_every=self.steps,
            optimizer=OptimizerConfig(),
            schedule=ScheduleConfig("linear", min(100, self.steps // 10), 0.2, 0.0),
        )


class Subject:
    """A toy model with rows to train dictionaries on, and others to measure on."""

    def __init__(self, toys: Toys, instance: int, config: DictionariesConfig, seed: int):
        self.W, self.config, self.seed = toys.W[instance], config, seed
        _, self.rows = toys.hidden_rows(instance, config.rows, 2 * seed)
        self.x, self.h = toys.hidden_rows(instance, config.measured_rows, 2 * seed + 1)

    def dictionary(self, own: SaeConfig, n_features: int, learning_rate: float = 0.0, resample=None):
        """One that is trained on the rows."""
        own = dataclasses.replace(own, n_features=n_features)
        return train_on_rows(self.rows, own, self.config.train(learning_rate), resample, self.seed)

    def measured(self, own: SaeConfig, n_features: int, learning_rate: float = 0.0, resample=None) -> Recovery:
        """What such a dictionary has found."""
        return measure(self.dictionary(own, n_features, learning_rate, resample), self.W, self.x, self.h)


def sparse_toy(toy: ToyConfig, config: DictionariesConfig, seed: int) -> Subject:
    """A toy model of sparse, independent, equally important features."""
    toys = train_toys(toy, [config.density], 1.0, seed, "the toy model of the dictionaries")
    return Subject(toys, 0, config, seed)


def by_architecture(subject: Subject, gaps: list[str]) -> Rows:
    """What every architecture finds. One that fails is a line in `gaps`."""
    config = subject.config
    n = config.factor * subject.W.shape[1]
    names = config.architectures or tuple(SETTINGS)
    return _rows(names, lambda name: _row(subject.measured(SETTINGS[name], n)), "architecture", gaps)


def other_toy(subject: Subject, W: np.ndarray, gaps: list[str]) -> Rows:
    """The control: how much of another toy model's W a dictionary of this one finds."""

    def row(name: str) -> dict[str, Any]:
        sae = subject.dictionary(SETTINGS[name], subject.config.factor * subject.W.shape[1])
        return _row(measure(sae, W, subject.x, subject.h))

    return _rows(["topk"], row, "architecture", gaps)


def by_size(subject: Subject, gaps: list[str]) -> Rows:
    """Sizes of dictionaries: as many features as are true, up to many more of them."""
    rows: Rows = []
    for factor in subject.config.factors:
        n = factor * subject.W.shape[1]

        def row(name: str, n: int = n) -> dict[str, Any]:
            return _row(subject.measured(SETTINGS[name], n))

        rows += _rows(subject.config.split_by, row, "architecture", gaps)
    return rows


def absorbed(toy: ToyConfig, config: DictionariesConfig, seed: int, gaps: list[str]) -> Rows:
    """Parents and children that only occur with them, against pairs that are as dense and independent."""
    p = np.tile([0.05, 0.02], toy.n_features // 2)[None]
    rows: Rows = []
    for occurrence in ("parent", "independent"):
        own = dataclasses.replace(toy, occurrence=occurrence)
        subject = Subject(train_toys(own, p, 1.0, seed, f"{occurrence} pairs"), 0, config, seed)

        def row(name: str, occurrence=occurrence, subject=subject) -> dict[str, Any]:
            sae = subject.dictionary(SETTINGS[name], toy.n_features + 4)
            found = absorption(sae, subject.W, subject.x, subject.h)
            return {"occurrence": occurrence, **dataclasses.asdict(found)}

        rows += _rows(config.absorb_by, row, "architecture", gaps)
    return rows


def resampled(subject: Subject, gaps: list[str]) -> Rows:
    """TopK with as many features as are true, a large learning rate and no AuxK, so that features die: without
    resampling, as in the paper, and with Adam restarted."""
    steps = subject.config.steps
    events = tuple(float(steps * i // 6) for i in range(1, 5))
    paper = ResampleConfig(events, float(max(steps // 12, 1)), 20_000)
    ways = {"none": None, "paper": paper, "paper, Adam restarted": dataclasses.replace(paper, restart_adam=True)}
    own = dataclasses.replace(SETTINGS["topk"], aux_coefficient=0.0)  # type: ignore[call-arg]
    n, rate = subject.W.shape[1], 5 * subject.config.learning_rate
    return _rows(list(ways), lambda name: _row(subject.measured(own, n, rate, ways[name])), "resampling", gaps)


def _rows(
    names: Sequence[str], row: Callable[[str], dict[str, Any]], key: str, gaps: list[str]
) -> list[dict[str, Any]]:
    found = []
    for name in names:
        try:
            found.append({key: name, **row(name)})
        except BadInput as e:
            gaps.append(f"{name}: {e}")
    return found


def _row(found: Recovery) -> dict[str, Any]:
    return dataclasses.asdict(found)
