"""Activations of single features at single positions of short made-up contexts, many at once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.analysis.feature_sets import Encoder, FeatureSet
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned

LENGTHS = (10, 34)  # contexts are padded to one of these, so that few programs are compiled


class Probe:
    """Asks a feature set for activations, `batch` contexts at a time. Equal questions are computed once per call.

    Contexts are padded on the right, which changes nothing to the left of it in a causal model. Only the position that
    is asked for is encoded. `asked` counts the contexts that were computed.
    """

    def __init__(self, features: FeatureSet, batch: int = 512):
        self.features = features
        self.batch = batch
        self.asked = 0

    @pinned()
    def __call__(self, columns: np.ndarray, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """[n] the activations of features `columns` [n] at the last of the first `lengths` [n] tokens of contexts
        [n,L], which begin with BOS (the model's contexts do; it is not added here)."""
        if not len(columns):
            return np.zeros(0, np.float32)
        beyond = np.arange(tokens.shape[1]) >= lengths[:, None]
        filled = np.where(beyond, self.features.tapped.bos, tokens)
        table = np.concatenate([np.stack([columns, lengths], 1), filled], axis=1).astype(np.int32)
        table, back = np.unique(table, axis=0, return_inverse=True)
        longest = table[:, 1]
        found = np.zeros(len(table), np.float32)
        below = 0
        for size in (*(n for n in LENGTHS if n < tokens.shape[1]), tokens.shape[1]):
            at = np.flatnonzero((longest > below) & (longest <= size))
            found[at] = self._measured(table[at, 0], table[at, 2 : 2 + size], longest[at])
            below = size
        return found[back.ravel()]

    def _measured(self, columns: np.ndarray, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        on_device, out = self.features.on_device, []
        self.asked += len(columns)
        for first in range(0, len(columns), self.batch):
            pick = np.minimum(np.arange(first, first + self.batch), len(columns) - 1)
            f = _at(on_device.tapped, on_device.encoder, tokens[pick], lengths[pick] - 1, columns[pick])
            out.append(np.asarray(f)[: len(columns) - first])
        return np.concatenate(out) if out else np.zeros(0, np.float32)

    @pinned()
    def representations(self, tokens: np.ndarray) -> np.ndarray:
        """[n,W] the rows at the site for contexts of BOS and one token."""
        on_device, out = self.features.on_device, []
        for first in range(0, len(tokens), self.batch):
            pick = np.minimum(np.arange(first, first + self.batch), len(tokens) - 1)
            pairs = np.stack([np.full(len(pick), self.features.tapped.bos), np.asarray(tokens)[pick]], 1)
            rows = _rows(on_device.tapped, pairs.astype(np.int32))
            out.append(np.asarray(rows)[: len(tokens) - first])
        return np.concatenate(out)


@jax.jit
def _at(tapped: TappedModel, encoder: Encoder, tokens: jax.Array, position: jax.Array, column: jax.Array) -> jax.Array:
    rows = tapped.rows(tokens)
    f = encoder.encode(jnp.take_along_axis(rows, position[:, None, None], axis=1)[:, 0])  # [n,F]
    return jnp.take_along_axis(f, column[:, None], axis=1)[:, 0]


@jax.jit
def _rows(tapped: TappedModel, pairs: jax.Array) -> jax.Array:
    return tapped.rows(pairs)[:, -1]
