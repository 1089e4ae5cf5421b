"""TopK with AuxK (Gao et al., 2024, "Scaling and evaluating sparse autoencoders").

    f = ReLU(TopK((x - b_dec) W_enc + b_enc))        x̂ = f W_dec + b_dec
    loss = mean over the batch of  mean_M (x - x̂)² / variance  +  α AuxK  (+ multi · the same error with 4 k)

`variance` is the mean over M of the activations' variance. Rows of W_dec have unit norm, W_enc starts as their
transpose and b_dec at the geometric median. Of equal activations the first features are taken.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from monosem_jax.sae import gradients as learning
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.config import TopConfig
from monosem_jax.sae.ops import top_k as select
from monosem_jax.sae.step_context import Encoded, StepContext

MULTI = 4  # times k features reconstruct in the second term of Multi-TopK


@dataclasses.dataclass(frozen=True)
class TopKConfig(TopConfig):
    """`multi`: the weight of the error with 4 k features (1/8 in Multi-TopK), so that other numbers of features may be
    used later."""

    architecture: str = "topk"
    multi: float = 0.0

    activation: ClassVar[str] = "topk"


class TopK(SparseAutoencoder):
    """The dictionary and its loss."""

    ERROR = "variance"

    @property
    def by_index(self) -> bool:
        return not self.config.multi

    def activate(self, h: Float[Array, "b F"], here: StepContext) -> Encoded:
        code = super().activate(h, here)
        if not self.config.multi:
            return code
        z = jnp.maximum(h + self.b_enc, 0)
        mask = select.row_mask(z, min(MULTI * self.config.k, here.n_features), here.axes)
        wide = learning.decode(jnp.where(mask, z, 0), self.W_dec, mask, here, self.dtype)
        return code._replace(sums={**code.sums, "wide": wide})

    def penalise(self, loss, terms, sums, error, here):
        if "wide" in sums:
            wide = self.weigh(jnp.sum(jnp.square(error + sums["wide"] - sums["y_hat"])), here)
            loss, terms = loss + self.config.multi * wide, {**terms, "wide": wide}
        return super().penalise(loss, terms, sums, error, here)
