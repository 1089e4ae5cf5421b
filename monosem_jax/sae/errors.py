"""Reconstruction errors: how ŷ is computed, and how squares of y - ŷ become the first term of the loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from monosem_jax.sae.ops import top_k
from monosem_jax.sae.step_context import Encoded, StepContext

Complete = Callable[[Array], Array]  # adds the other terms of ŷ to the sum over features: b_dec, x W_skip


class ReconstructionError:
    """The interface of a reconstruction error; the defaults here are for the plain error of ŷ."""

    needs_variance = False  # `hyper` holds the mean over M of the variance of y
    by_index = True  # it needs only ŷ itself, so features may be decoded by their indices

    def weigh(self, squares: Array, width: int, ctx: StepContext) -> Array:
        """A sum of squared errors over rows and the `width` columns of y, converted to the units of the loss."""
        raise NotImplementedError

    def local(self, w_dec: Float[Array, "F M"], code: Encoded, ctx: StepContext) -> dict[str, Array]:
        """Name -> this device's part of a sum over features."""
        return {"y_hat": ctx.matmul.decode(code.f, w_dec, code.visit)}

    def loss(
        self, sums: dict[str, Array], complete: Complete, y: Float[Array, "b M"], ctx: StepContext
    ) -> tuple[Array, dict[str, Array], Float[Array, "b M"]]:
        """(the error in the units of the loss, terms with "mse", ŷ - y): sums over rows."""
        error = complete(sums["y_hat"]) - y
        squares = jnp.sum(jnp.square(error))
        return self.weigh(squares, y.shape[1], ctx), {"mse": squares / y.shape[1]}, error


@dataclasses.dataclass(frozen=True)
class MeanSquares(ReconstructionError):
    """mean over M of (y - ŷ)²."""

    def weigh(self, squares, width, ctx):
        return squares / width


@dataclasses.dataclass(frozen=True)
class SumOfSquares(ReconstructionError):
    """Σ_M (y - ŷ)²."""

    def weigh(self, squares, width, ctx):
        return squares


@dataclasses.dataclass(frozen=True)
class ShareOfVariance(ReconstructionError):
    """mean over M of (y - ŷ)², divided by the mean over M of the variance of y: 1 for ŷ = mean y."""

    needs_variance = True

    def weigh(self, squares, width, ctx):
        return squares / width / ctx.hyper["variance"]


@dataclasses.dataclass(frozen=True)
class WithMoreFeatures(ReconstructionError):
    """error + weight · the same error of ŷ from the k largest activations (Multi-TopK, Gao et al., 2024)."""

    error: ReconstructionError
    k: int
    weight: float

    by_index = False

    @property
    def needs_variance(self) -> bool:  # type: ignore[override]
        return self.error.needs_variance

    def weigh(self, squares, width, ctx):
        return self.error.weigh(squares, width, ctx)

    def local(self, w_dec, code, ctx):
        mask = top_k.row_mask(code.z, min(self.k, ctx.n_features), ctx.axes)
        wide = ctx.matmul.decode(jnp.where(mask, code.z, 0), w_dec, mask)
        return {"wide": wide, **self.error.local(w_dec, code, ctx)}

    def loss(self, sums, complete, y, ctx):
        loss, terms, error = self.error.loss(sums, complete, y, ctx)
        wide = self.weigh(jnp.sum(jnp.square(error + sums["wide"] - sums["y_hat"])), y.shape[1], ctx)
        return loss + self.weight * wide, {**terms, "wide": wide}, error


@dataclasses.dataclass(frozen=True)
class Prefixes(ReconstructionError):
    """The mean error of ŷ decoded from a prefix of the features: the empty prefix, and one up to each of `ends`."""

    error: ReconstructionError
    ends: tuple[int, ...]

    by_index = False

    @property
    def needs_variance(self) -> bool:  # type: ignore[override]
        return self.error.needs_variance

    def weigh(self, squares, width, ctx):
        return self.error.weigh(squares, width, ctx)

    def local(self, w_dec, code, ctx):
        """{"y_hat": the contribution of each group of features [G,b,M]}."""
        size, starts = w_dec.shape[0], (0, *self.ends[:-1])

        def of_device(i: int, f: Array, w: Array, visit: Array) -> Array:
            parts = []
            for start, end in zip(starts, self.ends, strict=True):
                a, z = (min(max(at - i * size, 0), size) for at in (start, end))
                nothing = jnp.zeros((len(f), w.shape[1]))
                parts.append(ctx.matmul.decode(f[:, a:z], w[a:z], visit[:, a:z]) if a < z else nothing)
            return jnp.stack(parts)

        if ctx.axes.model == 1:
            return {"y_hat": of_device(0, code.f, w_dec, code.visit)}
        # The group ends are static on each device, but differ between devices.
        branches: list[Callable[..., Any]] = [lambda *a, i=i: of_device(i, *a) for i in range(ctx.axes.model)]
        return {"y_hat": jax.lax.switch(jax.lax.axis_index("model"), branches, code.f, w_dec, code.visit)}

    def loss(self, sums, complete, y, ctx):
        prefixes = jnp.concatenate([jnp.zeros_like(sums["y_hat"][:1]), jnp.cumsum(sums["y_hat"], axis=0)])
        errors = complete(prefixes) - y
        squares = jnp.sum(jnp.square(errors), axis=(1, 2))
        loss = self.weigh(jnp.mean(squares), y.shape[1], ctx)
        return loss, {"mse": squares[-1] / y.shape[1]}, errors[-1]
