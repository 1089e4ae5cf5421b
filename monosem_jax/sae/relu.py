"""The sparse autoencoder of the paper's appendix "Sparse Autoencoder Details".

    f = ReLU((x - b_dec) W_enc + b_enc)        x̂ = f W_dec + b_dec
    loss = mean over the batch of  mean_M (x - x̂)²  +  λ Σ_F f

The squared error is a mean over the M elements of an activation and the L1 a sum over features, as the paper's text
says. Rows of W_dec have unit norm.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from monosem_jax.errors import BadInput
from monosem_jax.sae import sparse
from monosem_jax.sharding import Axes

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
    that one `l1_coefficient` serves every site; it is folded into the biases on loading. "none" is the paper's.

    `l1_warmup`: the steps over which the coefficient rises from 0, below 1 a fraction of `train.steps`. `sparse`
    "auto" visits positive features alone where that is faster, on CPUs in fp32; "never" always multiplies whole arrays.
    """

    architecture: str = "relu"
    n_features: int = 4096
    l1_coefficient: float = 0.004
    l1_warmup: float = 0.0
    input_scale: str = "none"
    sparse: str = "auto"

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if self.n_features < 1:
            raise BadInput(f"sae.n_features is {self.n_features}: at least 1 is needed")
        if not (math.isfinite(self.l1_coefficient) and self.l1_coefficient >= 0):
            raise BadInput(f"sae.l1_coefficient is {self.l1_coefficient}: expected 0 or more")
        if self.input_scale not in ("none", "unit_rms"):
            raise BadInput(f"sae.input_scale is {self.input_scale!r}: expected none or unit_rms")
        if not (math.isfinite(self.l1_warmup) and self.l1_warmup >= 0):
            raise BadInput(f"sae.l1_warmup is {self.l1_warmup}: expected a number of steps, or a fraction below 1")
        if self.sparse not in ("auto", "never"):
            raise BadInput(f"sae.sparse is {self.sparse!r}: expected auto or never")


def linear_init(fan_in_axis: int):
    """PyTorch's default for linear layers: Kaiming-uniform with a = √5, that is U(±1/√fan_in)."""
    return nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=fan_in_axis, out_axis=1 - fan_in_axis)


def unit_rows(w: Float[Array, "F M"]) -> Float[Array, "F M"]:
    """Rows divided by their norm; a zero row stays zero."""
    norm = jnp.linalg.norm(w, axis=-1, keepdims=True)
    return w / jnp.where(norm > 0, norm, 1.0)


def matmul(a: Array, b: Array) -> Array:
    """a · b with sums in fp32, and products of fp32 in full: some accelerators would round them."""
    exact = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return jnp.matmul(a, b, precision=exact, preferred_element_type=jnp.float32)


def gradients(
    params: dict[str, Array],
    x: Float[Array, "b M"],
    l1_coefficient: Array,
    *,
    dtype: Any,
    axes: Axes,
    use_sparse: bool = False,
    use_bits: bool = False,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """What the loss's gradients and terms are on some rows and on the features that lie on this device.

    By hand, because that leaves five matmuls and few passes over [b,F]. All are sums over the rows x, which are fp32
    and scaled: of the gradients of every row's loss, of "mse" and "l1", and "fired" [F], in how many rows each feature
    was positive. Terms are of this device's features only, but "mse" and b_dec's gradient, which know all of them.
    `use_bits`: how often features were positive is counted by way of bits, as CPUs do best; `use_sparse`: if they are
    few, those alone are visited. Accelerators count while they encode.
    """
    w_enc, w_dec, width = params["W_enc"].astype(dtype), params["W_dec"].astype(dtype), x.shape[1]
    xc = (x - params["b_dec"]).astype(dtype)
    pre, bias = matmul(xc, w_enc), params["b_enc"]
    features = lambda: nn.relu(pre + bias).astype(dtype)  # noqa: E731
    if use_bits or use_sparse:
        words = sparse.positive(pre + bias)
        fired = sparse.count(words)
    else:
        fired = jnp.sum(features() > 0, axis=0, dtype=jnp.float32)

    def decode_dense():
        f = features()
        return matmul(f, w_dec), jnp.sum(f, dtype=jnp.float32)

    def backward_dense(d_out):
        f = features()
        d_pre = jnp.where(f > 0, matmul(d_out, w_dec.T) + l1_coefficient, 0).astype(dtype)
        return matmul(xc.T, d_pre), jnp.sum(d_pre, axis=0, dtype=jnp.float32), matmul(f.T, d_out)

    if use_sparse and sparse.worthwhile(pre.shape, width):
        at = sparse.by_row(words)
        few = at.pieces <= sparse.capacity(pre.shape)
        # The sum over devices lies between the two choices, and each device makes its own.
        codes, (part, l1) = sparse.decoded(few, pre, bias, at, w_dec, decode_dense)
        backward = sparse.chosen_backward(few, codes, xc, w_dec, l1_coefficient, backward_dense)
    else:
        (part, l1), backward = decode_dense(), backward_dense
    error = axes.sum(part, "model") + params["b_dec"] - x
    enc, bias_grad, dec = backward((error * (2 / width)).astype(dtype))
    # b_dec is both added to the output and, through the encoder, taken from the input.
    through = axes.sum(params["W_enc"] @ bias_grad, "model")
    b_dec = jnp.sum(error, axis=0) * (2 / width) - through
    terms = {"mse": jnp.sum(jnp.square(error)) / width, "l1": l1, "fired": fired}
    return {"W_enc": enc, "b_enc": bias_grad, "W_dec": dec, "b_dec": b_dec}, terms


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
        return matmul(a.astype(self.dtype), b.astype(self.dtype))

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
