"""Dictionaries that train in seconds, and the results that must not depend on interruptions."""

import json
import pathlib

import jax
import numpy as np

from monosem_jax import load_run
from monosem_jax.activations.online import OnlineConfig
from monosem_jax.runtime.checkpoint import load_params
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages import train_sae
from monosem_jax.training.config import TrainConfig

SITE, M, F, K, STEPS, BATCH = "mlp_hidden.0", 24, 32, 8, 12, 64
TRAIN = TrainConfig(
    steps=STEPS, batch_size=BATCH, learning_rate=1e-3, steps_per_dispatch=4, log_every=4, evaluate_every=2,
    checkpoint_every=4,
)  # fmt: skip
ONLINE = OnlineConfig(SITE, K, buffer_rows=300, batch_contexts=64, dtype="float32")  # a filling is 8 batches


def config(source: object, **changes) -> train_sae.SaeRunConfig:
    values = {
        "source": str(source), "sae": ReluConfig(n_features=F, input_scale="unit_rms"), "train": TRAIN,
        "resample": ResampleConfig(steps=(4,), window=3, n_inputs=128), "online": ONLINE,
    }  # fmt: skip
    return train_sae.SaeRunConfig(**{**values, **changes})


def online_config(root: pathlib.Path, **changes) -> train_sae.SaeRunConfig:
    return config("online", **{"transformer": str(root / "transformer"), **changes})


def state(path: pathlib.Path) -> list[np.ndarray]:
    """The newest checkpoint: parameters, optimizer state, statistics, step, input scale."""
    found = load_params(path / "checkpoints", names=("params", "rest"))
    return [np.asarray(x) for x in jax.tree.leaves(found) if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)]


def metrics(path: pathlib.Path) -> list[dict]:
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time"} for line in lines]


def figures(path: pathlib.Path) -> dict:
    """The summary without times, and without what says where the process began."""
    times = ("rows_per_second", "wall_seconds", "resumed_from_step", "checkpoint_stall_seconds")
    return {k: v for k, v in load_run(path).summary.items() if k not in times}


def assert_same_run(a: pathlib.Path, b: pathlib.Path) -> None:
    for x, y in zip(state(a), state(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert metrics(a) == metrics(b) and figures(a) == figures(b)
