"""AbsTopK: 64 features a row, of either sign, with the settings of TopK at this size.

  python -m experiments.train_sae --workdir=runs/abs_topk --config=abs_topk --config.source=runs/store

Cost at 16,384 features of width 512: as of TopK with the same `sae.sparse`. A feature is also active on a row where its
activation is negative.
"""

from monosem_jax.sae.architectures.abs_topk import AbsTopKConfig
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
    sae = AbsTopKConfig(n_features=16_384, k=64, k_aux=256)
    return SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=()))
