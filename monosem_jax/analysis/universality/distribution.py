"""The distribution of a number over features: quantiles, a histogram, and the median with its uncertainty."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from monosem_jax.runtime.rng import stream

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
BINS = 40  # of equal width over (-1, 1]
RESAMPLES, BLOCK = 1000, 1 << 22


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Of `features` numbers, `alive` of which are known: NaN stands for features that never fire.

    `median` is over those that are alive, with the 95 % `interval` of a bootstrap over features; `median_dead_0` counts
    the others as 0. `quantiles`: at QUANTILES. `counts`: in BINS equal bins from -1 to 1; -1 belongs to the first.
    """

    features: int
    alive: int
    median: float | None
    interval: tuple[float, float] | None
    median_dead_0: float | None
    quantiles: tuple[float, ...]
    counts: tuple[int, ...]


def distribution(values: Float[np.ndarray, " F"], *, seed: int = 0) -> Distribution:
    """The distribution of numbers from -1 to 1; NaN where a feature never fires."""
    values = np.asarray(values, np.float64)
    known = values[np.isfinite(values)]
    if not len(known):
        return Distribution(len(values), 0, None, None, 0.0 if len(values) else None, (), (0,) * BINS)
    bins = np.clip(np.ceil((known + 1) / 2 * BINS).astype(int) - 1, 0, BINS - 1)
    return Distribution(
        features=len(values),
        alive=len(known),
        median=float(np.median(known)),
        interval=interval(known, seed=seed),
        median_dead_0=float(np.median(np.nan_to_num(values))),
        quantiles=tuple(np.quantile(known, QUANTILES).tolist()),
        counts=tuple(np.bincount(bins, minlength=BINS).tolist()),
    )


def interval(values: Float[np.ndarray, " n"], *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the median, from RESAMPLES bootstrap samples of the values."""
    rng, n = stream("universality.bootstrap", seed), len(values)
    size = max(1, BLOCK // n)
    medians = [
        np.median(values[rng.integers(n, size=(min(size, RESAMPLES - start), n))], axis=1)
        for start in range(0, RESAMPLES, size)
    ]
    low, high = np.quantile(np.concatenate(medians), (0.025, 0.975))
    return float(low), float(high)
