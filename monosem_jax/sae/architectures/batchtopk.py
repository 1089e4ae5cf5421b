"""BatchTopK (Bussmann et al., 2024): a row may have more features than another, a batch has k of them on average.

    f = BatchTopK(ReLU((x - b_dec) W_enc + b_enc))        x̂ = f W_dec + b_dec
    loss = mean over the batch of  mean_M (x - x̂)²  +  α AuxK

BatchTopK keeps the k B largest activations of a batch of B rows, on all devices together. The smallest one it keeps is
averaged over steps; published, a feature is active where it exceeds that threshold, whatever else is in the batch, and
the dictionary is a JumpReLU one.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.config import TopConfig


@dataclasses.dataclass(frozen=True)
class BatchTopKConfig(TopConfig):
    """`k` features a row on average. `threshold_decay` is that of the running mean of the threshold."""

    architecture: str = "batchtopk"
    threshold_decay: float = 0.999

    activation: ClassVar[str] = "batchtopk"


class BatchTopK(SparseAutoencoder):
    """The dictionary and its loss."""
