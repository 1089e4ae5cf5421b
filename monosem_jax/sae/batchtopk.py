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

from monosem_jax.errors import BadInput
from monosem_jax.sae import auxk
from monosem_jax.sae.base import SaeConfig
from monosem_jax.sae.dictionary import Dictionary


@dataclasses.dataclass(frozen=True)
class BatchTopKConfig(SaeConfig):
    """`k` features a row on average. `threshold_decay` is that of the running mean of the threshold; AuxK is as in
    `monosem_jax.sae.topk`."""

    architecture: str = "batchtopk"
    input_scale: str = "unit_rms"
    k: int = 32
    threshold_decay: float = 0.999
    aux_coefficient: float = 1 / 32
    k_aux: int = 512
    dead_rows: int = 10_000_000

    TRACED: ClassVar[tuple[str, ...]] = ()
    activation: ClassVar[str] = "batchtopk"

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        super().check()
        self.check_count("k")
        check_decay(self)
        auxk.check(self)


def check_decay(config: SaeConfig) -> None:
    """Raises BadInput on an impossible threshold_decay."""
    if not 0 <= config.threshold_decay < 1:
        raise BadInput(f"sae.threshold_decay is {config.threshold_decay}: expected 0 or more, and less than 1")


class BatchTopK(Dictionary):
    """The dictionary and its loss."""
