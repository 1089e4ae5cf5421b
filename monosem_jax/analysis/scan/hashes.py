"""Random numbers that depend on what they are for and not on when they are drawn."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt64

from monosem_jax.runtime.rng import entropy

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mixed(x: UInt64[np.ndarray, "*n"]) -> UInt64[np.ndarray, "*n"]:
    """SplitMix64's finaliser, a bijection of 64-bit numbers whose outputs pass statistical tests on counters."""
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Keys:
    """A 64-bit key for every token, and for every pair of a feature and a token, of a purpose and seed.

    The k tokens with the smallest keys of a group are a uniform sample of it without replacement.
    """

    def __init__(self, purpose: str, seed: int, n_features: int = 0):
        base = np.uint64(entropy(f"scan.{purpose}", seed) % (1 << 64))
        self._tokens = mixed(np.asarray([base], np.uint64))
        self._features = mixed(base ^ mixed(np.arange(n_features, dtype=np.uint64)))

    def of_tokens(self, number: Int[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
        """Keys of tokens by their numbers in the text."""
        return mixed(mixed(number.astype(np.uint64)) ^ self._tokens)

    def of_firings(self, feature: Int[np.ndarray, " n"], number: Int[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
        """Keys of firings: the feature, and the token's number in the text."""
        return mixed(mixed(number.astype(np.uint64)) ^ self._features[feature])

    def signs(self, number: Int[np.ndarray, " n"], columns: int) -> Float[np.ndarray, "n r"]:
        """`columns` independent signs, +1 or -1, for every token."""
        words = -(-columns // 64)
        each = mixed(self.of_tokens(number)[:, None] + np.arange(words, dtype=np.uint64) * _GOLDEN)
        bits = np.unpackbits(each.view(np.uint8).reshape(len(number), -1), axis=1, count=columns)
        return bits.astype(np.float32) * 2 - 1
