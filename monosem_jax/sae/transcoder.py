"""Transcoders (Dunefsky et al., 2024) and skip transcoders (Paulo et al., 2025): from one site to another.

    f = activation(x W_enc + b_enc)        ŷ = f W_dec + b_dec (+ x W_skip)
    loss = mean over the batch of  mean_M (y - ŷ)² / variance  +  what keeps f sparse, as of that activation

A row is x and y beside each other: those of an MLP's input and output, say. W_skip starts at zero.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from monosem_jax.errors import BadInput
from monosem_jax.sae import auxk, learning
from monosem_jax.sae.base import SaeConfig, linear_init
from monosem_jax.sae.batchtopk import check_decay
from monosem_jax.sae.dictionary import Dictionary
from monosem_jax.sae.relu import check_l1


@dataclasses.dataclass(frozen=True)
class TranscoderConfig(SaeConfig):
    """`activation` topk, batchtopk or relu. `skip`: with W_skip. `widths` (of x, of y); () where the source says so.
    x and y are scaled each for itself."""

    architecture: str = "transcoder"
    input_scale: str = "unit_rms"
    activation: str = "topk"
    skip: bool = False
    widths: tuple[int, ...] = ()
    k: int = 32
    threshold_decay: float = 0.999
    aux_coefficient: float = 1 / 32
    k_aux: int = 512
    dead_rows: int = 10_000_000
    l1_coefficient: float = 0.004
    l1_warmup: float = 0.0

    TRACED: ClassVar[tuple[str, ...]] = ("l1_coefficient",)

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        super().check()
        if self.activation not in ("relu", "topk", "batchtopk"):
            raise BadInput(f"sae.activation is {self.activation!r}: expected relu, topk or batchtopk")
        if self.activation != "relu":
            self.check_count("k")
        check_decay(self)
        auxk.check(self)
        check_l1(self)

    def check_parts(self, parts: tuple[int, ...]) -> None:
        """Raises BadInput when rows do not consist of two activations."""
        if len(parts) != 2:
            raise BadInput(
                f"a transcoder goes from one site to another, and the rows have {len(parts)}: harvest two sites "
                "(config.harvest.site=mlp_in.0+mlp_out.0), or give sae.widths"
            )


class Transcoder(Dictionary):
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

    def encoder_init(self, key: Array, shape: tuple[int, int]) -> Array:
        return linear_init(0)(key, shape)

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
