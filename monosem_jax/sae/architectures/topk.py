"""TopK with AuxK (Gao et al., 2024, "Scaling and evaluating sparse autoencoders").

    f = ReLU(TopK((x - b_dec) W_enc + b_enc))        x̂ = f W_dec + b_dec
    loss = mean over the batch of  mean_M (x - x̂)² / variance  +  α AuxK  (+ multi · the same error with 4 k)

`variance` is the mean over M of the activations' variance. Rows of W_dec have unit norm, W_enc starts as their
transpose and b_dec at the geometric median. Ties between activations go to the first features.
"""

from __future__ import annotations

import dataclasses

from monosem_jax.sae.activation_fns import TopK
from monosem_jax.sae.config import NUMBER, TopConfig, key
from monosem_jax.sae.errors import ShareOfVariance, WithMoreFeatures
from monosem_jax.sae.params import DecoderFirst
from monosem_jax.sae.penalties import AuxK
from monosem_jax.sae.recipe import Recipe

MULTI = 4  # the second term of Multi-TopK uses this many times k features


@dataclasses.dataclass(frozen=True)
class TopKConfig(TopConfig):
    """TopK or, with `multi`, Multi-TopK, which can also be used with other k after training."""

    architecture: str = "topk"
    multi: float = key(0.0, NUMBER)
    """The weight of the error with 4 k features; Multi-TopK has 1/8."""

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        error = ShareOfVariance()
        return Recipe(
            activation=TopK(self.k),
            error=WithMoreFeatures(error, MULTI * self.k, self.multi) if self.multi else error,
            penalties=(AuxK(self.aux_coefficient, self.k_aux, self.dead_rows),),
            initial=DecoderFirst(self.tied_norm),
        )
