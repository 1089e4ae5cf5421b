"""How often every feature fires on every token of the vocabulary: one pass over a text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.scan.reading import read
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.errors import BadInput

PRIOR = 1.0  # occurrences at the base rate that are added to those of a token


@dataclasses.dataclass(frozen=True)
class TokenRates:
    """Firings by token. `occurrences` [V] of each token in the text (0 for BOS), `fired` [F,V] int32 those on which a
    feature fires, `maximum` [F] its largest activation."""

    name: str
    occurrences: np.ndarray
    fired: np.ndarray
    maximum: np.ndarray

    @property
    def n_features(self) -> int:
        return len(self.fired)

    @property
    def n_tokens(self) -> int:
        """Tokens of the text, BOS left out."""
        return int(self.occurrences.sum())

    @property
    def firings(self) -> Int[np.ndarray, " F"]:
        return self.fired.sum(axis=1, dtype=np.int64)

    def unigram(self, tokens: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """[n] float64 the shares of `tokens` among their occurrences."""
        return self.occurrences[tokens] / self.occurrences[tokens].sum()

    def base(self, tokens: Int[np.ndarray, " n"]) -> Float[np.ndarray, " F"]:
        """[F] float64 the share of the occurrences of `tokens` on which each feature fires."""
        return self.fired[:, tokens].sum(axis=1, dtype=np.int64) / self.occurrences[tokens].sum()

    def rates(self, tokens: Int[np.ndarray, " n"]) -> Float[np.ndarray, "F n"]:
        """[F,n] fp32 P(feature fires | token): (fired + c · base) / (occurrences + c) with c = PRIOR, so that a token
        seen a few times does not have a rate of 0 or 1. Their mean under `unigram` is the base rate but for c."""
        n = self.occurrences[tokens].astype(np.float32)
        base = self.base(tokens).astype(np.float32)
        return (self.fired[:, tokens] + PRIOR * base[:, None]) / (n + PRIOR)


@pinned()
def token_rates(
    features: FeatureSet,
    tokens: Int[np.ndarray, "C T"],
    *,
    batch: int = 32,
    mesh: Mesh | None = None,
    advance: Callable[[int], Any] = lambda n: None,
) -> TokenRates:
    """Counts over contexts [C,T], BOS left out. 4 bytes per feature and token of the vocabulary.

    Args:
      batch: contexts per forward pass; no count depends on it.
      advance: called with the number of contexts done.

    Raises BadInput on tokens that the model does not have, on no tokens but BOS, and on activations that are not
    finite.
    """
    v, f = features.tapped.model.config.vocab_size, features.n_features
    occurrences, fired = np.zeros(v, np.int64), np.zeros((f, v), np.int32)
    maximum = np.zeros(f, np.float32)
    for part in read(features, tokens, batch=batch, mesh=mesh):
        fires = part.fires
        occurrences += np.bincount(part.token[part.real], minlength=v)
        np.add.at(fired.reshape(-1), fires.feature.astype(np.int64) * v + part.token[fires.row], np.int32(1))
        np.maximum.at(maximum, fires.feature, fires.value)
        advance(len(part.tokens))
    if not occurrences.sum():
        raise BadInput(f"automata of {features.name}: the text has no tokens but BOS: expected others")
    return TokenRates(features.name, occurrences, fired, maximum)
