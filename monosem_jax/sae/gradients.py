"""Gradients of any architecture on a mesh, as the program of one device: two halves with sums over features between.

    h = (x - b_dec) W_enc        sums = local(parameters, h)        loss = head(sums over `model`, b_dec, x)

Neither half differentiates a collective: the head's gradient with respect to the sums is the cotangent of the local
half. An architecture supplies its activation function, its error and its penalties; devices exchange only their sums.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from monosem_jax.sae.ops.gathered_matmul import RowProducts, TopKIndices, decode_at, outer_at
from monosem_jax.sae.ops.matmul import matmul, product
from monosem_jax.sae.params import FEATURE_AXIS
from monosem_jax.sae.recipe import Recipe
from monosem_jax.sae.step_context import Params, StepContext

Sums = dict[str, Array]


def gradients(
    recipe: Recipe, params: Params, rows: Float[Array, "b W"], ctx: StepContext
) -> tuple[Params, dict[str, Array], dict[str, Array]]:
    """(gradients, terms, aux) of scaled fp32 rows, for the features on this device.

    Gradients and terms are sums over the rows. The terms are the "loss", its parts, and "fired" [F], the number of rows
    in which each feature was active. `params` holds only this device's features.
    """
    x, y, dtype = recipe.sites.inputs(rows), recipe.sites.targets(rows), ctx.matmul.dtype
    shared = {name: p for name, p in params.items() if name not in FEATURE_AXIS}
    xc = (x - params["b_dec"] if recipe.apply_b_dec_to_input else x).astype(dtype)
    h = matmul(xc, params["W_enc"].astype(dtype))
    # If only a few known entries of h matter, the other entries are not used again.
    by_index = ctx.matmul.by_index(h.shape, x.shape[1]) if recipe.by_index else None
    at = _candidates(recipe, params, h, ctx) if by_index is not None else {}
    if by_index is not None:
        chosen = {name: jnp.take_along_axis(h, i.at, axis=1) for name, i in at.items()}
        sums, back, (fired, aux) = jax.vjp(
            lambda p, h: _local_at(recipe, p, h, at, by_index, ctx), params, chosen, has_aux=True
        )
    else:
        sums, back, (fired, aux) = jax.vjp(lambda p, h: _local(recipe, p, h, ctx), params, h, has_aux=True)
    sums = ctx.axes.sum(sums, "model")

    def head(sums, shared):
        return _loss(recipe, sums, shared, x, y, ctx)

    (loss, terms), (d_sums, d_shared) = jax.value_and_grad(head, (0, 1), has_aux=True)(sums, shared)
    grads, d_h = back(d_sums)
    if by_index is not None:
        grads["W_enc"], d_bias = outer_at(by_index, xc, d_h, at, h.shape[1])
    else:
        d_h = d_h.astype(dtype)
        grads["W_enc"] = ctx.matmul.outer(xc, d_h)
        d_bias = jnp.sum(d_h, axis=0, dtype=jnp.float32)
    grads |= d_shared
    if recipe.apply_b_dec_to_input:
        through = params["W_enc"] @ d_bias
        grads["b_dec"] = grads["b_dec"] - ctx.axes.sum(through, "model")
    return grads, {"loss": loss, **terms, "fired": fired}, aux


def _local(recipe: Recipe, p: Params, h: Float[Array, "b F"], ctx: StepContext) -> tuple[Sums, tuple[Array, Sums]]:
    """(the terms to sum over features, (the number of rows in which each feature was active, aux))."""
    code = recipe.activation.train(p, h, ctx)
    sums: Sums = {}
    for penalty in recipe.penalties:
        sums |= penalty.local(p, code, ctx)
    sums |= recipe.error.local(p["W_dec"], code, ctx)
    return sums, (ctx.matmul.count(recipe.activation.active(code.f)), code.aux or {})


def _candidates(recipe: Recipe, p: Params, h: Float[Array, "b F"], ctx: StepContext) -> dict[str, TopKIndices]:
    """The features of each row that matter: those that may be active, and those that penalties use."""
    z = recipe.activation.rectify(h + p["b_enc"])
    found = {"y_hat": recipe.activation.candidates(z, ctx)}
    for penalty in recipe.penalties:
        found |= penalty.candidates(z, ctx)
    return found


def _local_at(
    recipe: Recipe,
    p: Params,
    h: dict[str, Float[Array, "b k"]],
    at: dict[str, TopKIndices],
    rows: RowProducts,
    ctx: StepContext,
) -> tuple[Sums, tuple[Array, Sums]]:
    """The result of `_local`, computed from h at the candidates only."""
    f = {name: recipe.activation.at(p, h[name], i) for name, i in at.items()}
    sums: Any = decode_at(rows, f, p["W_dec"], at)
    for penalty in recipe.penalties:
        sums |= penalty.at(ctx)
    active = recipe.activation.active(f["y_hat"])
    return sums, (jnp.zeros(p["b_enc"].shape).at[at["y_hat"].at].add(active), {})


def _loss(
    recipe: Recipe, sums: Sums, shared: Params, x: Array, y: Array, ctx: StepContext
) -> tuple[Array, dict[str, Array]]:
    """The loss and its terms, summed over rows."""

    def complete(y_hat: Array) -> Array:
        y_hat = y_hat + shared["b_dec"]
        if not recipe.skip:
            return y_hat
        through: Any = product(ctx.matmul.dtype, x, shared["W_skip"])
        return y_hat + through

    loss, terms, error = recipe.error.loss(sums, complete, y, ctx)
    for penalty in recipe.penalties:
        more, of_penalty = penalty.loss(sums, error, ctx)
        loss, terms = loss + more, terms | of_penalty
    return loss, terms
