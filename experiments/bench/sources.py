"""Training with the real loop, on rows from disk, from device memory, and computed online by a transformer."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pathlib
import shutil
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import store as stores
from experiments.bench.material import sparse_params
from experiments.bench.timing import ratio
from experiments.bench.train import StepSizes, our_group
from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.online import OnlineConfig, OnlineStream
from monosem_jax.activations.store.store import Store
from monosem_jax.activations.stream.stream import StreamConfig, open_stream
from monosem_jax.models import build_model
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.loop import Ensemble, fit

A1_ROWS, A1_SECONDS = 8.192e9, 600.0  # the paper's million batches of 8,192 rows, and the time allowed for them
CONTEXTS = 1 << 16  # of random tokens, for the transformer
LINES = 8  # log lines per run
TURNS = {"cpu": 4}  # length of a run, in turns
OVERHEAD = 1.5  # time of a run with its checkpoints, relative to the time of its steps


def make_material(folder: pathlib.Path, n_rows: int) -> tuple[Any, dict[str, Any]]:
    """Writes a store of a transformer's activations to folder/store; returns its producer and its manifest."""
    made = stores.make_source(n_rows, "bfloat16")
    manifest = stores.make_store(folder / "store", made, HarvestConfig(rows_per_context=stores.PER_CONTEXT))
    return made, manifest


def sources(
    folder: pathlib.Path, made: Any, manifest: dict[str, Any], n_features: int, sizes: StepSizes, seconds: float, *,
    buffer_rows: int, window_blocks: int,
) -> dict[str, Any]:  # fmt: skip
    """Rows/s of whole training runs after their first quarter, by the source of the rows; the sources take turns.

    Each run is as long as several turns, according to the rate of a first, short run.
    """
    begin, streams = time.perf_counter(), _streams(folder, made, sizes, buffer_rows, window_blocks)
    first = streams["resident"](0, 1)[0].astype(jnp.float32)
    scale = float(manifest["mean_square"] ** -0.5)
    params = sparse_params(first * scale, n_features, 32.0)
    group = our_group(n_features, sizes.width, sizes.dtype, params=params)
    group.state.hyper["input_scale"] = jnp.float32(scale)
    trainer = _Trainer(group, folder / "runs", sizes)
    short = {name: trainer.rate(stream, 4 * sizes.steps) for name, stream in streams.items()}
    aim = sizes.turn_seconds * TURNS.get(jax.default_backend(), 10)
    lengths = {name: _whole(aim * rate / sizes.batch, sizes.steps) for name, rate in short.items()}
    round_seconds = sum(lengths[name] * sizes.batch / rate for name, rate in short.items())
    left = seconds - (time.perf_counter() - begin)
    rounds = min(sizes.rounds, int(left / (OVERHEAD * round_seconds)))
    if rounds < 1:
        return {
            "skipped": f"a round takes {OVERHEAD * round_seconds:.0f} s, and {max(left, 0):.0f} s are left for it",
            "ratios": {},
        }
    found: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(rounds):
        for name, stream in streams.items():
            found[name].append(trainer.rate(stream, lengths[name]))
    return {
        "features": n_features,
        "batch": sizes.batch,
        "steps_per_dispatch": sizes.steps,
        "store_rows": made.n_rows,
        "rounds": rounds,
        "steps": lengths,
        "rows_per_second": (medians := {name: statistics.median(v) for name, v in found.items()}),
        "minutes_for_a1": {name: A1_ROWS / rate / 60 for name, rate in medians.items()},
        "ratios": _ratios(found, medians),
    }


def _streams(
    folder: pathlib.Path, made: Any, sizes: StepSizes, buffer_rows: int, window_blocks: int
) -> dict[str, Callable[[int, int], jax.Array]]:
    mesh, store = stores.one_device(), Store(folder / "store")
    config = {kind: StreamConfig(kind, window_blocks) for kind in ("disk", "resident")}
    streams = {kind: open_stream(store, sizes.batch, 0, mesh, config=c) for kind, c in config.items()}
    tokens = np.random.default_rng(0).integers(1, stores.MODEL.vocab_size, (CONTEXTS, stores.MODEL.context_length))
    streams["online"] = OnlineStream(
        build_model(stores.MODEL, sizes.dtype), made.params, tokens.astype(np.uint16), bos=0,
        config=OnlineConfig(rows_per_context=stores.PER_CONTEXT, buffer_rows=max(buffer_rows, sizes.batch)),
        batch_size=sizes.batch, seed=0, mesh=mesh,
    )  # fmt: skip
    return streams


class _Trainer:
    """Runs the real loop from the same initial state, with one compiled program for all runs."""

    def __init__(self, group: Ensemble, folder: pathlib.Path, sizes: StepSizes):
        self._dispatch, self._folder, self._sizes = group.compile(TrainConfig()), folder, sizes
        self._group, self._state, group.state = group, group.state, None

    def rate(self, stream: Any, n_steps: int) -> float:
        """Rows per second of a run without its first quarter, from the times in its log."""
        sizes = self._sizes
        config = TrainConfig(
            steps=n_steps, batch_size=sizes.batch, steps_per_dispatch=sizes.steps,
            log_every=max(1, n_steps // (LINES * sizes.steps)) * sizes.steps, checkpoint_every=n_steps,
        )  # fmt: skip
        with RunDir(self._folder, "bench", {}, {}) as run, contextlib.redirect_stderr(io.StringIO()):  # progress bars
            state = jax.tree.map(jnp.copy, self._state)
            group = _Compiled(**{**vars(self._group), "state": state, "runs": [run]}, dispatch=self._dispatch)
            fit([group], config=config, batches=stream, description="bench")
        lines = [json.loads(line) for line in (self._folder / "metrics.jsonl").read_text().splitlines()]
        shutil.rmtree(self._folder)
        steady = [(line["step"], line["time"]) for line in lines if line["step"] >= n_steps // 4]
        (first, begin), (last, end) = steady[0], steady[-1]
        return (last - first) * sizes.batch / (end - begin)


@dataclasses.dataclass
class _Compiled(Ensemble):
    dispatch: Callable | None = None

    def compile(self, config: TrainConfig) -> Callable:
        return self.dispatch


def _whole(steps: float, per_dispatch: int) -> int:
    """The number of steps, rounded to whole dispatches, at least four of them."""
    return per_dispatch * max(4, round(steps / per_dispatch))


def _ratios(found: dict[str, list[float]], medians: dict[str, float]) -> dict[str, Any]:
    ratios = {f"{name} / resident": (ratio(found, name, "resident"), 0.9) for name in ("disk", "online")}
    bound = 1.0 if jax.default_backend() == "gpu" else None
    for name in ("resident", "online"):
        ratios[f"rows of A/1 in ten minutes, {name}"] = (medians[name] * A1_SECONDS / A1_ROWS, bound)
    return ratios
