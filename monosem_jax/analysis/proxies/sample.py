"""Training text from which proxies take the probabilities that they need."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from monosem_jax.analysis.proxies.text import TextBlock, TokenBytes
from monosem_jax.runtime.rng import stream
from monosem_jax.text.pack import Text

FIT_TOKENS = 1_000_000  # tokens of training text that are looked at, about
BLOCK_TOKENS = 1 << 16  # tokens whose characters are looked at together, about


@dataclasses.dataclass(frozen=True)
class FitSample:
    """Contexts [C,T] drawn at random from the training text, the label of each token's document [C,T] (an index into
    `labels`, -1 for none), and the bytes of tokens."""

    bytes: TokenBytes
    tokens: np.ndarray
    label: np.ndarray
    labels: tuple[str, ...]

    @classmethod
    def of(cls, text: Text, seed: int, n_tokens: int = FIT_TOKENS) -> FitSample:
        """Whole contexts of a text directory's training split, about `n_tokens` tokens."""
        tokens, documents = text.tokens("train"), text.documents("train")
        n = max(n_tokens // tokens.shape[1], 1)
        pick = np.sort(stream("proxies.sample", seed).permutation(len(tokens))[:n])
        names = tuple(sorted(set(text.labels) - {""}))
        number = {name: i for i, name in enumerate(names)}
        of_document = np.asarray([number.get(label, -1) for label in text.labels], np.int32)
        return cls(TokenBytes.of(text), np.asarray(tokens[pick]), of_document[documents[pick]], names)

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """[V] how often each token occurs, BOS left out."""
        flat = self.tokens[self.tokens != self.bytes.bos].astype(np.int64)
        return np.bincount(flat[flat < len(self.bytes)], minlength=len(self.bytes))

    @property
    def size(self) -> int:
        """Tokens but BOS."""
        return int(self.counts.sum())

    @property
    def log_probability(self) -> np.ndarray:
        """[V] log P(token), each counted once more than it occurs, so that none is impossible."""
        return np.log((self.counts + 1) / (self.size + len(self.bytes)))

    @functools.cached_property
    def blocks(self) -> tuple[TextBlock, ...]:
        """The sample as characters, some contexts at a time: about 50 bytes a token."""
        return tuple(self.bytes.blocks(self.tokens, max(BLOCK_TOKENS // self.tokens.shape[1], 1)))
