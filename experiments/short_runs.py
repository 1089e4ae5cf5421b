"""Settings that work well for each architecture in a few thousand steps; a new architecture gets one entry here.

`--config=synthetic:NAME` and `--config=sweep_family:NAME` take them from this table.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from monosem_jax.sae import architectures as sae
from monosem_jax.sae.config import SaeConfig


@dataclasses.dataclass(frozen=True)
class ShortRun:
    """`synthetic` for the known features of --config=synthetic, `sweep` for the quickstart's store; those files set the
    size. `sparsities`: values of the key that decides how many features are active, from few to many."""

    synthetic: SaeConfig
    sweep: SaeConfig
    sparsities: tuple[float, ...]


# In short runs, encoders that start small do better. JumpReLU's thresholds must start below its first pre-activations,
# but not so low that they cannot rise far enough during the run.
TIED: dict[str, Any] = {"tied_norm": 0.1}
SMALL_AUXK: dict[str, Any] = {"k_aux": 64, "dead_rows": 50_000}
AUXK: dict[str, Any] = {"k_aux": 256, "dead_rows": 50_000, **TIED}
KS = (8.0, 16.0, 32.0, 64.0)
JUMP: dict[str, Any] = {"l0_warmup": 0.1, "bandwidth": 0.05}

SHORT_RUNS = {
    "relu": ShortRun(
        sae.ReluConfig(l1_coefficient=0.003, input_scale="unit_rms", l1_warmup=0.05),
        sae.ReluConfig(input_scale="unit_rms", l1_warmup=0.05, **TIED),
        (0.004, 0.002, 0.001, 0.0005),
    ),
    "april_2024": ShortRun(sae.AprilConfig(l1_coefficient=2.0), sae.AprilConfig(), (2.0, 1.0, 0.5, 0.25)),
    "topk": ShortRun(sae.TopKConfig(k=8, **SMALL_AUXK), sae.TopKConfig(**AUXK), KS),
    "batchtopk": ShortRun(sae.BatchTopKConfig(k=6, **SMALL_AUXK), sae.BatchTopKConfig(**AUXK), KS),
    "jumprelu": ShortRun(
        sae.JumpReluConfig(l0_coefficient=0.01, initial_threshold=0.05, **JUMP),
        sae.JumpReluConfig(target_l0=8.0, l0_coefficient=1.0, initial_threshold=0.02, tied_norm=0.3, **JUMP),
        KS,
    ),
    "gated": ShortRun(sae.GatedConfig(l1_coefficient=0.3), sae.GatedConfig(**TIED), (0.24, 0.12, 0.08, 0.05)),
    "abs_topk": ShortRun(sae.AbsTopKConfig(k=8, **SMALL_AUXK), sae.AbsTopKConfig(**AUXK), KS),
    "p_anneal": ShortRun(sae.PAnnealConfig(l1_coefficient=0.1), sae.PAnnealConfig(**TIED), (0.24, 0.12, 0.08, 0.05)),
    "matryoshka": ShortRun(sae.MatryoshkaConfig(k=5, **SMALL_AUXK), sae.MatryoshkaConfig(**AUXK), KS),
}
