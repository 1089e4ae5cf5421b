"""The factor that activations are multiplied by before they enter a dictionary."""

from __future__ import annotations

import numpy as np

from monosem_jax.runtime.errors import BadInput

InputScale = float | list[float]  # one number, or one for each part of a row


def input_scale(
    kind: str,
    sample: np.ndarray,
    parts: tuple[int, ...],
    *,
    mean_square: float | None = None,
    mean_norm: float | None = None,
) -> InputScale:
    """The factor for activations x [M]; if rows consist of several parts, a list with one factor per part.

    Args:
      kind: "none" for 1; "unit_rms" for a mean square of 1 of the elements; "sqrt_width" for E‖x‖ = √M; "unit_norm" for
        E‖x‖² = 1.
      sample: rows [n,ΣM], used to estimate means that are not known.
      parts: the widths M of the parts of a row.
      mean_square: the mean square of the elements over the whole source, if it is known and rows have one part.
      mean_norm: E‖x‖ over the whole source, likewise.

    Raises BadInput if all activations are zero.
    """
    if kind == "none":
        return 1.0 if len(parts) == 1 else [1.0] * len(parts)
    if len(parts) == 1:
        return _scale(kind, sample, mean_square, mean_norm)
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
