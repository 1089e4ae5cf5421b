"""The recipe of Anthropic's update of April 2024, with which Scaling Monosemanticity was trained.

    f = ReLU(x W_enc + b_enc)        x̂ = f W_dec + b_dec
    loss = mean over the batch of  Σ_M (x - x̂)²  +  λ Σ_F f ‖W_dec,f‖

for activations of E‖x‖ = √M. Rows of W_dec are free; they start at norm 0.1, and W_enc as their transpose. There is no
resampling. A feature's activation is reported as f ‖W_dec,f‖, its direction as W_dec,f / ‖W_dec,f‖: so it is loaded.
"""

from __future__ import annotations

import dataclasses

from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.config import L1Config


@dataclasses.dataclass(frozen=True)
class AprilConfig(L1Config):
    """The published coefficient and warm-up."""

    architecture: str = "april_2024"
    input_scale: str = "sqrt_width"
    l1_coefficient: float = 5.0
    l1_warmup: float = 0.05


class April(SparseAutoencoder):
    """Parameters as everywhere; published ones have unit rows of W_dec."""

    UNIT_NORM = False
    ROW_NORM = 0.1
    CENTRED = False
    AT_MEDIAN = False
    RESAMPLES = False
    ERROR = "sum"
