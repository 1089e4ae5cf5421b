"""What all dictionaries share: the keys of their configurations, sharding rules, what a device knows of a step."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float

from monosem_jax.errors import BadInput
from monosem_jax.sharding import Axes

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
INPUT_SCALES = ("none", "unit_rms", "sqrt_width", "unit_norm")


@dataclasses.dataclass(frozen=True)
class SaeConfig:
    """Keys of every architecture. `input_scale` multiplies activations by one number, found on the store and folded
    into the parameters on loading: "unit_rms" for a mean square of 1 of their elements, "sqrt_width" for E‖x‖ = √M,
    "unit_norm" for E‖x‖² = 1.

    `sparse` "auto" visits features that are not zero alone where that is faster, on CPUs in fp32; "never" always
    multiplies whole arrays; "gather" gathers those that TopK chose, anywhere.
    """

    architecture: str = ""
    n_features: int = 4096
    input_scale: str = "none"
    sparse: str = "auto"

    COEFFICIENT: ClassVar[str] = "l1_coefficient"  # which rises from 0 over the steps that WARMUP says
    WARMUP: ClassVar[str] = "l1_warmup"
    TRACED: ClassVar[tuple[str, ...]] = ("l1_coefficient",)  # keys in which members of one program may differ
    activation: ClassVar[str] = "relu"

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if self.n_features < 1:
            raise BadInput(f"sae.n_features is {self.n_features}: at least 1 is needed")
        if self.input_scale not in INPUT_SCALES:
            raise BadInput(f"sae.input_scale is {self.input_scale!r}: expected {', '.join(INPUT_SCALES)}")
        if self.sparse not in ("auto", "never", "gather"):
            raise BadInput(f"sae.sparse is {self.sparse!r}: expected auto, never or gather")

    def check_numbers(self, *names: str) -> None:
        """Raises BadInput on a key that is not a finite number of 0 or more."""
        for name in names:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise BadInput(f"sae.{name} is {value}: expected 0 or more")

    def check_count(self, name: str) -> None:
        """Raises BadInput on what is no number of features, from 1 to all of them."""
        value = getattr(self, name)
        if type(value) is not int or not 1 <= value <= self.n_features:
            raise BadInput(f"sae.{name} is {value}: expected 1 to n_features = {self.n_features}")

    @property
    def sparsity_key(self) -> str:
        """The key that decides how many features are active: what a sweep varies."""
        return {"relu": "l1_coefficient", "topk": "k", "batchtopk": "k"}[self.activation]

    @property
    def sparsity(self) -> float:
        """Its value."""
        return getattr(self, self.sparsity_key)

    def hyper(self) -> dict[str, float]:
        """What the members of one program may differ in."""
        return {name: getattr(self, name) for name in self.TRACED}

    def warmup_steps(self, steps: int) -> int:
        """Over how many of `steps` the coefficient rises from 0."""
        warmup = getattr(self, self.WARMUP, 0)
        return round(warmup * steps) if warmup < 1 else int(warmup)


class Here(NamedTuple):
    """What a device of the mesh knows of a step besides its rows and its features' parameters: coefficients as they are
    at this `step`, statistics of its features, how many rows the batch has on all devices, how many features there are
    on all, whether few features are to be visited
    alone, and whether those of TopK are to be gathered."""

    axes: Axes
    hyper: dict[str, Array]
    stats: dict[str, Array]
    step: Array
    n_rows: int
    n_features: int
    use_sparse: bool = False
    use_bits: bool = False
    gather: bool = False


class Code(NamedTuple):
    """Activations f [b,F] of a device's features. `visit`: where alone the gradient with respect to f is wanted.
    `sums`: further arrays and numbers of theirs that are to be summed over all features."""

    f: Float[Array, "b F"]
    visit: Bool[Array, "b F"]
    sums: dict[str, Array]


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


def matmul(a: Array, b: Array) -> Array:
    """a · b with sums in fp32, and products of fp32 in full: some accelerators would round them."""
    exact = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return jnp.matmul(a, b, precision=exact, preferred_element_type=jnp.float32)


def with_unit_rows(params: dict[str, Any]) -> dict[str, Any]:
    """The same dictionary with rows of W_dec of norm 1; what a row had is moved to the encoder, as ReLU allows."""
    norm = (params["W_dec"] ** 2).sum(axis=-1) ** 0.5
    norm = norm + (norm == 0)
    per_feature = {n: p * norm for n, p in params.items() if n in FEATURE_AXIS and n not in ("W_dec", "r_mag")}
    return {**params, **per_feature, "W_dec": params["W_dec"] / norm[..., None]}
