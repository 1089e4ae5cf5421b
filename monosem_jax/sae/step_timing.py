"""Measures the time of training steps before a training starts."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from monosem_jax.runtime.mesh import device_put_sharded
from monosem_jax.runtime.rng import stream
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.sae.trainer import InputStatistics, SaeMember, make_ensemble
from monosem_jax.training.config import TrainConfig

MEASURED_FLOPS = 2e11  # about a second on two CPU cores


def measure_steps(
    saes: Sequence[SparseAutoencoder], groups: Sequence[Sequence[SaeMember]], train: TrainConfig, mesh: Mesh
) -> dict[int, float]:
    """Number of features -> seconds per step of all members of that size.

    Times one step on random rows, few enough to take about a second, and scales the time to the whole batch.
    """
    found: dict[int, float] = {}
    for sae, members in zip(saes, groups, strict=True):
        shards, width = mesh.shape["data"] * train.micro_batches, sum(sae.parts)
        afford = int(MEASURED_FLOPS / (10 * sae.n_features * width * len(members)))
        rows = min(train.batch_size, max(afford // shards, 1) * shards)
        small = dataclasses.replace(train, batch_size=rows)
        never = ResampleConfig(steps=()).resolve(small)
        ensemble = make_ensemble(sae, members, InputStatistics.unseen(sae.parts), mesh, small, never).ensemble
        block = np.maximum(stream("sweep.measure", 0).normal(size=(1, rows, width)), 0).astype(np.float32)
        batches = device_put_sharded(block, mesh, PartitionSpec(None, "data"))
        dispatch = ensemble.compile(small)
        state, _ = jax.block_until_ready(dispatch(ensemble.state, batches))
        begin = time.perf_counter()
        jax.block_until_ready(dispatch(state, batches))
        seconds = (time.perf_counter() - begin) * train.batch_size / rows
        found[sae.n_features] = found.get(sae.n_features, 0.0) + seconds
    return found
