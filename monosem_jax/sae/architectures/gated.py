"""Gated dictionaries (Rajamanoharan et al., 2024, "Improving dictionary learning with gated sparse autoencoders").

    π = (x - b_dec) W_enc        gate = π + b_gate
    f = H(gate) ReLU(exp(r_mag) π + b_enc)        x̂ = f W_dec + b_dec
    loss = mean over the batch of  Σ_M (x - x̂)²  +  λ Σ_F ReLU(gate)  +  Σ_M (x - ReLU(gate) W_dec - b_dec)²

In the last term W_dec and b_dec get no gradient. The last two terms train which features are active, the first term
trains their magnitudes.
"""

from __future__ import annotations

import dataclasses

from monosem_jax.sae.activation_fns import Gated
from monosem_jax.sae.config import L1Config
from monosem_jax.sae.errors import SumOfSquares
from monosem_jax.sae.params import DecoderFirst
from monosem_jax.sae.penalties import GateL1, GateReconstruction
from monosem_jax.sae.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class GatedConfig(L1Config):
    """The coefficient is for activations of E‖x‖² = 1."""

    architecture: str = "gated"
    input_scale: str = "unit_norm"
    l1_coefficient: float = 0.1
    l1_warmup: float = 0.05

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        return Recipe(
            activation=Gated(),
            error=SumOfSquares(),
            penalties=(GateReconstruction(), GateL1()),
            initial=DecoderFirst(self.tied_norm),
            b_dec_at_median=False,
        )
