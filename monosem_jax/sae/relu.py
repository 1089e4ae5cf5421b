"""The sparse autoencoder of the paper's appendix "Sparse Autoencoder Details".

    f = ReLU((x - b_dec) W_enc + b_enc)        x̂ = f W_dec + b_dec
    loss = mean over the batch of  mean_M (x - x̂)²  +  λ Σ_F f

The squared error is a mean over the M elements of an activation and the L1 a sum over features, as the paper's text
says. Rows of W_dec have unit norm.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from monosem_jax.errors import BadInput

# x[B_data, M] · W_enc[M, F_model] → f[B_data, F_model];  f[B_data, F_model] · W_dec[F_model, M] → x̂[B_data, M]
RULES = {
    "W_enc": PartitionSpec(None, "model"),
    "b_enc": PartitionSpec("model"),
    "W_dec": PartitionSpec("model", None),
    "b_dec": PartitionSpec(),
    "last_fired": PartitionSpec("model"),
}
# The axis of each parameter along which features lie.
FEATURE_AXIS = {"W_enc": 1, "b_enc": 0, "W_dec": 0}


@dataclasses.dataclass(frozen=True)
class ReluConfig:
    """The paper's dictionary. `input_scale` "unit_rms" divides activations by their root mean square over the store, so
    that one `l1_coefficient` serves every site; it is folded into the biases on loading. "none" is the paper's."""

    architecture: str = "relu"
    n_features: int = 4096
    l1_coefficient: float = 0.004
    input_scale: str = "none"

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if self.n_features < 1:
            raise BadInput(f"sae.n_features is {self.n_features}: at least 1 is needed")
        if self.l1_coefficient < 0:
            raise BadInput(f"sae.l1_coefficient is {self.l1_coefficient}: expected 0 or more")
        if self.input_scale not in ("none", "unit_rms"):
            raise BadInput(f"sae.input_scale is {self.input_scale!r}: expected none or unit_rms")


def linear_init(fan_in_axis: int):
    """PyTorch's default for linear layers: Kaiming-uniform with a = √5, that is U(±1/√fan_in)."""
    return nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=fan_in_axis, out_axis=1 - fan_in_axis)


def unit_rows(w: Float[Array, "F M"]) -> Float[Array, "F M"]:
    """Rows divided by their norm; a zero row stays zero."""
    norm = jnp.linalg.norm(w, axis=-1, keepdims=True)
    return w / jnp.where(norm > 0, norm, 1.0)


class Relu(nn.Module):
    """Parameters W_enc [M,F], b_enc [F], W_dec [F,M], b_dec [M] in fp32; matmul operands in `dtype`, sums in fp32."""

    width: int
    n_features: int
    dtype: Any = jnp.float32

    def setup(self):
        m, f = self.width, self.n_features
        self.W_enc = self.param("W_enc", linear_init(0), (m, f))
        self.b_enc = self.param("b_enc", nn.initializers.zeros, (f,))
        self.W_dec = self.param("W_dec", lambda *a: unit_rows(linear_init(0)(*a)), (f, m))
        self.b_dec = self.param("b_dec", nn.initializers.zeros, (m,))

    def _matmul(self, a, b):
        return jnp.matmul(a.astype(self.dtype), b.astype(self.dtype), preferred_element_type=jnp.float32)

    def encode(self, x: Float[Array, "*B M"]) -> Float[Array, "*B F"]:
        """Feature activations of single vectors."""
        # b_dec goes through the encoder once per batch rather than once per row: a sixth of all FLOPs saved.
        bias = self.b_enc - self.b_dec @ self.W_enc
        return nn.relu(self._matmul(x, self.W_enc) + bias)

    def decode(self, f: Float[Array, "*B F"]) -> Float[Array, "*B M"]:
        """Reconstructions from feature activations."""
        return self._matmul(f, self.W_dec) + self.b_dec

    def row_losses(self, x: Float[Array, "B M"], *, l1_coefficient: Any) -> tuple[Float[Array, " B"], dict[str, Any]]:
        """The loss of every row, and the terms it is made of: mse [B], l1 [B], f [B,F]."""
        f = self.encode(x)
        mse = jnp.mean(jnp.square(self.decode(f) - x), axis=-1)
        l1 = jnp.sum(f, axis=-1)
        return mse + l1_coefficient * l1, {"mse": mse, "l1": l1, "f": f}
