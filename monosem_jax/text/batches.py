"""Batch i of contexts as a function of (tokens, seed, i), through Grain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grain
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from monosem_jax.runtime.rng import entropy


class TokenBatches:
    """Contexts in a new order every epoch; batch i does not depend on the number of processes.

    A call with (start, n) returns batches start … start+n-1 as one device array [n,B,T] sharded over `data`. Each
    process reads only the contexts of its devices.
    """

    def __init__(self, tokens: np.ndarray, batch_size: int, seed: int, mesh: jax.sharding.Mesh):
        self._tokens = tokens
        # Grain shuffles by seed + epoch: without mixing, neighbouring seeds would share orders.
        mixed = entropy("text.batches", seed) % (1 << 32)
        self._order = grain.MapDataset.range(len(tokens)).shuffle(seed=mixed).repeat()
        self._batch_size = batch_size
        self._sharding = NamedSharding(mesh, PartitionSpec(None, "data"))

    def __call__(self, start: int, n: int) -> jax.Array:
        shape = (n, self._batch_size, self._tokens.shape[1])
        return jax.make_array_from_callback(shape, self._sharding, lambda index: self._read(start, shape, index))

    def _read(self, start: int, shape: tuple[int, ...], index: Any) -> np.ndarray:
        rows = range(*index[1].indices(shape[1]))
        picked = [[self._order[(start + i) * shape[1] + j] for j in rows] for i in range(shape[0])]
        return self._tokens[np.asarray(picked)].astype(np.int32)


def context_batches(tokens: np.ndarray, batch: int, *more: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields (tokens [batch,T], more …, weight [batch]); the last batch is padded with contexts of weight 0."""
    for c in range(0, len(tokens), batch):
        pick = np.minimum(np.arange(c, c + batch), len(tokens) - 1)
        weight = (np.arange(c, c + batch) < len(tokens)).astype(np.float32)
        yield (np.asarray(tokens[pick], np.int32), *(np.asarray(m[pick]) for m in more), weight)
