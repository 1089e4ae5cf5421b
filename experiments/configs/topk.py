"""TopK with AuxK, with the settings of its authors' code: 32,768 features, k = 32, batches of 131,072 rows.

  python -m experiments.train_sae --workdir=runs/topk --config=topk --config.source=runs/store

`--config=topk:multi` adds the error with 4 k features. Cost at width 512: 168 MFLOP a row if all is multiplied, 2.2e+17
FLOP in all. The learning rate of another size n is about 2e-4 / sqrt(n / 2^14).
"""

from monosem_jax.sae.architectures.topk import TopKConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import OptimizerConfig, TrainConfig

VARIANTS = ("", "multi")


def get_config(variant: str = "") -> SaeRunConfig:
    train = TrainConfig(
        steps=10_000,
        batch_size=131_072,
        learning_rate=1e-4,
        optimizer=OptimizerConfig(eps=6.25e-10),
        steps_per_dispatch=10,
        log_every=100,
        checkpoint_every=1000,
    )
    sae = TopKConfig(n_features=32_768, multi=1 / 8 if variant == "multi" else 0.0)
    return SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=()))
