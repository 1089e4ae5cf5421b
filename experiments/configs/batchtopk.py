"""BatchTopK with the settings of its authors' code: k = 32 on average, batches of 4,096, a billion rows.

  python -m experiments.train_sae --workdir=runs/batchtopk --config=batchtopk --config.source=runs/store

Cost at 16,384 features of width 512: 84 MFLOP a row if all is multiplied, 8.4e+16 FLOP in all. A feature counts as
dead after five batches in which it was not active, as in that code.
"""

from monosem_jax.sae.architectures.batchtopk import BatchTopKConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import OptimizerConfig, TrainConfig


def get_config() -> SaeRunConfig:
    train = TrainConfig(steps=244_000, batch_size=4096, learning_rate=3e-4, optimizer=OptimizerConfig(b2=0.99))
    sae = BatchTopKConfig(n_features=16_384, dead_rows=5 * 4096)
    return SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=()))
