"""The recipe of April 2024 ("Update on how we train SAEs"), as published: 200,000 steps of 4,096 rows.

  python -m experiments.train_sae --workdir=runs/april --config=april_2024 --config.source=runs/store

Cost at 16,384 features of width 512: 84 MFLOP a row, 6.9e+16 FLOP in all.
"""

from monosem_jax.sae.architectures.april_2024 import AprilConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import OptimizerConfig, ScheduleConfig, TrainConfig


def get_config() -> SaeRunConfig:
    train = TrainConfig(
        steps=200_000,
        batch_size=4096,
        learning_rate=5e-5,
        optimizer=OptimizerConfig(clip_norm=1.0),
        schedule=ScheduleConfig("linear", final_fraction=0.0),
    )
    sae = AprilConfig(n_features=16_384)
    return SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=()))
