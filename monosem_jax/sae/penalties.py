"""Penalties: loss terms that make features sparse or revive dead ones. Each declares its configuration keys once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from monosem_jax.sae.ops import top_k
from monosem_jax.sae.ops.gathered_matmul import TopKIndices
from monosem_jax.sae.ops.matmul import product
from monosem_jax.sae.params import row_norms
from monosem_jax.sae.step_context import Encoded, Params, StepContext

Terms = dict[str, Array]
Norms = Callable[[Array], Array]  # W_dec [F,M] -> the weight [F] of each feature's activation


class Penalty:
    """The interface of a penalty; the defaults here are for a penalty without keys and statistics."""

    coefficient: str | None = None  # the key of its coefficient, which rises from 0 over `warmup` steps
    warmup: str | None = None  # the key of that number of steps
    whole_batch = False  # whether it depends on all rows of a batch together
    by_index = False  # whether `candidates` and `at` are defined, for products by index

    @property
    def sparsity_key(self) -> str | None:
        """The configuration key that sets how many features are active."""
        return self.coefficient

    @property
    def traced(self) -> tuple[str, ...]:
        """The keys in which members of one program may differ."""
        return (self.coefficient,) if self.coefficient else ()

    def initial_stats(self) -> dict[str, Array]:
        """The initial statistics; numbers, not arrays."""
        return {}

    def update_stats(self, ctx: StepContext, terms: Terms) -> dict[str, Array]:
        """The statistics after a step; `terms` are sums over all rows and features."""
        return {}

    def local(self, p: Params, code: Encoded, ctx: StepContext) -> Terms:
        """Name -> this device's part of a sum over features."""
        raise NotImplementedError

    def candidates(self, z: Float[Array, "b F"], ctx: StepContext) -> dict[str, TopKIndices]:
        """Name -> the features of each row that the penalty decodes, from z before the selection; if `by_index`."""
        return {}

    def at(self, ctx: StepContext) -> Terms:
        """The sums of `local` other than decoded ones; if `by_index`."""
        return {}

    def loss(self, sums: Terms, error: Float[Array, "b M"], ctx: StepContext) -> tuple[Array | float, Terms]:
        """(the term to add to the loss, the terms to report), both summed over rows. `error` is ŷ - y."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class L1(Penalty):
    """λ Σ_F f, or λ Σ_F f w with weights w computed from W_dec, for example the norms of its rows."""

    weights: Norms | None = None

    coefficient = "l1_coefficient"
    warmup = "l1_warmup"

    def local(self, p, code, ctx):
        norm = 1.0 if self.weights is None else self.weights(p["W_dec"])
        return {"l1": jnp.sum(code.f * norm)}

    def loss(self, sums, error, ctx):
        return ctx.hyper["l1_coefficient"] * sums["l1"], {"l1": sums["l1"]}


@dataclasses.dataclass(frozen=True)
class SiteNorms:
    """The weights Σ_s ‖W_dec,s‖ of rows of W_dec; each row has one part per site, of these widths."""

    widths: tuple[int, ...]

    def __call__(self, w_dec: Float[Array, "*F M"]) -> Float[Array, "*F"]:
        ends = [sum(self.widths[: i + 1]) for i in range(len(self.widths) - 1)]
        norms = [row_norms(w) for w in jnp.split(w_dec, ends, axis=-1)]
        return jnp.sum(jnp.stack(norms, axis=-1), axis=-1)


@dataclasses.dataclass(frozen=True)
class GateL1(L1):
    """λ Σ_F gate."""

    def local(self, p, code, ctx):
        return {"l1": jnp.sum(code.gate)}


@dataclasses.dataclass(frozen=True)
class GateReconstruction(Penalty):
    """Σ_M (y - gate W_dec - b_dec)², without gradients for W_dec and b_dec: it trains the gates."""

    def local(self, p, code, ctx):
        frozen = jax.lax.stop_gradient(p["W_dec"])
        return {"gated": ctx.matmul.decode(code.gate, frozen, code.gate > 0)}

    def loss(self, sums, error, ctx):
        fixed = jax.lax.stop_gradient(error - sums["y_hat"])  # b_dec - y
        gated = jnp.sum(jnp.square(sums["gated"] + fixed))
        return gated, {"gated": gated}


@dataclasses.dataclass(frozen=True)
class L0(Penalty):
    """λ Σ_F gate, with gates 0 or 1; with a `target`, λ (L0 / target - 1)², where L0 is the mean over the batch."""

    target: float = 0.0

    coefficient = "l0_coefficient"
    warmup = "l0_warmup"

    @property
    def sparsity_key(self):
        return "target_l0" if self.target else "l0_coefficient"

    @property
    def traced(self):
        return ("l0_coefficient", "target_l0")

    @property
    def whole_batch(self) -> bool:  # type: ignore[override]
        return bool(self.target)

    def local(self, p, code, ctx):
        return {"l0": jnp.sum(code.gate)}

    def loss(self, sums, error, ctx):
        weight, l0 = ctx.hyper["l0_coefficient"], sums["l0"]
        if not self.target:
            return weight * l0, {}
        # The slope depends on all rows together, so the term is written as this number times the sum over local rows.
        target = ctx.hyper["target_l0"]
        off = ctx.axes.sum(jax.lax.stop_gradient(l0), "data") / ctx.n_rows / target - 1
        slope = weight * 2 * off / target
        value = weight * jnp.square(off) * len(error)
        return jax.lax.stop_gradient(value - slope * l0) + slope * l0, {}


@dataclasses.dataclass(frozen=True)
class AuxK(Penalty):
    """Trains dead features to reconstruct the error that the alive features leave (Gao et al., 2024).

        e = y - ŷ (no gradient)        AuxK = Σ ‖e - ê‖² / Σ ‖e - mean e‖²        ê = z_aux W_dec

    where z_aux are the `k_aux` largest activations of dead features. The gradient reaches only the encoder and decoder
    of dead features. A feature is dead if it was not active in the last `dead_rows` rows.
    """

    weight: float
    k_aux: int
    dead_rows: int

    by_index = True

    @property
    def whole_batch(self) -> bool:  # type: ignore[override]
        return bool(self.weight)

    def local(self, p, code, ctx):
        """{"aux": the part of ê [b,M] from this device's features, "n_dead": the number of them that are dead}."""
        if not self.weight:
            return {}
        dead, n_dead = self.dead(ctx), self.count_dead(ctx)

        def some(z, w_dec):
            f = jnp.where(top_k.row_mask(jnp.where(dead, jnp.abs(z), 0), self._k(ctx), ctx.axes), z, 0)
            return product(ctx.matmul.dtype, f, w_dec)

        def none(z, w_dec):
            return jnp.zeros((len(z), w_dec.shape[1]))

        # All devices of `model` must take the same branch, since they exchange candidates.
        aux = jax.lax.cond(ctx.axes.sum(n_dead, "model") > 0, some, none, code.z, p["W_dec"])
        return {"aux": aux, "n_dead": jax.lax.stop_gradient(n_dead)}

    def candidates(self, z, ctx):
        """{"aux": the dead features of each row that reconstruct the error}."""
        if not self.weight:
            return {}
        dead, k = self.dead(ctx), self._k(ctx)

        def some(z):
            return TopKIndices(*top_k.row_index(jnp.where(dead, jnp.abs(z), 0), k, ctx.axes))

        def none(z):
            size = (len(z), min(k, z.shape[1]))
            return TopKIndices(jnp.zeros(size, jnp.int32), jnp.zeros(size, bool))

        return {"aux": jax.lax.cond(ctx.axes.sum(self.count_dead(ctx), "model") > 0, some, none, z)}

    def at(self, ctx):
        return {"n_dead": self.count_dead(ctx)} if self.weight else {}

    def loss(self, sums, error, ctx):
        if not self.weight:
            return 0.0, {}
        e = -jax.lax.stop_gradient(error)
        mean = ctx.axes.sum(jnp.sum(e, axis=0), "data") / ctx.n_rows
        spread = ctx.axes.sum(jnp.sum(jnp.square(e - mean)), "data")
        some = (sums["n_dead"] > 0) & (spread > 0)
        found = jnp.sum(jnp.square(e - sums["aux"])) * jnp.where(some, ctx.n_rows / jnp.where(some, spread, 1), 0)
        return self.weight * found, {"aux": jax.lax.stop_gradient(found)}

    def dead(self, ctx: StepContext) -> Bool[Array, " F"]:
        """Which of this device's features are dead."""
        # In steps: the number of rows may exceed int32.
        return ctx.step - ctx.stats["last_fired"] >= -(-self.dead_rows // ctx.n_rows)

    def count_dead(self, ctx: StepContext) -> Float[Array, ""]:
        """The number of this device's features that are dead."""
        return jnp.sum(self.dead(ctx), dtype=jnp.float32)

    def _k(self, ctx: StepContext) -> int:
        return min(self.k_aux, ctx.n_features)
