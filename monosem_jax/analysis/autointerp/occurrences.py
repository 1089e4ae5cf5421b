"""Places in a text where given tokens occur, drawn uniformly in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monosem_jax.runtime.rng import entropy

PER_TOKEN = 256
CHUNK = 1 << 20  # tokens


def occurrences(
    tokens: np.ndarray, wanted: Sequence[int], *, seed: int, most: int = PER_TOKEN
) -> dict[int, np.ndarray]:
    """token → flat indices into `tokens` [C,T] of at most `most` of its occurrences, a uniform sample of them all.

    An occurrence is kept if its hash of the seed and its place is among the smallest: the order of reading decides
    nothing. Memory: `most` places per wanted token and one chunk of text.
    """
    if not len(wanted):
        return {}
    rank_of = np.full(max(int(max(wanted)) + 1, 1), -1, np.int64)
    rank_of[np.asarray(wanted)] = np.arange(len(wanted))
    rank, place, order = (np.zeros(0, t) for t in (np.int64, np.int64, np.uint64))
    salt = np.uint64(entropy("autointerp.occurrences", seed) % (1 << 64))
    rows = max(CHUNK // tokens.shape[1], 1)
    for first in range(0, len(tokens), rows):
        chunk = np.asarray(tokens[first : first + rows], np.int64).ravel()
        known = np.where(chunk < len(rank_of), rank_of[np.minimum(chunk, len(rank_of) - 1)], -1)
        at = np.flatnonzero(known >= 0)
        rank, place = np.concatenate([rank, known[at]]), np.concatenate([place, at + first * tokens.shape[1]])
        order = np.concatenate([order, mixed_hash((at + first * tokens.shape[1]).astype(np.uint64) ^ salt)])
        by_hash = np.lexsort((place, order, rank))
        rank, place, order = rank[by_hash], place[by_hash], order[by_hash]
        begins = np.searchsorted(rank, rank)  # where each one's token begins
        keep = np.arange(len(rank)) - begins < most
        rank, place, order = rank[keep], place[keep], order[keep]
    return {int(t): place[rank == i] for i, t in enumerate(wanted)}


def mixed_hash(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 on uint64: a bijection whose values look random."""
    with np.errstate(over="ignore"):
        x = (x + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
