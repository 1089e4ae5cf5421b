"""JumpReLU (Rajamanoharan et al., 2024) with the recipe of Gemma Scope.

    z = (x - b_dec) W_enc + b_enc        f = z H(z - θ)        x̂ = f W_dec + b_dec
    loss = mean over the batch of  Σ_M (x - x̂)²  +  λ Σ_F H(z - θ)

for activations with E‖x‖² = 1. H is the step function. Its gradient is a kernel estimate, where K is 1 on (-1/2, 1/2)
and 0 elsewhere:

    ∂f/∂θ = -(θ/ε) K((z - θ)/ε)        ∂H(z - θ)/∂θ = -(1/ε) K((z - θ)/ε)        ∂f/∂z = H(z - θ)

log θ is trained, so that θ stays positive. With a target, the second term is λ (L0 / target - 1)² instead, where L0 is
the mean over the batch.
"""

from __future__ import annotations

import dataclasses

from monosem_jax.sae.activation_fns import JumpReLU
from monosem_jax.sae.config import NUMBER, POSITIVE, STEPS, SaeConfig, key
from monosem_jax.sae.errors import SumOfSquares
from monosem_jax.sae.params import DecoderFirst
from monosem_jax.sae.penalties import L0
from monosem_jax.sae.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class JumpReluConfig(SaeConfig):
    """The coefficient is for activations of E‖x‖² = 1."""

    architecture: str = "jumprelu"
    input_scale: str = "unit_norm"
    l0_coefficient: float = key(6e-4, NUMBER)
    """λ, the weight of L0, or of its distance from target_l0."""
    l0_warmup: float = key(10_000, STEPS)
    """Steps over which the coefficient rises from 0; below 1 a fraction of train.steps."""
    target_l0: float = key(0.0, NUMBER)
    """The L0 that is aimed at; 0: none, λ alone decides."""
    bandwidth: float = key(0.001, POSITIVE)
    """ε, the width of the kernel by which the gradient of the threshold is estimated."""
    initial_threshold: float = key(0.001, POSITIVE)
    """θ of every feature at the beginning."""

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        return Recipe(
            activation=JumpReLU(self.bandwidth, self.initial_threshold),
            error=SumOfSquares(),
            penalties=(L0(self.target_l0),),
            initial=DecoderFirst(self.tied_norm),
            b_dec_at_median=False,
        )
