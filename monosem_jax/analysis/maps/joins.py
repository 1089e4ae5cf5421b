"""Whether clusters of a map hold parents and children together, beside pairs in which the children are exchanged."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Int

from monosem_jax.runtime.rng import stream

SHUFFLES = 20


@dataclasses.dataclass(frozen=True)
class Joined:
    """Of `pairs` pairs of features the share within one cluster, and the same with the second ones exchanged at
    random: the mean of SHUFFLES draws. `clustered`: the share of pairs of which both are in some cluster."""

    pairs: int
    together: float | None
    shuffled: float | None
    clustered: float | None


def joined(a: Int[np.ndarray, " n"], b: Int[np.ndarray, " n"], seed: int = 0) -> Joined:
    """From the clusters of the first and of the second feature of each pair, -1 for none."""
    n = len(a)
    if not n:
        return Joined(0, None, None, None)
    rng = stream("maps.joins", seed)
    draws = [_together(a, b[rng.permutation(n)]) for _ in range(SHUFFLES)]
    return Joined(n, _together(a, b), float(np.mean(draws)), float(np.mean((a >= 0) & (b >= 0))))


def _together(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a == b) & (a >= 0)))
