"""Crosscoders (Lindsey et al., 2024): one set of features for several sites, or several models.

    f = activation(Σ_s x_s W_enc,s + b_enc)        x̂_s = f W_dec,s + b_dec,s

    relu:       loss = mean over the batch of  Σ_s Σ_M (x_s - x̂_s)²  +  λ Σ_F f Σ_s ‖W_dec,s,f‖
    batchtopk:  loss = mean over the batch of  mean_M (x - x̂)²  +  α AuxK

A row is the concatenation of the activations of all sites, each scaled to E‖x_s‖ = √M_s; the columns of W_dec have the
same order and scale. The norms of the parts of a feature's row of W_dec show which sites the feature belongs to. With
L1 some features that belong to both of two models seem to belong to one (Minder et al., 2025): a feature of both costs
as much as two features of one model each, and a part that contributes little is shrunk to 0. BatchTopK, which keeps the
k B largest f Σ_s ‖W_dec,s,f‖ of a batch of B rows, has no such preference.

Everything else is as in the recipe of April 2024. Parameters are W_enc [ΣM,F], b_enc [F], W_dec [F,ΣM], b_dec [ΣM].
"""

from __future__ import annotations

import dataclasses

from monosem_jax.sae.activation_fns import BatchTopK, ReLU
from monosem_jax.sae.config import AnyConfig, key, one_of
from monosem_jax.sae.errors import MeanSquares, SumOfSquares
from monosem_jax.sae.params import DecoderFirst
from monosem_jax.sae.penalties import L1, AuxK, SiteNorms
from monosem_jax.sae.recipe import Recipe
from monosem_jax.sae.sites import SeveralSites


@dataclasses.dataclass(frozen=True)
class CrosscoderConfig(AnyConfig):
    """The published coefficient and warm-up; every site has an input scale of its own."""

    architecture: str = "crosscoder"
    activation: str = key("relu", one_of("relu", "batchtopk"))
    """The activation function: relu has an L1 penalty, batchtopk chooses k features and has AuxK."""
    input_scale: str = "sqrt_width"
    widths: tuple[int, ...] = ()
    """Widths of the sites in a row. (): as the source says."""
    l1_coefficient: float = 2.0
    l1_warmup: float = 0.05

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        self.check_key("activation")
        widths, relu = self.widths or parts, self.activation == "relu"
        norms = SiteNorms(widths)
        return Recipe(
            activation=ReLU() if relu else BatchTopK(self.k, self.threshold_decay, norms),
            error=SumOfSquares() if relu else MeanSquares(),
            penalties=(L1(weights=norms) if relu else AuxK(self.aux_coefficient, self.k_aux, self.dead_rows),),
            sites=SeveralSites(widths),
            initial=DecoderFirst(self.tied_norm, row_norm=0.1 if relu else 1.0),
            apply_b_dec_to_input=False,
            unit_norm=False,
            b_dec_at_median=False,
            row_losses=None,
        )
