"""The parameters of dictionaries: how they are sharded, along which axis features lie, how they start."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

# x[B_data, M] · W_enc[M, F_model] → f[B_data, F_model];  f[B_data, F_model] · W_dec[F_model, M] → x̂[B_data, M]
RULES = {
    "W_enc": PartitionSpec(None, "model"),
    "b_enc": PartitionSpec("model"),
    "W_dec": PartitionSpec("model", None),
    "b_dec": PartitionSpec(),
    "W_skip": PartitionSpec(),
    "b_gate": PartitionSpec("model"),
    "r_mag": PartitionSpec("model"),
    "log_threshold": PartitionSpec("model"),
    "threshold": PartitionSpec("model"),
    "last_fired": PartitionSpec("model"),
    "input_scale": PartitionSpec(),
}

# The axis of each parameter along which features lie; the others are of all features together.
FEATURE_AXIS = {"W_enc": 1, "b_enc": 0, "W_dec": 0, "b_gate": 0, "r_mag": 0, "log_threshold": 0, "threshold": 0}


def linear_init(fan_in_axis: int):
    """PyTorch's default for linear layers: Kaiming-uniform with a = √5, that is U(±1/√fan_in)."""
    return nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=fan_in_axis, out_axis=1 - fan_in_axis)


def unit_rows(w: Float[Array, "F M"]) -> Float[Array, "F M"]:
    """Rows divided by their norm; a zero row stays zero."""
    norm = jnp.linalg.norm(w, axis=-1, keepdims=True)
    return w / jnp.where(norm > 0, norm, 1.0)


def row_norms(w: Float[Array, "F M"]) -> Float[Array, " F"]:
    """Norms of rows, whose gradient at a row of zeros is zero."""
    squares = jnp.sum(jnp.square(w), axis=-1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def with_unit_rows(params: dict[str, Any]) -> dict[str, Any]:
    """The same dictionary with rows of W_dec of norm 1; what a row had is moved to the encoder, as ReLU allows."""
    norm = (params["W_dec"] ** 2).sum(axis=-1) ** 0.5
    norm = norm + (norm == 0)
    per_feature = {n: p * norm for n, p in params.items() if n in FEATURE_AXIS and n not in ("W_dec", "r_mag")}
    return {**params, **per_feature, "W_dec": params["W_dec"] / norm[..., None]}
