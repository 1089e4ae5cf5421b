"""Transcoders (Dunefsky et al., 2024) and skip transcoders (Paulo et al., 2025): from one site to another.

    f = activation(x W_enc + b_enc)        ŷ = f W_dec + b_dec (+ x W_skip)
    loss = mean over the batch of  mean_M (y - ŷ)² / variance  +  the penalty of that activation function

A row is the concatenation of x and y, for example an MLP's input and output. W_skip starts at zero. Parameters are
W_enc [M_in,F], b_enc [F], W_dec [F,M_out], b_dec [M_out], and W_skip [M_in,M_out].
"""

from __future__ import annotations

import dataclasses

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.choice import chosen
from monosem_jax.sae.config import AnyConfig
from monosem_jax.sae.errors import ShareOfVariance
from monosem_jax.sae.params import DecoderFirst
from monosem_jax.sae.recipe import Recipe
from monosem_jax.sae.sites import BetweenSites


@dataclasses.dataclass(frozen=True)
class TranscoderConfig(AnyConfig):
    """x and y have an input scale each."""

    architecture: str = "transcoder"
    activation: str = "topk"
    skip: bool = False
    """Whether there is a linear path W_skip beside the features."""
    widths: tuple[int, ...] = ()
    """Widths of the parts of a row: what is read and what is reconstructed, or one per site of a crosscoder. (): as the
    source says."""
    tied_norm: float = 0.0

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        super().check()
        if self.tied_norm:
            raise BadInput(f"sae.tied_norm is {self.tied_norm}: a transcoder's encoder reads another site, expected 0")

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        activation, penalty = chosen(self)
        return Recipe(
            activation=activation,
            error=ShareOfVariance(),
            penalties=(penalty,),
            sites=BetweenSites(self.widths or parts),
            initial=DecoderFirst(self.tied_norm),
            skip=self.skip,
            apply_b_dec_to_input=False,
            row_losses=None,
            traced=("l1_coefficient",),
        )
