"""Gated dictionaries (Rajamanoharan et al., 2024, "Improving dictionary learning with gated sparse autoencoders").

    π = (x - b_dec) W_enc        gate = π + b_gate
    f = H(gate) ReLU(exp(r_mag) π + b_enc)        x̂ = f W_dec + b_dec
    loss = mean over the batch of  Σ_M (x - x̂)²  +  λ Σ_F ReLU(gate)  +  Σ_M (x - ReLU(gate) W_dec - b_dec)²

In the last term W_dec and b_dec are taken as given. Which features are active is learnt from the last two terms, how
much from the first.
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from monosem_jax.sae import gradients as learning
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.config import L1Config
from monosem_jax.sae.step_context import Encoded, StepContext


@dataclasses.dataclass(frozen=True)
class GatedConfig(L1Config):
    """The coefficient is for activations of E‖x‖² = 1."""

    architecture: str = "gated"
    input_scale: str = "unit_norm"
    l1_coefficient: float = 0.1
    l1_warmup: float = 0.05


class Gated(SparseAutoencoder):
    """Besides the usual parameters b_gate [F] and r_mag [F]; b_enc is the bias of the magnitude."""

    AT_MEDIAN = False
    ERROR = "sum"

    def setup(self):
        super().setup()
        self.b_gate = self.param("b_gate", nn.initializers.zeros, (self.n_features,))
        self.r_mag = self.param("r_mag", nn.initializers.zeros, (self.n_features,))

    def features(self, h: Float[Array, "*B F"]) -> Float[Array, "*B F"]:
        return jnp.where(h + self.b_gate > 0, nn.relu(jnp.exp(self.r_mag) * h + self.b_enc), 0)

    def threshold(self) -> Float[Array, " F"]:
        """What exp(r_mag) π + b_enc must exceed for the gate to be open."""
        return nn.relu(self.b_enc - jnp.exp(self.r_mag) * self.b_gate)

    def activate(self, h: Float[Array, "b F"], here: StepContext) -> Encoded:
        f, gate = self.features(h), nn.relu(h + self.b_gate)
        frozen = jax.lax.stop_gradient(self.W_dec)
        return Encoded(f, f > 0, {
            "l1": jnp.sum(gate), "gated": learning.decode(gate, frozen, gate > 0, here, self.dtype),
        })  # fmt: skip

    def penalise(self, loss, terms, sums, error, here):
        fixed = jax.lax.stop_gradient(error - sums["y_hat"])  # b_dec - x
        gated = self.weigh(jnp.sum(jnp.square(sums["gated"] + fixed)), here)
        return super().penalise(loss + gated, {**terms, "gated": gated}, sums, error, here)
