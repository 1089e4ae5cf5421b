"""Gradients of any dictionary on a mesh, written for one device of it: two halves with sums over features between.

    h = (x - b_dec) W_enc        sums = local(parameters, h)        loss = head(sums over `model`, b_dec, x)

Neither half has a collective that is differentiated: the head's gradient with respect to the sums is the cotangent of
the local half. So an architecture is its activation and its loss, and what crosses devices is what it sums.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from monosem_jax.sae.ops import sparse_matmul as sparse
from monosem_jax.sae.ops.gathered_matmul import MatmulStrategy, outer_at
from monosem_jax.sae.ops.matmul import _product_backward, _product_forward, matmul, product
from monosem_jax.sae.params import FEATURE_AXIS
from monosem_jax.sae.step_context import StepContext


def gradients(
    sae: Any, params: dict[str, Array], rows: Float[Array, "b W"], here: StepContext
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """(gradients, terms, notes) of scaled fp32 rows, on the features that lie on this device.

    All but the notes are sums over the rows: of the gradients of every row's loss, the "loss" and its terms, and
    "fired" [F], in how many rows each feature was active. `sae` is built for this device's features alone.
    """

    def call(p, method, *args):
        return sae.apply({"params": p}, *args, method=method)

    x, y = call(params, "given", rows), call(params, "wanted", rows)
    shared = {name: p for name, p in params.items() if name not in FEATURE_AXIS}
    xc = (x - params["b_dec"] if sae.CENTRED else x).astype(sae.dtype)
    h = matmul(xc, params["W_enc"].astype(sae.dtype))
    # Where only few numbers of h matter, and it is known which, the others are not looked at again.
    how = MatmulStrategy(here.gather, sae.dtype)
    by_index = sae.by_index and (here.gather or (here.use_sparse and sparse.worthwhile(h.shape, x.shape[1])))
    at = call(params, "candidates", h, here) if by_index else None

    def local(p, h):
        return call(p, "local_at", h, at, here) if by_index else call(p, "local", h, here)

    taken = {name: jnp.take_along_axis(h, i.at, axis=1) for name, i in at.items()} if by_index else h
    sums, back, (fired, notes) = jax.vjp(local, params, taken, has_aux=True)
    sums = here.axes.sum(sums, "model")

    def head(sums, shared):
        return call({**params, **shared}, "loss", sums, x, y, here)

    (loss, terms), (d_sums, d_shared) = jax.value_and_grad(head, (0, 1), has_aux=True)(sums, shared)
    grads, d_h = back(d_sums)
    if by_index:
        grads["W_enc"], d_bias = outer_at(how, xc, d_h, at, h.shape[1])
    else:
        d_h = d_h.astype(sae.dtype)
        grads["W_enc"] = outer(xc, d_h, here.use_sparse)
        d_bias = jnp.sum(d_h, axis=0, dtype=jnp.float32)
    grads |= d_shared
    if sae.CENTRED:
        through = params["W_enc"] @ d_bias
        grads["b_dec"] = grads["b_dec"] - here.axes.sum(through, "model")
    return grads, {"loss": loss, **terms, "fired": fired}, notes


def count(visit: Bool[Array, "b F"], here: StepContext) -> Float[Array, " F"]:
    """In how many rows each feature is active."""
    return sparse.count(sparse.positive(visit)) if here.use_bits else jnp.sum(visit, axis=0, dtype=jnp.float32)


def decode(
    f: Float[Array, "b F"], w: Float[Array, "F M"], visit: Bool[Array, "b F"], here: StepContext, dtype: Any
) -> Float[Array, "b M"]:
    """f · W, and where its gradient with respect to f is only wanted at `visit`, where also all of f lies."""
    if here.use_sparse and sparse.worthwhile(f.shape, w.shape[1]):
        return _visiting(f, w, visit)
    return product(dtype, f, w)


product.defvjp(_product_forward, _product_backward)


@jax.custom_vjp
def _visiting(f: Array, w: Array, visit: Array) -> Array:
    return _visit_forward(f, w, visit)[0]


def _visit_forward(f, w, visit):
    at = sparse.by_row(sparse.positive(visit))
    few = at.pieces <= sparse.capacity(f.shape)
    find = lambda: sparse.find(f, jnp.zeros(f.shape[1]), at)  # noqa: E731

    def visiting():
        codes = find()
        return codes, sparse.decode(codes, w, len(f))

    def multiplying():
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(find)), matmul(f, w)

    codes, out = jax.lax.cond(few, visiting, multiplying)
    return out, (few, codes, f, w)


def _visit_backward(kept, d_out):
    few, codes, f, w = kept

    def visiting():
        d_f, d_w = sparse.decode_backward(codes, d_out, w)
        return sparse.spread(codes, d_f, f.shape), d_w

    d_f, d_w = jax.lax.cond(
        few,
        visiting,
        lambda: (matmul(d_out, w.T), matmul(f.T, d_out)),
    )
    return d_f, d_w, None


_visiting.defvjp(_visit_forward, _visit_backward)


def outer(x: Float[Array, "b M"], d: Float[Array, "b F"], use_sparse: bool) -> Float[Array, "M F"]:
    """xᵀ · d; where few numbers of d are not zero, those alone are visited."""
    if not (use_sparse and sparse.worthwhile(d.shape, x.shape[1])):
        return matmul(x.T, d)
    at = sparse.by_row(sparse.positive(d != 0))
    few = at.pieces <= sparse.capacity(d.shape)
    visiting = lambda: sparse.outer(sparse.find(d, jnp.zeros(d.shape[1]), at), x, d.shape[1])  # noqa: E731
    return jax.lax.cond(few, visiting, lambda: matmul(x.T, d))
