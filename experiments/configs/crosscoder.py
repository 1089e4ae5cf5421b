"""A crosscoder of two models, or of several sites of one, with the recipe of April 2024.

  python -m experiments.train_sae --workdir=runs/crosscoder --config=crosscoder \\
      --config.source=runs/store_a,runs/store_b

The stores of two models must have the same text and tokenizer and be harvested with the same seed, so that row i is the
same token in both. Several sites of one model: harvest one store with --config.harvest.site=resid_pre.0+mlp_out.0.
Cost at 16,384 features of twice 512: 168 MFLOP a row, 1.4e+17 FLOP in all.
"""

from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
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
    sae = CrosscoderConfig(n_features=16_384)
    return SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=()))
