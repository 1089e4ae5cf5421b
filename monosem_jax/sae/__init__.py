"""Dictionaries: one file per architecture. A new one is a file and a line in `ARCHITECTURES`.

Each has a frozen config and a linen module with `encode`, `decode` and `row_losses` over parameters W_enc [M,F], b_enc
[F], W_dec [F,M], b_dec [M], plus `RULES`, its sharding by parameter name, and `FEATURE_AXIS`.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from monosem_jax.errors import BadInput
from monosem_jax.sae import relu

ARCHITECTURES: dict[str, tuple[ModuleType, type, type]] = {"relu": (relu, relu.ReluConfig, relu.Relu)}


def find(architecture: str) -> tuple[ModuleType, type, type]:
    """The (module, config class, linen class) of an architecture; raises BadInput on an unknown name."""
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise BadInput(f"sae.architecture is {architecture!r}: expected one of {known}")
    return ARCHITECTURES[architecture]


def build(config: Any, width: int, dtype: Any) -> Any:
    """The linen module of a config for activations of `width`."""
    _, _, module = find(config.architecture)
    return module(width=width, n_features=config.n_features, dtype=dtype)


def fold_scale(params: dict[str, Any], scale: float) -> dict[str, Any]:
    """Parameters for raw activations x from parameters trained on scale · x.

    ReLU is homogeneous, so only biases change: relu((s x - b_dec) W + b_enc) = s · relu((x - b_dec/s) W + b_enc/s).
    Feature activations come out in the units of x.
    """
    return {name: p / scale if name.startswith("b_") else p for name, p in params.items()}
