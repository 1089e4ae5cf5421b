"""The sparse autoencoder of the paper's appendix "Sparse Autoencoder Details".

    f = ReLU((x - b_dec) W_enc + b_enc)        x̂ = f W_dec + b_dec
    loss = mean over the batch of  mean_M (x - x̂)²  +  λ Σ_F f

As in the paper's text, the squared error is a mean over the M elements of an activation, and L1 is a sum over features.
Rows of W_dec have unit norm.
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from monosem_jax.runtime.mesh import Axes
from monosem_jax.sae.config import L1Config
from monosem_jax.sae.ops import sparse_matmul
from monosem_jax.sae.ops.matmul import matmul
from monosem_jax.sae.ops.strategy import MatmulStrategy
from monosem_jax.sae.params import DecoderFirst, LinearLayers
from monosem_jax.sae.penalties import L1
from monosem_jax.sae.recipe import Recipe
from monosem_jax.sae.step_context import Params, StepContext


@dataclasses.dataclass(frozen=True)
class ReluConfig(L1Config):
    """The paper's dictionary. With `input_scale` "unit_rms" one `l1_coefficient` serves every site; "none" is the
    paper's."""

    architecture: str = "relu"
    tied_norm: float = 0.0

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        return Recipe(
            penalties=(L1(),),
            initial=DecoderFirst(self.tied_norm) if self.tied_norm else LinearLayers(),
            row_losses=row_losses,
            gradients=step_gradients,
        )


def row_losses(
    f: Float[Array, "B F"], x_hat: Float[Array, "B M"], x: Float[Array, "B M"], hyper: dict[str, Array]
) -> tuple[Float[Array, " B"], dict[str, Array]]:
    """(the loss of every row, {mse [B], l1 [B], f [B,F]}): the paper resamples by the whole loss."""
    mse = jnp.mean(jnp.square(x_hat - x), axis=-1)
    l1 = jnp.sum(f, axis=-1)
    return mse + hyper["l1_coefficient"] * l1, {"mse": mse, "l1": l1, "f": f}


def step_gradients(
    recipe: Recipe, params: Params, rows: Float[Array, "b M"], ctx: StepContext
) -> tuple[Params, dict[str, Array], dict[str, Array]]:
    """The result of `monosem_jax.sae.gradients.gradients`, from gradients written by hand."""
    weight = ctx.hyper["l1_coefficient"]
    grads, terms = gradients(params, rows, weight, axes=ctx.axes, strategy=ctx.matmul)
    return grads, {"loss": terms["mse"] + weight * terms["l1"], **terms}, {}


def gradients(
    params: Params,
    x: Float[Array, "b M"],
    l1_coefficient: Array,
    *,
    axes: Axes,
    strategy: MatmulStrategy,
) -> tuple[Params, dict[str, Array]]:
    """(gradients, terms) for some rows and for the features on this device.

    Written by hand, since this needs only five matmuls and few passes over [b,F]. All results are sums over the rows x,
    which are fp32 and scaled: the gradients of every row's loss, "mse" and "l1", and "fired" [F], the number of rows in
    which each feature was positive. Gradients and "fired" are for this device's features only; b_dec's gradient
    includes all features.
    """
    dtype = strategy.dtype
    w_enc, w_dec, width = params["W_enc"].astype(dtype), params["W_dec"].astype(dtype), x.shape[1]
    xc = (x - params["b_dec"]).astype(dtype)
    pre, bias = matmul(xc, w_enc), params["b_enc"]

    def features():
        return nn.relu(pre + bias).astype(dtype)

    if strategy.count_bits:
        words = sparse_matmul.positive(pre + bias)
        fired = sparse_matmul.count(words)
    else:  # accelerators count in the same pass as they encode
        words, fired = None, jnp.sum(features() > 0, axis=0, dtype=jnp.float32)

    def decode_dense():
        f = features()
        return matmul(f, w_dec), jnp.sum(f, dtype=jnp.float32)

    def backward_dense(d_out):
        f = features()
        d_pre = jnp.where(f > 0, matmul(d_out, w_dec.T) + l1_coefficient, 0).astype(dtype)
        return matmul(xc.T, d_pre), jnp.sum(d_pre, axis=0, dtype=jnp.float32), matmul(f.T, d_out)

    if strategy.visits(pre.shape, width):
        at = sparse_matmul.by_row(sparse_matmul.positive(pre + bias) if words is None else words)
        few = at.pieces <= sparse_matmul.capacity(pre.shape)
        # The forward and the backward pass each branch on `few`, which may differ between devices; the sum over devices
        # lies between the two branches.
        codes, (part, l1) = sparse_matmul.decoded(few, pre, bias, at, w_dec, decode_dense)
        backward = sparse_matmul.chosen_backward(few, codes, xc, w_dec, l1_coefficient, backward_dense)
    else:
        (part, l1), backward = decode_dense(), backward_dense
    part, l1 = axes.sum((part, l1), "model")
    error = part + params["b_dec"] - x
    enc, bias_grad, dec = backward((error * (2 / width)).astype(dtype))
    # b_dec is added to the output and, before the encoder, subtracted from the input.
    through = axes.sum(params["W_enc"] @ bias_grad, "model")
    b_dec = jnp.sum(error, axis=0) * (2 / width) - through
    terms = {"mse": jnp.sum(jnp.square(error)) / width, "l1": l1, "fired": fired}
    return {"W_enc": enc, "b_enc": bias_grad, "W_dec": dec, "b_dec": b_dec}, terms
