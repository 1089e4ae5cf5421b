"""Rows of two models whose features are known."""

from __future__ import annotations

import numpy as np

WIDTH, PLANTED = 20, 24


def rows(n: int, exclusive: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Activations [n,WIDTH] of two models with PLANTED features in directions of their own. A feature fires in both on
    the same rows, not equally strongly, but for `exclusive` features of the first and as many of the second."""
    rng = np.random.default_rng([3, seed])
    d = np.random.default_rng(99).normal(size=(2, PLANTED, WIDTH))
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    f = (rng.random((n, PLANTED)) < 0.06) * rng.uniform(0.5, 1.5, (n, PLANTED))
    each = [f * np.exp(0.5 * rng.normal(size=(n, PLANTED))) for _ in range(2)]
    each[0][:, :exclusive] = each[1][:, exclusive : 2 * exclusive] = 0
    a, b = ((f @ v + 0.01 * rng.normal(size=(n, WIDTH))).astype(np.float32) for f, v in zip(each, d, strict=True))
    return a, b


class Array:
    """An array as a source of rows."""

    def __init__(self, x: np.ndarray):
        self.x, (self.n_rows, self.width), self.dtype = x, x.shape, x.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.x[start:stop]
