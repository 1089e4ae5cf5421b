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
from jaxtyping import Array, Float

from monosem_jax.runtime.mesh import Axes
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.config import L1Config
from monosem_jax.sae.ops import sparse_matmul as sparse
from monosem_jax.sae.ops.matmul import matmul
from monosem_jax.sae.params import linear_init, unit_rows
from monosem_jax.sae.step_context import StepContext


@dataclasses.dataclass(frozen=True)
class ReluConfig(L1Config):
    """The paper's dictionary. With `input_scale` "unit_rms" one `l1_coefficient` serves every site; "none" is the
    paper's."""

    architecture: str = "relu"
    tied_norm: float = 0.0


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


class Relu(SparseAutoencoder):
    """The paper's dictionary. b_dec starts at the geometric median."""

    LOCAL_TERMS = ("l1",)

    def setup(self):
        if self.config and self.config.tied_norm:
            return super().setup()
        m, f = self.width, self.n_features
        self.W_enc = self.param("W_enc", linear_init(0), (m, f))
        self.b_enc = self.param("b_enc", nn.initializers.zeros, (f,))
        self.W_dec = self.param("W_dec", lambda *a: unit_rows(linear_init(0)(*a)), (f, m))
        self.b_dec = self.param("b_dec", nn.initializers.zeros, (m,))

    def encode(self, x: Float[Array, "*B M"]) -> Float[Array, "*B F"]:
        """Feature activations of single vectors."""
        # b_dec goes through the encoder once per batch rather than once per row: a sixth of all FLOPs saved.
        bias = self.b_enc - self.b_dec @ self.W_enc
        return nn.relu(self.product(x, self.W_enc) + bias)

    def row_losses(
        self, rows: Float[Array, "B M"], *, l1_coefficient: Any
    ) -> tuple[Float[Array, " B"], dict[str, Any]]:
        """The loss of every row, and the terms it is made of: mse [B], l1 [B], f [B,F]."""
        f = self.encode(rows)
        mse = jnp.mean(jnp.square(self.decode(f) - rows), axis=-1)
        l1 = jnp.sum(f, axis=-1)
        return mse + l1_coefficient * l1, {"mse": mse, "l1": l1, "f": f}

    @nn.nowrap
    def gradients(self, params: dict[str, Array], rows: Array, here: StepContext) -> tuple[dict, dict, dict]:
        """As of any dictionary, but by hand."""
        given = {"dtype": self.dtype, "axes": here.axes, "use_sparse": here.use_sparse, "use_bits": here.use_bits}
        return *gradients(params, rows, here.hyper["l1_coefficient"], **given), {}

    @nn.nowrap
    def total(self, terms: dict[str, Array], hyper: dict[str, Array]) -> Array:
        return terms["mse"] + hyper["l1_coefficient"] * terms["l1"]
