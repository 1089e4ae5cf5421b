"""How products with activations are computed: resolved once per training from device, dtype and `sae.sparse`.

    Dense           whole arrays
    VisitNonzero    a loop over the nonzero activations, if they are few: fastest on CPUs in fp32
    Gather          gathers the k features of each row that TopK selected; all other products are dense

Callers ask the strategy about each single product whose shape matters (is it large enough for a loop to be faster?).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from monosem_jax.sae.ops import sparse_matmul
from monosem_jax.sae.ops.gathered_matmul import GatherRows, RowProducts, VisitRows
from monosem_jax.sae.ops.matmul import matmul, product


@dataclasses.dataclass(frozen=True)
class Dense:
    """Operands of products are in `dtype`, sums in fp32. `count_bits`: count the rows in which a feature is active with
    bit operations; on CPUs this takes one pass over [b,F], and XLA's sum takes several."""

    dtype: Any = jnp.dtype(jnp.float32)
    count_bits: bool = False

    def visits(self, shape: tuple[int, ...], width: int) -> bool:
        """Whether a product visits activations [b,F] one by one if few are nonzero; they decode to `width` numbers."""
        return False

    def by_index(self, shape: tuple[int, ...], width: int) -> RowProducts | None:
        """The products that use the indices of the features that TopK selected; None for products without indices."""
        return None

    def count(self, active: Bool[Array, "b F"]) -> Float[Array, " F"]:
        """The number of rows in which each feature is active."""
        if self.count_bits:
            return sparse_matmul.count(sparse_matmul.positive(active))
        return jnp.sum(active, axis=0, dtype=jnp.float32)

    def decode(self, f: Float[Array, "b F"], w: Float[Array, "F M"], visit: Bool[Array, "b F"]) -> Float[Array, "b M"]:
        """f · W. f is zero outside `visit`, and its gradient may be omitted there."""
        return visiting_product(f, w, visit) if self.visits(f.shape, w.shape[1]) else product(self.dtype, f, w)

    def outer(self, x: Float[Array, "b M"], d: Float[Array, "b F"]) -> Float[Array, "M F"]:
        """xᵀ · d."""
        if not self.visits(d.shape, x.shape[1]):
            return matmul(x.T, d)
        at = sparse_matmul.by_row(sparse_matmul.positive(d != 0))
        few = at.pieces <= sparse_matmul.capacity(d.shape)

        def visiting():
            return sparse_matmul.outer(sparse_matmul.find(d, jnp.zeros(d.shape[1]), at), x, d.shape[1])

        return jax.lax.cond(few, visiting, lambda: matmul(x.T, d))


@dataclasses.dataclass(frozen=True)
class VisitNonzero(Dense):
    """Visits nonzero activations; computes as `Dense` if many are nonzero or the arrays are small."""

    def visits(self, shape: tuple[int, ...], width: int) -> bool:
        return sparse_matmul.worthwhile(shape, width)

    def by_index(self, shape: tuple[int, ...], width: int) -> RowProducts | None:
        return VisitRows() if sparse_matmul.worthwhile(shape, width) else None


@dataclasses.dataclass(frozen=True)
class Gather(Dense):
    """Gathers the selected features; for accelerators and many features."""

    def by_index(self, shape: tuple[int, ...], width: int) -> RowProducts | None:
        return GatherRows(self.dtype)


MatmulStrategy = Dense | VisitNonzero | Gather


def resolve(platform: str, dtype: Any, key: str) -> MatmulStrategy:
    """The strategy for `sae.sparse` = `key` ("auto", "never" or "gather") on this JAX platform."""
    on_cpu, dtype = platform == "cpu", jnp.dtype(dtype)
    if key == "gather":
        return Gather(dtype, on_cpu)
    if key == "auto" and on_cpu and dtype == jnp.float32:
        return VisitNonzero(dtype, on_cpu)
    return Dense(dtype, on_cpu)


@jax.custom_vjp
def visiting_product(f: Float[Array, "b F"], w: Float[Array, "F M"], visit: Bool[Array, "b F"]) -> Float[Array, "b M"]:
    """f · W: visits f where `visit` is true if there are few such entries; else computes the whole product."""
    return _visit_forward(f, w, visit)[0]


def _visit_forward(f, w, visit):
    at = sparse_matmul.by_row(sparse_matmul.positive(visit))
    few = at.pieces <= sparse_matmul.capacity(f.shape)

    def find():
        return sparse_matmul.find(f, jnp.zeros(f.shape[1]), at)

    def visiting():
        codes = find()
        return codes, sparse_matmul.decode(codes, w, len(f))

    def multiplying():
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(find)), matmul(f, w)

    codes, out = jax.lax.cond(few, visiting, multiplying)
    return out, (few, codes, f, w)


def _visit_backward(kept, d_out):
    few, codes, f, w = kept

    def visiting():
        d_f, d_w = sparse_matmul.decode_backward(codes, d_out, w)
        return sparse_matmul.spread(codes, d_f, f.shape), d_w

    d_f, d_w = jax.lax.cond(few, visiting, lambda: (matmul(d_out, w.T), matmul(f.T, d_out)))
    return d_f, d_w, None


visiting_product.defvjp(_visit_forward, _visit_backward)
