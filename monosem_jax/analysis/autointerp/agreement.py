"""Numbers for how well predictions agree with the truth, in float64."""

from __future__ import annotations

import numpy as np

from monosem_jax.runtime.rng import stream

BOOTSTRAPS = 2000


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """The correlation of two lists; 0 if either is constant."""
    x, y = (np.asarray(a, np.float64).ravel() for a in (x, y))
    if not len(x) or x.min() == x.max() or y.min() == y.max():
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """The correlation of ranks, equal values having their mean rank; 0 if either list is constant."""
    return pearson(ranks(x), ranks(y))


def ranks(x: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values have the mean of theirs."""
    _, group, count = np.unique(np.asarray(x).ravel(), return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[group]


def balanced_accuracy(truth: np.ndarray, said: np.ndarray) -> float:
    """The mean of the shares of true and of false cases that are called so. Both kinds must exist."""
    truth, said = np.asarray(truth, bool), np.asarray(said, bool)
    return float((said[truth].mean() + (~said[~truth]).mean()) / 2)


def f1(truth: np.ndarray, said: np.ndarray) -> float:
    """2 · hits / (true cases + cases called true); 0 if there are neither."""
    truth, said = np.asarray(truth, bool), np.asarray(said, bool)
    below = int(truth.sum() + said.sum())
    return 2 * int((truth & said).sum()) / below if below else 0.0


def interval_of(values: np.ndarray, statistic: str, *, seed: int, level: float = 0.95) -> tuple[float, float]:
    """The bootstrap interval of the "mean" or "median" of `values`: percentiles over BOOTSTRAPS resamples."""
    values = np.asarray(values, np.float64)
    rng = stream("autointerp.bootstrap", seed, len(values))
    drawn = values[rng.integers(0, len(values), (BOOTSTRAPS, len(values)))]
    found = (np.mean if statistic == "mean" else np.median)(drawn, axis=1)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
