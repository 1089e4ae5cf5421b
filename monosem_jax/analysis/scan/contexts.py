"""The contexts in which every feature fires most strongly."""

from __future__ import annotations

import numpy as np

from monosem_jax.analysis.scan.batch import Batch
from monosem_jax.analysis.scan.bottom import Bottom


class TopContexts(Bottom):
    """For each feature the k contexts with its largest activations; of equal ones the earlier."""

    def __init__(self, n_features: int, k: int):
        super().__init__(n_features, k)

    def add(self, batch: Batch) -> None:
        f, length = batch.firings.positive, batch.tokens.shape[1]
        context = batch.first + f.row // length
        key = strength_keys(f.value, context)
        strong = key < self.last[f.feature]
        feature, context, key, row, value = (x[strong] for x in (f.feature, context, key, f.row, f.value))
        order = np.lexsort((row, key, feature))  # a key knows the context: equal contexts are not always neighbours
        pair = (feature.astype(np.int64) * len(batch.tokens) + context - batch.first)[order]
        first = np.sort(np.unique(pair, return_index=True)[1])
        best = order[first]
        self.offer(feature[best], key[best], batch.first_token + row[best].astype(np.int64), value[best])


def strength_keys(value: np.ndarray, context: np.ndarray) -> np.ndarray:
    """64-bit keys that are smaller for a larger positive value, and for an earlier context of the same value."""
    falling = np.uint64(0xFFFFFFFF) - value.view(np.uint32).astype(np.uint64)
    return (falling << np.uint64(32)) | context.astype(np.uint64)
