"""JumpReLU with the recipe of Gemma Scope: 16,384 features, four billion rows in batches of 4,096.

  python -m experiments.train_sae --workdir=runs/jumprelu --config=jumprelu --config.source=runs/store

Cost at width 512: 84 MFLOP a row, 3.4e+17 FLOP in all. The bandwidth of 0.001 suits a run of this length: shorter runs
need a wider one and higher initial thresholds (--config=sweep_family:jumprelu). The learning rate rises linearly from
0 here; in Gemma Scope it rises by a cosine from a tenth.
"""

from monosem_jax.sae.architectures.jumprelu import JumpReluConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import OptimizerConfig, ScheduleConfig, TrainConfig


def get_config() -> SaeRunConfig:
    train = TrainConfig(
        steps=976_000,
        batch_size=4096,
        learning_rate=7e-5,
        optimizer=OptimizerConfig(b1=0.0),
        schedule=ScheduleConfig(warmup_steps=1000),
    )
    sae = JumpReluConfig(n_features=16_384)
    return SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=()))
