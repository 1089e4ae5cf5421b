"""BatchTopK (Bussmann et al., 2024): a row may have more features than another, a batch has k of them on average.

    f = BatchTopK(ReLU((x - b_dec) W_enc + b_enc))        x̂ = f W_dec + b_dec
    loss = mean over the batch of  mean_M (x - x̂)²  +  α AuxK

BatchTopK keeps the k B largest activations of a batch of B rows, on all devices together. The smallest one it keeps is
averaged over steps; published, a feature is active where it exceeds that threshold, whatever else is in the batch, and
the dictionary is a JumpReLU one.
"""

from __future__ import annotations

import dataclasses

from monosem_jax.sae.activation_fns import BatchTopK
from monosem_jax.sae.config import DECAY, TopConfig, key
from monosem_jax.sae.params import DecoderFirst
from monosem_jax.sae.penalties import AuxK
from monosem_jax.sae.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class BatchTopKConfig(TopConfig):
    """`k` features a row on average."""

    architecture: str = "batchtopk"
    threshold_decay: float = key(0.999, DECAY)
    """Of the running mean, over steps, of batchtopk's threshold."""

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        return Recipe(
            activation=BatchTopK(self.k, self.threshold_decay),
            penalties=(AuxK(self.aux_coefficient, self.k_aux, self.dead_rows),),
            initial=DecoderFirst(self.tied_norm),
        )
