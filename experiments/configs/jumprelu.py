"""JumpReLU with the recipe of Gemma Scope: 16,384 features, four billion rows in batches of 4,096.

  python -m experiments.train_sae --workdir=runs/jumprelu --config=experiments/configs/jumprelu.py \\
      --config.source=runs/store

Cost at width 512: 84 MFLOP a row, 3.4e+17 FLOP in all. Its bandwidth of 0.001 is made for such many rows: shorter runs
need a wider one and thresholds that begin higher (experiments/configs/sweep_family.py). The learning rate rises
linearly from 0 here, there by a cosine from a tenth.
"""

from experiments.entry import config_dict
from monosem_jax.sae.architectures.jumprelu import JumpReluConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import OptimizerConfig, ScheduleConfig, TrainConfig


def get_config():
    train = TrainConfig(
        steps=976_000,
        batch_size=4096,
        learning_rate=7e-5,
        optimizer=OptimizerConfig(b1=0.0),
        schedule=ScheduleConfig(warmup_steps=1000),
    )
    sae = JumpReluConfig(n_features=16_384)
    return config_dict(SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=())))
