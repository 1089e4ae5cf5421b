"""AbsTopK (Zhu et al., 2025, "AbsTopK: Rethinking Sparse Autoencoders For Bidirectional Features"): features of either
sign, so that one feature may stand for a direction and its opposite.

    z = (x - b_dec) W_enc + b_enc        f = the k numbers of z with the largest magnitude, with their signs
    x̂ = f W_dec + b_dec        loss = mean over the batch of  mean_M (x - x̂)² / variance  +  α AuxK

A feature is active where f is not 0, and AuxK uses the dead features of largest magnitude. Everything else is as in
TopK. SAELens calls this architecture abstopk.
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
    """The k numbers of h + b_enc with the largest magnitude in each row; ties go to the first features."""

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
