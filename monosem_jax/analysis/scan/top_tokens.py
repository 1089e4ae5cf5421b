"""The tokens of the vocabulary on which every feature fires most often."""

from __future__ import annotations

import numpy as np

from monosem_jax.analysis.scan.batch import Batch, Sums
from monosem_jax.analysis.scan.bottom import Bottom
from monosem_jax.analysis.scan.hashes import Keys

BLOCK = 1 << 22  # pairs that are sorted at a time
TopTokens = tuple[np.ndarray, np.ndarray, np.ndarray]  # [F,t] token (-1: none), firings, sum of activations


class TokenTable(Sums):
    """Firings, and the sums of their activations, for every pair of a feature and a token [F,V]."""

    def __init__(self, n_features: int, vocab_size: int):
        self.state = {
            "fired": np.zeros((n_features, vocab_size), np.int32),
            "total": np.zeros((n_features, vocab_size)),
        }

    def add(self, batch: Batch) -> None:
        f = batch.fires
        at = f.feature.astype(np.int64) * self.state["fired"].shape[1] + batch.token[f.row]
        np.add.at(self.state["fired"].reshape(-1), at, np.int32(1))  # of another type it is forty times as slow
        np.add.at(self.state["total"].reshape(-1), at, f.value.astype(np.float64))

    def top(self, n: int) -> TopTokens:
        """The `n` tokens on which each feature fires most often; of equal ones, the smaller id first."""
        fired, total = self.state["fired"], self.state["total"]
        block = max(1, BLOCK // fired.shape[1])
        parts = [
            _most_frequent(np.arange(fired.shape[1]), fired[i : i + block], total[i : i + block], n)
            for i in range(0, len(fired), block)
        ]
        token, count, value = (np.concatenate(x) for x in zip(*parts, strict=True))
        return token, count, value


class TokenSample(Bottom):
    """A uniform sample of k firings of each feature, whose tokens are candidates where a table would be too large."""

    def __init__(self, n_features: int, k: int, seed: int):
        super().__init__(n_features, k)
        self._keys = Keys("tokens", seed, n_features)

    def add(self, batch: Batch) -> None:
        f = batch.fires
        place = batch.first_token + f.row.astype(np.int64)
        self.offer(f.feature, self._keys.of_firings(f.feature, place), place, f.value)

    def candidates(self, tokens: np.ndarray) -> np.ndarray:
        """[F,k] the different tokens in each feature's sample, in rising order, then -1. `tokens` is the text [C,T]."""
        place = self.state["place"]
        context, position = np.divmod(np.maximum(place, 0), tokens.shape[1])
        many = np.iinfo(np.int64).max
        found = np.sort(np.where(place < 0, many, tokens[context, position]), axis=1)
        again = np.zeros(found.shape, bool)
        again[:, 1:] = found[:, 1:] == found[:, :-1]
        found = np.sort(np.where(again, many, found), axis=1)
        return np.where(found == many, -1, found)


class CandidateTokens(Sums):
    """Firings, and the sums of their activations, for some tokens of each feature [F,k] (-1: none)."""

    def __init__(self, candidates: np.ndarray, vocab_size: int):
        self._candidates, self._vocab_size = candidates, vocab_size
        feature, self._slot = np.nonzero(candidates >= 0)
        self._pair = feature.astype(np.int64) * vocab_size + candidates[feature, self._slot]  # in rising order
        self._at = feature.astype(np.int64) * candidates.shape[1] + self._slot
        self.state = {"fired": np.zeros(candidates.shape, np.int64), "total": np.zeros(candidates.shape)}

    def add(self, batch: Batch) -> None:
        f = batch.fires
        if not len(self._pair):
            return
        pair = f.feature.astype(np.int64) * self._vocab_size + batch.token[f.row]
        found = np.minimum(np.searchsorted(self._pair, pair), len(self._pair) - 1)
        known = self._pair[found] == pair
        at = self._at[found[known]]
        np.add.at(self.state["fired"].reshape(-1), at, 1)
        np.add.at(self.state["total"].reshape(-1), at, f.value[known].astype(np.float64))

    def top(self, n: int) -> TopTokens:
        """The `n` candidates on which each feature fires most often."""
        return _most_frequent(self._candidates, self.state["fired"], self.state["total"], n)


def _most_frequent(token: np.ndarray, fired: np.ndarray, total: np.ndarray, n: int) -> TopTokens:
    """Of tokens [v] or [F,v], `n` for each feature by falling `fired` [F,v] and rising id."""
    token = np.broadcast_to(token, fired.shape)
    order = -fired.astype(np.int64) * (1 << 32) + token
    if n < fired.shape[1]:
        at = np.argpartition(order, n - 1, axis=1)[:, :n]
    else:
        at = np.broadcast_to(np.arange(fired.shape[1]), fired.shape)
    at = np.take_along_axis(at, np.argsort(np.take_along_axis(order, at, 1), axis=1), 1)
    token, fired, total = (np.take_along_axis(x, at, 1) for x in (token, fired, total))
    token = np.where(fired > 0, token, -1).astype(np.int32)
    pad = ((0, 0), (0, n - token.shape[1]))
    return np.pad(token, pad, constant_values=-1), np.pad(fired.astype(np.int64), pad), np.pad(total, pad)
