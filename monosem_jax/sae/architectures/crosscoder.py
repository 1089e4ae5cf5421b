"""Crosscoders (Lindsey et al., 2024): one set of features for several sites, or several models.

    f = ReLU(Σ_s x_s W_enc,s + b_enc)        x̂_s = f W_dec,s + b_dec,s
    loss = mean over the batch of  Σ_s Σ_M (x_s - x̂_s)²  +  λ Σ_F f Σ_s ‖W_dec,s,f‖

A row is the concatenation of the activations of all sites, each scaled to E‖x_s‖ = √M_s; the columns of W_dec have the
same order and scale. The norms of the parts of a feature's row of W_dec show which sites the feature belongs to.
Everything else is as in the recipe of April 2024. Parameters are W_enc [ΣM,F], b_enc [F], W_dec [F,ΣM], b_dec [ΣM].
"""

from __future__ import annotations

import dataclasses

from monosem_jax.sae.config import L1Config
from monosem_jax.sae.errors import SumOfSquares
from monosem_jax.sae.params import DecoderFirst
from monosem_jax.sae.penalties import L1, SiteNorms
from monosem_jax.sae.recipe import Recipe
from monosem_jax.sae.sites import SeveralSites


@dataclasses.dataclass(frozen=True)
class CrosscoderConfig(L1Config):
    """The published coefficient and warm-up; every site has an input scale of its own."""

    architecture: str = "crosscoder"
    input_scale: str = "sqrt_width"
    widths: tuple[int, ...] = ()
    """Widths of the sites in a row. (): as the source says."""
    l1_coefficient: float = 2.0
    l1_warmup: float = 0.05

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        return Recipe(
            error=SumOfSquares(),
            penalties=(L1(weights=SiteNorms(self.widths or parts)),),
            sites=SeveralSites(self.widths or parts),
            initial=DecoderFirst(self.tied_norm, row_norm=0.1),
            apply_b_dec_to_input=False,
            unit_norm=False,
            b_dec_at_median=False,
            row_losses=None,
        )
