"""Transcoders (Dunefsky et al., 2024) and skip transcoders (Paulo et al., 2025): from one site to another.

    f = activation(x W_enc + b_enc)        ŷ = f W_dec + b_dec (+ x W_skip)
    loss = mean over the batch of  mean_M (y - ŷ)² / variance  +  what keeps f sparse, as of that activation

A row is x and y beside each other: those of an MLP's input and output, say. W_skip starts at zero.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import gradients as learning
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.config import AnyConfig


@dataclasses.dataclass(frozen=True)
class TranscoderConfig(AnyConfig):
    """`skip`: with W_skip. `widths` (of x, of y); () where the source says so. x and y are scaled each for itself."""

    architecture: str = "transcoder"
    activation: str = "topk"
    skip: bool = False
    widths: tuple[int, ...] = ()
    tied_norm: float = 0.0

    def check(self) -> None:
        super().check()
        if self.tied_norm:
            raise BadInput(f"sae.tied_norm is {self.tied_norm}: a transcoder's encoder reads another site, expected 0")

    def check_parts(self, parts: tuple[int, ...]) -> None:
        """Raises BadInput when rows do not consist of two activations."""
        if len(parts) != 2:
            raise BadInput(
                f"a transcoder goes from one site to another, and the rows have {len(parts)}: harvest two sites "
                "(config.harvest.site=mlp_in.0+mlp_out.0), or give sae.widths"
            )


class Transcoder(SparseAutoencoder):
    """Parameters W_enc [M_in,F], b_enc [F], W_dec [F,M_out], b_dec [M_out], and W_skip [M_in,M_out]."""

    CENTRED = False
    RESAMPLES = False
    ERROR = "variance"

    @property
    def width_in(self) -> int:
        return self.parts[0]

    @property
    def width_out(self) -> int:
        return self.parts[1]

    def setup(self):
        super().setup()
        if self.config.skip:
            self.W_skip = self.param("W_skip", nn.initializers.zeros, (self.width_in, self.width_out))

    def given(self, rows):
        return rows[..., : self.width_in]

    def wanted(self, rows):
        return rows[..., self.width_in :]

    def decode(self, f: Float[Array, "*B F"], x: Float[Array, "*B M"] | None = None) -> Float[Array, "*B M"]:
        y_hat = super().decode(f)
        if not self.config.skip:
            return y_hat
        if x is None:
            raise BadInput("a skip transcoder decodes from features and activations: decode(f, x)")
        return y_hat + self.product(x, self.W_skip)

    def reconstructed(self, sums, x):
        y_hat = super().reconstructed(sums, x)
        return y_hat + learning.product(self.dtype, x, self.W_skip) if self.config.skip else y_hat

    @nn.nowrap
    def fold(self, params: dict[str, Any], scale: Any) -> dict[str, Any]:
        """Published parameters for raw x and y from those for scale[0] · x and scale[1] · y."""
        s, t = scale[0], scale[1]
        by = {"W_enc": t / s, "W_skip": t / s, "W_dec": 1.0}
        return {name: p / by.get(name, t) for name, p in params.items()}
