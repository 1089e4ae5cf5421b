"""The tokens that a model itself treats as most alike."""

from __future__ import annotations

import functools

import numpy as np

from monosem_jax.analysis.autointerp.probe import Probe

CHUNK = 4096  # tokens of the vocabulary whose representations are in memory, if all together are too large
LARGEST_TABLE = 1 << 30  # bytes of the representations of the whole vocabulary that are kept


class TokenNeighbours:
    """Cosines between tokens' activations at the site that the features read, each token alone after BOS, with the mean
    over the vocabulary removed. BOS is no neighbour, nor is a token one of itself."""

    def __init__(self, probe: Probe):
        self.probe = probe
        self.vocab_size = probe.features.tapped.model.config.vocab_size
        self.tables: dict[tuple[int, str], np.ndarray] = {}  # may be shared with others of the same model

    def _rows(self, tokens: np.ndarray) -> np.ndarray:
        """[n,W] the representations of tokens: of a model of many layers all are computed once."""
        tapped = self.probe.features.tapped
        key = (id(tapped.params), tapped.site)
        if key not in self.tables:
            first = self.probe.representations(np.arange(1))
            if self.vocab_size * first[0].nbytes > LARGEST_TABLE:
                return self.probe.representations(tokens)
            self.tables[key] = self.probe.representations(np.arange(self.vocab_size))
        return self.tables[key][tokens]

    @functools.cached_property
    def _mean(self) -> np.ndarray:
        total = np.stack([rows.sum(axis=0, dtype=np.float64) for _, rows in self._chunks()]).sum(axis=0)
        return (total / self.vocab_size).astype(np.float32)

    def _chunks(self):
        for first in range(0, self.vocab_size, CHUNK):
            tokens = np.arange(first, min(first + CHUNK, self.vocab_size))
            yield tokens, self._rows(tokens)

    def units(self, tokens: np.ndarray) -> np.ndarray:
        """[n,W] the centred representations of tokens, of norm 1."""
        rows = self._rows(np.asarray(tokens)) - self._mean
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    def nearest(self, tokens: np.ndarray, n: int) -> dict[int, np.ndarray]:
        """token → the ids of its `n` nearest tokens, nearest first."""
        tokens = np.unique(tokens)
        if not len(tokens):
            return {}
        own, bos = self.units(tokens), self.probe.features.tapped.bos
        ids, cosines = np.zeros((len(tokens), 0), np.int64), np.zeros((len(tokens), 0), np.float32)
        for others, rows in self._chunks():
            rows = rows - self._mean
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            cosine = own @ rows.T
            cosine[(others[None] == tokens[:, None]) | (others[None] == bos)] = -np.inf
            ids = np.concatenate([ids, np.broadcast_to(others, cosine.shape)], axis=1)
            cosines = np.concatenate([cosines, cosine], axis=1)
            best = np.argsort(-cosines, axis=1, kind="stable")[:, :n]
            ids, cosines = np.take_along_axis(ids, best, 1), np.take_along_axis(cosines, best, 1)
        return {int(t): ids[i][np.isfinite(cosines[i])] for i, t in enumerate(tokens)}
