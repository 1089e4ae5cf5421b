"""The parameters of dictionaries, one line each: shape, feature axis, initial value, how to undo an input scale.

To add a parameter, add a line to `PARAMETERS`. Initial values, sharding rules, resampling, the published form and the
reading of single features all use this table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

FEATURES, READ, RECONSTRUCTED = "F", "M_in", "M_out"


class Parameter(NamedTuple):
    """`axes` are letters of the shape: F features, M_in columns of the encoder's input, M_out of the reconstruction.

    After training on s · x and t · y, the published parameter for x and y is the trained one times s^a t^b, with
    `scale` = (a, b). A parameter with b = -1 and a feature axis has the units of its feature's activation.
    `initial` is its initial value, if that is one number.
    """

    axes: tuple[str, ...]
    scale: tuple[int, int]
    initial: float = 0.0

    @property
    def feature_axis(self) -> int | None:
        """The axis of features; None if all features share the parameter."""
        return self.axes.index(FEATURES) if FEATURES in self.axes else None

    @property
    def sharding(self) -> PartitionSpec:
        """The feature axis is sharded over `model`; the other axes are replicated."""
        if self.feature_axis is None:
            return PartitionSpec()
        return PartitionSpec(*("model" if axis == FEATURES else None for axis in self.axes))

    @property
    def in_feature_units(self) -> bool:
        return self.feature_axis is not None and self.scale[1] == -1


# x[B_data, M] · W_enc[M, F_model] → f[B_data, F_model];  f[B_data, F_model] · W_dec[F_model, M] → x̂[B_data, M]
PARAMETERS: dict[str, Parameter] = {
    "W_enc": Parameter((READ, FEATURES), (1, -1)),
    "b_enc": Parameter((FEATURES,), (0, -1)),
    "W_dec": Parameter((FEATURES, RECONSTRUCTED), (0, 0)),
    "b_dec": Parameter((RECONSTRUCTED,), (0, -1)),
    "W_skip": Parameter((READ, RECONSTRUCTED), (1, -1)),
    "b_gate": Parameter((FEATURES,), (0, -1)),
    "r_mag": Parameter((FEATURES,), (0, 0)),
    "log_threshold": Parameter((FEATURES,), (0, 0)),  # only while training
    "threshold": Parameter((FEATURES,), (0, -1)),  # only published
}
COMMON = ("W_enc", "b_enc", "W_dec", "b_dec")  # of every dictionary

FEATURE_AXIS = {name: p.feature_axis for name, p in PARAMETERS.items() if p.feature_axis is not None}

RULES = {
    **{name: p.sharding for name, p in PARAMETERS.items()},
    "last_fired": PartitionSpec("model"),
    "input_scale": PartitionSpec(),
}

Shapes = Callable[[str], tuple[int, ...]]


def linear_init(fan_in_axis: int) -> nn.initializers.Initializer:
    """PyTorch's default for linear layers: Kaiming-uniform with a = √5, that is U(±1/√fan_in)."""
    return nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=fan_in_axis, out_axis=1 - fan_in_axis)


class LinearLayers(NamedTuple):
    """The paper's initial values: W_enc and W_dec as two linear layers, then rows of W_dec divided by their norm."""

    def create(self, param: Callable[..., Array], shape: Shapes) -> None:
        # Each call uses the next random key, so the order of the calls changes the result.
        param("W_enc", linear_init(0), shape("W_enc"))
        param("b_enc", nn.initializers.zeros, shape("b_enc"))
        param("W_dec", lambda *a: unit_rows(linear_init(0)(*a)), shape("W_dec"))


class DecoderFirst(NamedTuple):
    """Rows of W_dec in random directions with norm `row_norm`. W_enc is `tied_norm` times their transpose or, if
    `tied_norm` is 0, drawn as a linear layer. Training then changes the two independently."""

    tied_norm: float = 1.0
    row_norm: float = 1.0

    def create(self, param: Callable[..., Array], shape: Shapes) -> None:
        w_dec = param("W_dec", lambda *a: self.row_norm * unit_rows(nn.initializers.normal(1.0)(*a)), shape("W_dec"))
        tied = lambda *a: self.tied_norm * w_dec.T  # noqa: E731
        param("W_enc", tied if self.tied_norm else linear_init(0), shape("W_enc"))
        param("b_enc", nn.initializers.zeros, shape("b_enc"))


def unit_rows(w: Float[Array, "F M"]) -> Float[Array, "F M"]:
    """Rows divided by their norm; a zero row stays zero."""
    norm = jnp.linalg.norm(w, axis=-1, keepdims=True)
    return w / jnp.where(norm > 0, norm, 1.0)


def row_norms(w: Float[Array, "F M"]) -> Float[Array, " F"]:
    """Norms of rows; the gradient at a zero row is zero."""
    squares = jnp.sum(jnp.square(w), axis=-1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def with_unit_rows(params: dict[str, Any]) -> dict[str, Any]:
    """The same dictionary with rows of W_dec of norm 1: activations are multiplied by the former norm of the row."""
    norm = (params["W_dec"] ** 2).sum(axis=-1) ** 0.5
    norm = norm + (norm == 0)
    per_feature = {name: p * norm for name, p in params.items() if PARAMETERS[name].in_feature_units}
    return {**params, **per_feature, "W_dec": params["W_dec"] / norm[..., None]}


def unscale(params: dict[str, Any], s: Any, t: Any) -> dict[str, Any]:
    """Published parameters for raw x and y from those for s · x and t · y; features have the units of y."""

    def one(name: str, p: Any) -> Any:
        a, b = PARAMETERS[name].scale
        if (a, b) == (0, 0) or (s is t and a + b == 0):
            return p
        return p / t if a == 0 else p / (t / s)

    return {name: one(name, p) for name, p in params.items()}


def unscale_columns(params: dict[str, Any], scale: Any) -> dict[str, Any]:
    """`unscale` for columns m multiplied by scale[m], scale [M]; features then cannot have the units of x."""

    def one(name: str, p: Any) -> Any:
        axes = PARAMETERS[name].axes
        if READ in axes:  # the first one
            return (p.T * scale).T
        return p / scale if RECONSTRUCTED in axes else p

    return {name: one(name, p) for name, p in params.items()}
