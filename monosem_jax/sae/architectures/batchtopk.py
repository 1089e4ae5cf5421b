"""BatchTopK (Bussmann et al., 2024): rows differ in the number of active features; the mean over a batch is k.

    f = BatchTopK(ReLU((x - b_dec) W_enc + b_enc))        x̂ = f W_dec + b_dec
    loss = mean over the batch of  mean_M (x - x̂)²  +  α AuxK

BatchTopK keeps the k B largest activations of a batch of B rows, on all devices together. The mean over steps of the
smallest activation kept is the threshold. In the published form a feature is active if it exceeds this threshold, which
does not depend on the batch: a JumpReLU dictionary.
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
