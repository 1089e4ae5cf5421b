"""Activations whose true features are known: sums of a few vectors of a random dictionary.

    x = Σ_i a_i d_i + noise        a_i ≥ 0, nonzero with probability density_i        ‖d_i‖ = 1

The features that a trained dictionary finds can be compared with the true ones.
"""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float

from monosem_jax.runtime.config import check_seed
from monosem_jax.runtime.errors import BadInput, check_counts
from monosem_jax.runtime.rng import stream

BLOCK = 4096  # rows that come from the same random generator
RECOVERED = 0.9  # cosine similarity above which a feature counts as found


@dataclasses.dataclass(frozen=True)
class SyntheticConfig:
    """Rows that are sparse sums of known unit vectors, used to measure recovery."""

    n_features: int = 512
    """True features."""
    width: int = 256
    """Dimensions of a row, M."""
    density: float = 0.01
    """The share of rows in which a feature is active, averaged over the features."""
    density_power: float = 0.0
    """A power p makes the density of the i-th feature proportional to i^-p; 0: all are equally dense."""
    least_strength: float = 0.5
    """A feature that is active has a value uniform between this and 2 minus this."""
    correlation: float = 0.0
    """Features of one group occur together: each is active where a normal number exceeds a threshold, and these numbers
    have this correlation."""
    group_size: int = 2
    """Consecutive features that form a group."""
    noise: float = 0.0
    """Standard deviation of the normal noise added to every element."""
    n_rows: int = 262_144
    """Rows in all; the last tenth, at most 65,536, is held out."""
    seed: int = 0
    """Seed of the feature vectors and the rows."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_counts(self, "synthetic.", "n_features", "width", "n_rows", "group_size")
        if not 0 < self.density < 1:
            raise BadInput(f"synthetic.density is {self.density}: expected more than 0 and less than 1")
        for name, most in (("least_strength", 1), ("correlation", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise BadInput(f"synthetic.{name} is {getattr(self, name)}: expected 0 to {most}")
        for name in ("noise", "density_power"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise BadInput(f"synthetic.{name} is {getattr(self, name)}: expected 0 or more")
        check_seed(self.seed, "synthetic.seed")

    def densities(self) -> Float[np.ndarray, " F"]:
        """The share of rows in which each feature is active, at most a half."""
        weight = np.arange(1, self.n_features + 1) ** -self.density_power
        return np.minimum(self.density * weight / weight.mean(), 0.5)


class SyntheticRows:
    """Rows with the interface of a store: each row is a function of the configuration and the row number.

    `directions` [F,M] are the true features.
    """

    def __init__(self, config: SyntheticConfig):
        config.check()
        self.n_rows, self.width, self.dtype = config.n_rows, config.width, np.dtype(np.float32)
        self._config = config
        directions = stream("synthetic.directions", config.seed).normal(size=(config.n_features, config.width))
        self.directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
        # A feature is active where its normal random number exceeds this threshold.
        self._beyond = np.array([NormalDist().inv_cdf(1 - p) for p in config.densities()])

    def read(self, start: int, stop: int) -> Float[np.ndarray, "B M"]:
        stop = min(stop, self.n_rows)
        parts = [np.zeros((0, self.width), self.dtype)]
        for block in range(start // BLOCK, -(-stop // BLOCK)):
            first = block * BLOCK
            parts.append(self._made(block)[max(start - first, 0) : stop - first])
        return np.concatenate(parts)

    def activations(self, block: int) -> tuple[Float[np.ndarray, "B F"], np.random.Generator]:
        """(the true activations of a block's rows, the random generator after they were drawn)."""
        c, rng = self._config, stream("synthetic.rows", self._config.seed, block)
        n_groups = -(-c.n_features // c.group_size)
        own = rng.standard_normal((BLOCK, c.n_features), np.float32)
        if c.correlation:
            shared = rng.standard_normal((BLOCK, n_groups), np.float32).repeat(c.group_size, axis=1)[:, : c.n_features]
            own = c.correlation**0.5 * shared + (1 - c.correlation) ** 0.5 * own
        strength = rng.uniform(c.least_strength, 2 - c.least_strength, own.shape).astype(np.float32)
        return np.where(own > self._beyond, strength, 0), rng

    def _made(self, block: int) -> Float[np.ndarray, "B M"]:
        a, rng = self.activations(block)
        x = a @ self.directions
        if self._config.noise:
            x += self._config.noise * rng.standard_normal(x.shape, np.float32)
        return x.astype(np.float32)


def recovery(directions: Float[np.ndarray, "T M"], found: Float[np.ndarray, "F M"]) -> dict[str, Any]:
    """How many of the true features a dictionary has found, measured by each true feature's largest cosine similarity
    with a vector of the dictionary.

    {"true_features", "mean_max_cosine", "recovered": the share of true features whose largest is above 0.9}
    """
    largest = np.max(_unit(directions) @ _unit(found).T, axis=1)
    return {
        "true_features": len(directions),
        "mean_max_cosine": float(largest.mean()),
        "recovered": float(np.mean(largest > RECOVERED)),
    }


def _unit(w: np.ndarray) -> np.ndarray:
    """Rows divided by their norms, in float64."""
    w = np.asarray(w, np.float64)
    return w / np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1e-30)
