"""Activations of which the features are known: sums of a few vectors of a dictionary that was drawn at random.

    x = Σ_i a_i d_i + noise        a_i ≥ 0, zero but with probability density_i        ‖d_i‖ = 1

What a dictionary that is trained on them finds can be compared with what is there.
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

BLOCK = 4096  # rows that are made together
RECOVERED = 0.9  # cosine similarity from which on a feature counts as found


@dataclasses.dataclass(frozen=True)
class SyntheticConfig:
    """`n_features` true features in `width` dimensions, of which each is active in a share `density` of the rows, on
    average; `density_power` p makes that of the i-th proportional to i^-p. Activations are uniform between
    `least_strength` and 2 - `least_strength`. Features i, i + 1, … of a group of `group_size` occur together: those are
    thresholds of normal numbers with this `correlation`. `noise`: the standard deviation of each element's.

    The seed is that of the features; `n_rows` rows are made, of which the last tenth, at most 65,536, is held out.
    """

    n_features: int = 512
    width: int = 256
    density: float = 0.01
    density_power: float = 0.0
    least_strength: float = 0.5
    correlation: float = 0.0
    group_size: int = 2
    noise: float = 0.0
    n_rows: int = 262_144
    seed: int = 0

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
        """The share of rows in which each feature is active; where the power makes more than a half of it, a half."""
        weight = np.arange(1, self.n_features + 1) ** -self.density_power
        return np.minimum(self.density * weight / weight.mean(), 0.5)


class SyntheticRows:
    """Rows behind the interface of stores: a row is a function of the configuration and its number.

    `directions` [F,M] are the features that are in them.
    """

    def __init__(self, config: SyntheticConfig):
        config.check()
        self.n_rows, self.width, self.dtype = config.n_rows, config.width, np.dtype(np.float32)
        self._config = config
        directions = stream("synthetic.directions", config.seed).normal(size=(config.n_features, config.width))
        self.directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
        # A normal number beyond it is an activation.
        self._beyond = np.array([NormalDist().inv_cdf(1 - p) for p in config.densities()])

    def read(self, start: int, stop: int) -> Float[np.ndarray, "B M"]:
        stop = min(stop, self.n_rows)
        parts = [np.zeros((0, self.width), self.dtype)]
        for block in range(start // BLOCK, -(-stop // BLOCK)):
            first = block * BLOCK
            parts.append(self._made(block)[max(start - first, 0) : stop - first])
        return np.concatenate(parts)

    def activations(self, block: int) -> tuple[Float[np.ndarray, "B F"], np.random.Generator]:
        """(the true activations of a block's rows, the generator as it is then)."""
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
    """How many of the true features are in a dictionary: for each, the largest cosine similarity with a vector of it.

    {"true_features", "mean_max_cosine", "recovered": the share of those whose largest is above 0.9}
    """
    norm = lambda w: w / np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1e-30)  # noqa: E731
    largest = np.max(norm(np.asarray(directions, np.float64)) @ norm(np.asarray(found, np.float64)).T, axis=1)
    return {
        "true_features": len(directions),
        "mean_max_cosine": float(largest.mean()),
        "recovered": float(np.mean(largest > RECOVERED)),
    }
