"""The recipe of Anthropic's update of April 2024, which Scaling Monosemanticity used.

    f = ReLU(x W_enc + b_enc)        x̂ = f W_dec + b_dec
    loss = mean over the batch of  Σ_M (x - x̂)²  +  λ Σ_F f ‖W_dec,f‖

for activations with E‖x‖ = √M. Rows of W_dec are free; they start at norm 0.1, and W_enc as their transpose. There is
no resampling. The published form, which loading returns, has activations f ‖W_dec,f‖ and directions
W_dec,f / ‖W_dec,f‖.
"""

from __future__ import annotations

import dataclasses

from monosem_jax.sae.config import L1Config
from monosem_jax.sae.errors import SumOfSquares
from monosem_jax.sae.params import DecoderFirst, row_norms
from monosem_jax.sae.penalties import L1
from monosem_jax.sae.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class AprilConfig(L1Config):
    """The published coefficient and warm-up."""

    architecture: str = "april_2024"
    input_scale: str = "sqrt_width"
    l1_coefficient: float = 5.0
    l1_warmup: float = 0.05

    def recipe(self, parts: tuple[int, ...] = ()) -> Recipe:
        return Recipe(
            error=SumOfSquares(),
            penalties=(L1(weights=row_norms),),
            initial=DecoderFirst(self.tied_norm, row_norm=0.1),
            apply_b_dec_to_input=False,
            unit_norm=False,
            b_dec_at_median=False,
            row_losses=None,
        )
