"""The benchmark suite "train": its parts, and the time for each."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import time
import traceback
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from experiments.bench import peers, sources, train
from experiments.bench import subprocesses as fresh
from experiments.bench.budget import Budget
from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.sae import cost_table
from monosem_jax.sae.trainer import vmap_size
from monosem_jax.training.config import DTYPES

LEAST_BATCH = 256
STEPS_IN_A_ROUND = 20  # our own steps in all variants of a round, and before the rounds
STEPS_IN_ROUNDS = 30  # the same with one more round
WHOLE_RUN, LEAST_TRAINING = 10.0, 1.0  # seconds of a run outside training (about), and of training (at least)


@dataclasses.dataclass(frozen=True)
class TrainBenchConfig:
    """The suite "train". Where a size would take too long on a CPU, batches are smaller, and the table says so."""

    features: tuple[int, ...] = (4096, 512, 16_384, 131_072)
    """Sizes of the dictionaries timed alone."""
    source_features: int = 4096
    """The size timed with rows from several sources too."""
    stacked_features: int = 512
    """The size of which several members are trained together."""
    members: tuple[int, ...] = (1, 4, 8)
    """How many members."""
    batch_size: int = 0
    """Rows per step; 0: chosen by the platform."""
    width: int = 512
    """Width of the rows."""
    compute_dtype: str = "auto"
    """Type of the matmuls: float32, bfloat16, or auto: chosen by the platform."""
    store_rows: int = 0
    """Rows of the store made for the comparison of sources; 0: chosen by the platform."""
    minutes: float = 9.0
    """Time for the whole suite; what does not fit is named."""
    turn_seconds: float = 0.0
    """Seconds per turn; 0: chosen by the platform."""
    peers: bool = False
    """Other libraries' trainers too."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        for name in ("features", "members"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise BadInput(f"config.train.{name} is {getattr(self, name)}: expected numbers above 0")
        check_counts(self, "config.train.", "source_features", "stacked_features", "width")
        for name in ("batch_size", "store_rows", "turn_seconds"):
            if getattr(self, name) < 0:
                raise BadInput(
                    f"config.train.{name} is {getattr(self, name)}: expected more than 0, or 0 for its default"
                )
        if 1 not in self.members:
            raise BadInput(
                f"config.train.members is {self.members}: expected 1 among them, for the others to be held against"
            )
        if self.minutes <= 0:
            raise BadInput(f"config.train.minutes is {self.minutes}: expected more than 0")
        if self.compute_dtype not in ("auto", *DTYPES):
            known = ", ".join(DTYPES)
            raise BadInput(f"config.train.compute_dtype is {self.compute_dtype!r}: expected auto, {known}")

    def resolve(self) -> TrainBenchConfig:
        """The configuration with the platform's defaults filled in."""
        cpu = jax.default_backend() == "cpu"
        auto = {
            "batch_size": 2048 if cpu else 8192,
            "store_rows": 1 << (17 if cpu else 21),
            "turn_seconds": 1.0 if cpu else 0.3,
            "compute_dtype": "float32" if cpu else "bfloat16",
        }
        return dataclasses.replace(self, **{k: v for k, v in auto.items() if getattr(self, k) in (0, "auto")})


class TrainSuite:
    """The parts of the suite. Each takes its time in seconds and returns its figures."""

    def __init__(self, data: pathlib.Path, config: TrainBenchConfig, *, rounds: int, window_blocks: int):
        self._data, self._config, self._rounds, self._window = data, config.resolve(), rounds, window_blocks
        self._dtype = jnp.dtype(self._config.compute_dtype)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields (name, figures) for every part. Time is divided over the parts; a failed part reports its error, and
        the next one runs."""
        c = self._config
        self._peak = cost_table.matmul_peak(self._dtype, 0.5)
        first, largest = c.features[0], max(c.features)
        parts = {f"steps, F={n}": (3.0 if n in (first, largest) else 1.5, self._steps, n) for n in c.features}
        parts |= {
            f"sources, F={c.source_features}": (3.0, self._sources, c.source_features),
            f"stacked, F={c.stacked_features}": (1.5, self._stacked, c.stacked_features),
            f"start-up, F={c.source_features}": (1.0, self._startup, c.source_features),
            f"whole runs, F={c.stacked_features}": (2.0, self._whole_runs, c.stacked_features),
            "peak memory": (1.0, self._memory, 0),
        }
        budget = Budget(60 * c.minutes, {name: weight for name, (weight, *_) in parts.items()})
        for name, (_, measure, n_features) in parts.items():
            try:
                figures = measure(n_features, budget.take(name))
            except Exception as e:  # the other parts still run
                traceback.print_exc()
                figures = {"failed": " ".join(f"{type(e).__name__}: {e}".split())[:500], "ratios": {}}
            peers.release()
            yield name, figures

    def _sizes(self, n_features: int, seconds: float) -> train.StepSizes:
        """Sizes of the batches that fit into the time."""
        c, batch = self._config, self._config.batch_size
        while batch > LEAST_BATCH and STEPS_IN_ROUNDS * self._step_seconds(n_features, batch) > seconds:
            batch //= 2
        steps = train.steps_per_dispatch(n_features, batch, c.width, self._peak)
        return train.StepSizes(batch, steps, self._dtype, c.turn_seconds, self._rounds, c.width)

    def _step_seconds(self, n_features: int, batch: int) -> float:
        return 10e-12 * batch * self._config.width * n_features / self._peak

    def _steps(self, n_features: int, seconds: float) -> dict[str, Any]:
        sizes = self._sizes(n_features, seconds)
        needed = STEPS_IN_A_ROUND * self._step_seconds(n_features, sizes.batch)
        if needed > seconds:
            return {
                "skipped": f"with batches of {sizes.batch} it needs {needed:.0f} s, of {seconds:.0f} s",
                "ratios": {},
            }
        return train.steps(n_features, sizes, seconds, with_peers=self._config.peers)

    def _sources(self, n_features: int, seconds: float) -> dict[str, Any]:
        begin = time.perf_counter()
        made, manifest = sources.make_material(self._data, self._config.store_rows)
        sizes = dataclasses.replace(self._sizes(n_features, seconds), width=made.width)
        buffer_rows = 8 * sizes.batch if jax.default_backend() == "cpu" else 1 << 20
        left = seconds - (time.perf_counter() - begin)
        return sources.sources(
            self._data, made, manifest, n_features, sizes, left, buffer_rows=buffer_rows, window_blocks=self._window
        )

    def _stacked(self, n_features: int, seconds: float) -> dict[str, Any]:
        sizes, together = self._sizes(n_features, seconds), vmap_size(n_features)
        return train.stacked(self._config.members, n_features, sizes, seconds, together=together)

    def _startup(self, n_features: int, seconds: float) -> dict[str, Any]:
        batch, folder = self._config.batch_size, self._data / "startup"
        return fresh.startup(folder, self._data / "store", n_features, batch, rounds=self._rounds, seconds=seconds)

    def _memory(self, _: int, seconds: float) -> dict[str, Any]:
        """The peaks of each size, in the order of sizes."""
        features = sorted(self._config.features)
        budget, found = Budget(seconds, {str(n): 1.0 + n / max(features) for n in features}), {}
        for n in features:
            left = budget.take(str(n))
            size = self._sizes(n, 5 * left)  # two steps are enough
            peaks = fresh.measured_peaks(n, size.width, size.batch, size.steps, self._dtype, left)
            found[str(n)] = {"batch": size.batch, **peaks}
        return {"megabytes": found, "ratios": {}}

    def _whole_runs(self, n_features: int, seconds: float) -> dict[str, Any]:
        if importlib.util.find_spec("matplotlib") is None:
            return {"skipped": "a sweep ends with plots: pip install 'monosem_jax[report]'", "ratios": {}}
        c, members = self._config, max(self._config.members)
        runs = 2 + (members if jax.default_backend() == "cpu" else members / 2)  # if a sweep takes half the time
        training = (0.8 * seconds - 3 * WHOLE_RUN) / runs
        if training < LEAST_TRAINING:
            return {"skipped": f"{seconds:.0f} s are left for it", "ratios": {}}
        training = min(training, 30 * c.turn_seconds)
        step = max(2 * self._step_seconds(n_features, c.batch_size), 2e-4)
        dispatch = train.steps_per_dispatch(n_features, c.batch_size, c.width, self._peak)
        n_steps = dispatch * max(2, round(training / step / dispatch))
        return fresh.whole_runs(
            self._data / "whole", self._data / "store", n_features, c.batch_size, n_steps, members=members,
            dispatch=dispatch,
        )  # fmt: skip
