"""Matryoshka on BatchTopK with the settings of its authors' code: 36,864 features in five groups, 500 M rows.

  python -m experiments.train_sae --workdir=runs/matryoshka --config=matryoshka --config.source=runs/store

`--config=matryoshka:relu` uses the L1 penalty instead, `:topk` selects within each row. Cost at width 512: 189 MFLOP a
row if all is multiplied, 9.4e+16 FLOP in all.
"""

from monosem_jax.sae.architectures.matryoshka import MatryoshkaConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import OptimizerConfig, TrainConfig

VARIANTS = ("batchtopk", "topk", "relu")


def get_config(variant: str = "batchtopk") -> SaeRunConfig:
    train = TrainConfig(steps=122_000, batch_size=4096, learning_rate=3e-4, optimizer=OptimizerConfig(b2=0.99))
    sae = MatryoshkaConfig(n_features=36_864, activation=variant, dead_rows=20 * 4096)
    return SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=()))
