"""Gated dictionaries with the settings of the best-known open trainer of them: Adam (0, 0.999) at 5e-5.

  python -m experiments.train_sae --workdir=runs/gated --config=gated --config.source=runs/store

Cost at 16,384 features of width 512: 134 MFLOP a row (eight products instead of five), 1.1e+17 FLOP in all. The L1
coefficient is for activations of E‖x‖² = 1.
"""

from monosem_jax.sae.architectures.gated import GatedConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import OptimizerConfig, ScheduleConfig, TrainConfig


def get_config() -> SaeRunConfig:
    train = TrainConfig(
        steps=200_000,
        batch_size=4096,
        learning_rate=5e-5,
        optimizer=OptimizerConfig(b1=0.0),
        schedule=ScheduleConfig("linear", warmup_steps=1000, final_fraction=0.0),
    )
    sae = GatedConfig(n_features=16_384)
    return SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=()))
