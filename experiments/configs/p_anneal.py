"""p-annealing: L1 whose exponent falls from 1 to 0.2, with the optimizer of SAEBench's dictionaries.

  python -m experiments.train_sae --workdir=runs/p_anneal --config=p_anneal --config.source=runs/store

Cost at 16,384 features of width 512: 84 MFLOP a row, 6.9e+16 FLOP in all. The coefficient is for activations of
E‖x‖² = 1; `sae.p_end`, `sae.anneal_start` and `sae.p_updates` say how far, from when and how often the exponent falls.
"""

from monosem_jax.sae.architectures.p_anneal import PAnnealConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import ScheduleConfig, TrainConfig


def get_config() -> SaeRunConfig:
    train = TrainConfig(
        steps=200_000,
        batch_size=4096,
        learning_rate=3e-4,
        schedule=ScheduleConfig("linear", warmup_steps=1000, final_fraction=0.0),
    )
    sae = PAnnealConfig(n_features=16_384)
    return SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=()))
