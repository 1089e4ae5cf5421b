"""The number that activations are multiplied by before a dictionary sees them."""

from __future__ import annotations

from typing import Any

import numpy as np

from monosem_jax.activations.sources import ActivationSource
from monosem_jax.runtime.errors import BadInput


def input_scale(kind: str, source: ActivationSource, sample: np.ndarray, parts: tuple[int, ...]) -> Any:
    """What activations x [M] are multiplied by (a list, of every one of several `parts` of a row): 1, or so that the
    mean square of their elements is 1, or E‖x‖ = √M, or E‖x‖² = 1. Means are over the store where they are known, else
    over the sample."""
    if kind == "none":
        return 1.0 if len(parts) == 1 else [1.0] * len(parts)
    if len(parts) == 1:
        return _scale(kind, sample, source.mean_square, source.mean_norm)
    ends = np.cumsum(parts)
    return [_scale(kind, sample[:, end - width : end]) for width, end in zip(parts, ends, strict=True)]


def _scale(kind: str, x: np.ndarray, mean_square: float | None = None, mean_norm: float | None = None) -> float:
    width = x.shape[1]
    if mean_square is None:
        mean_square = float(np.mean(np.square(x, dtype=np.float64)))
    if mean_square <= 0:
        raise BadInput(f"the activations are all zero (mean square {mean_square}): nothing to train on")
    if kind == "sqrt_width":
        if mean_norm is None:
            mean_norm = float(np.mean(np.sqrt(np.sum(np.square(x, dtype=np.float64), axis=1))))
        return float(width**0.5 / mean_norm)
    return float(mean_square**-0.5 if kind == "unit_rms" else (width * mean_square) ** -0.5)
