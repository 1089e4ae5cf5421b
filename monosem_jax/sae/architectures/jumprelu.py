"""JumpReLU (Rajamanoharan et al., 2024) with the recipe of Gemma Scope.

    z = (x - b_dec) W_enc + b_enc        f = z H(z - θ)        x̂ = f W_dec + b_dec
    loss = mean over the batch of  Σ_M (x - x̂)²  +  λ Σ_F H(z - θ)

for activations of E‖x‖² = 1. H is the step function. Its gradient is that of a kernel estimate, K being 1 on
(-1/2, 1/2) and 0 elsewhere:

    ∂f/∂θ = -(θ/ε) K((z - θ)/ε)        ∂H(z - θ)/∂θ = -(1/ε) K((z - θ)/ε)        ∂f/∂z = H(z - θ)

log θ is what is trained, so that θ stays positive. With a target, the second term is λ (L0 / target - 1)² instead, L0
being the mean over the batch.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.config import SaeConfig
from monosem_jax.sae.step_context import Encoded, StepContext


@dataclasses.dataclass(frozen=True)
class JumpReluConfig(SaeConfig):
    """λ is `l0_coefficient`; it rises over `l0_warmup` steps, below 1 a fraction of `train.steps`. `target_l0`: the
    L0 that is aimed at, 0 for none. `bandwidth` is ε, `initial_threshold` θ at the beginning."""

    architecture: str = "jumprelu"
    input_scale: str = "unit_norm"
    l0_coefficient: float = 6e-4
    l0_warmup: float = 10_000
    target_l0: float = 0.0
    bandwidth: float = 0.001
    initial_threshold: float = 0.001

    COEFFICIENT: ClassVar[str] = "l0_coefficient"
    WARMUP: ClassVar[str] = "l0_warmup"
    TRACED: ClassVar[tuple[str, ...]] = ("l0_coefficient", "target_l0")

    @property
    def sparsity_key(self) -> str:
        return "target_l0" if self.target_l0 else "l0_coefficient"


@jax.custom_vjp
def step(z: Array, theta: Array, bandwidth: float) -> Array:
    """H(z - θ)."""
    return (z > theta).astype(z.dtype)


def _kernel(z, theta, bandwidth):
    return (jnp.abs(z - theta) < bandwidth / 2) / bandwidth


def _step_forward(z, theta, bandwidth):
    return step(z, theta, bandwidth), (z, theta, bandwidth)


def _step_backward(kept, d):
    return jnp.zeros_like(kept[0]), jnp.sum(-_kernel(*kept) * d, axis=0), None


step.defvjp(_step_forward, _step_backward)


@jax.custom_vjp
def jump(z: Array, theta: Array, bandwidth: float) -> Array:
    """z H(z - θ)."""
    return jnp.where(z > theta, z, 0)


def _jump_forward(z, theta, bandwidth):
    return jump(z, theta, bandwidth), (z, theta, bandwidth)


def _jump_backward(kept, d):
    z, theta, _ = kept
    return jnp.where(z > theta, d, 0), jnp.sum(-theta * _kernel(*kept) * d, axis=0), None


jump.defvjp(_jump_forward, _jump_backward)


class JumpRelu(SparseAutoencoder):
    """Besides the usual parameters log_threshold [F]; published as threshold [F]."""

    AT_MEDIAN = False
    ERROR = "sum"

    def setup(self):
        super().setup()
        if self.has_variable("params", "threshold"):
            self.theta = self.get_variable("params", "threshold")
        else:
            start = nn.initializers.constant(self.fresh("log_threshold"))
            self.log_threshold = self.param("log_threshold", start, (self.n_features,))
            self.theta = jnp.exp(self.log_threshold)

    @property
    def whole_batch(self) -> bool:
        return bool(self.config.target_l0)

    @nn.nowrap
    def fresh(self, name: str) -> float:
        return math.log(self.config.initial_threshold) if name == "log_threshold" else 0.0

    def threshold(self) -> Float[Array, " F"]:
        return self.theta

    @nn.nowrap
    def publish(self, params: dict[str, Any], stats: dict[str, Any]) -> dict[str, Any]:
        kept = {name: p for name, p in params.items() if name != "log_threshold"}
        log = params["log_threshold"]
        return {**kept, "threshold": (jnp if isinstance(log, jax.Array) else np).exp(log)}

    def activate(self, h: Float[Array, "b F"], here: StepContext) -> Encoded:
        z, theta, width = h + self.b_enc, self.theta, self.config.bandwidth
        visit = z > theta - width / 2  # θ has a gradient from just below it too
        return Encoded(jump(z, theta, width), visit, {"l0": jnp.sum(step(z, theta, width))})

    def penalise(self, loss, terms, sums, error, here):
        weight, l0 = here.hyper["l0_coefficient"], sums["l0"]
        if not self.config.target_l0:
            return loss + weight * l0, terms
        # Its derivative is of all rows together, so that it is written as a number times the sum over these rows.
        target = here.hyper["target_l0"]
        off = here.axes.sum(jax.lax.stop_gradient(l0), "data") / here.n_rows / target - 1
        slope = weight * 2 * off / target
        value = weight * jnp.square(off) * len(error)
        return loss + jax.lax.stop_gradient(value - slope * l0) + slope * l0, terms
