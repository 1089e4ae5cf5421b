"""AbsTopK (Zhu et al., 2025, "AbsTopK: Rethinking Sparse Autoencoders For Bidirectional Features"): features of either
sign, so that one feature may stand for a direction and its opposite.

    z = (x - b_dec) W_enc + b_enc        f = the k of z that are largest by magnitude, with their signs
    x̂ = f W_dec + b_dec        loss = mean over the batch of  mean_M (x - x̂)² / variance  +  α AuxK

A feature is active where f is not 0, and AuxK takes the dead features that are largest by magnitude. All else is as of
TopK. SAELens calls it abstopk.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from monosem_jax.sae.activation_fns import TopK
from monosem_jax.sae.config import TopConfig
from monosem_jax.sae.errors import ShareOfVariance
from monosem_jax.sae.params import DecoderFirst
from monosem_jax.sae.penalties import AuxK
from monosem_jax.sae.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class AbsTopK(TopK):
    """The k of each row's h + b_enc that are largest by magnitude; of equal ones the first features."""

    form: ClassVar[str] = "abs_topk"
    signed: ClassVar[bool] = True

    def rectify(self, z):
        return z


@dataclasses.dataclass(frozen=True)
class AbsTopKConfig(TopConfig):
    """`k` features a row, of either sign."""

    architecture: str = "abs_topk"

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        return Recipe(
            activation=AbsTopK(self.k),
            error=ShareOfVariance(),
            penalties=(AuxK(self.aux_coefficient, self.k_aux, self.dead_rows),),
            initial=DecoderFirst(self.tied_norm),
        )
