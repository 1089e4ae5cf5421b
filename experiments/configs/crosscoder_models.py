"""A crosscoder of two models of the same text, with BatchTopK: which features both have, and which one alone.

  python -m experiments.train_transformer --workdir=runs/b/transformer --config=… --config.seed=1
  python -m experiments.harvest --workdir=runs/b/store --config.transformer=runs/b/transformer
  python -m experiments.train_sae --workdir=runs/crosscoder_models --config=crosscoder_models \\
      --config.source=runs/a/store,runs/b/store

The stores must be harvested with the same seed from the same text, so that row i is the same token in both; anything
else is refused in a line. `experiments.compare --config.crosscoder=…` tells features of both models from those of one.
--config.sae.activation=relu --config.sae.l1_coefficient=… trains with L1, which invents features of one model alone.
Cost at 2,048 features of twice 512: 21 MFLOP a row, 1.3e+14 FLOP in all.
Two models of the quickstart, with --config.train.steps=1500 --config.train.batch_size=1024: L0 32, loss recovered 0.996
and 0.999, 1,018 features that fire, none of one model alone; with L1 (2.8) L0 28, loss recovered 0.986 and 0.988, and
836 of 1,847 seem to be of one model alone, of which 321 are confirmed.
"""

from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import OptimizerConfig, ScheduleConfig, TrainConfig


def get_config() -> SaeRunConfig:
    train = TrainConfig(
        steps=3000,
        batch_size=2048,
        learning_rate=1e-3,
        optimizer=OptimizerConfig(clip_norm=1.0),
        schedule=ScheduleConfig("linear", final_fraction=0.2),
    )
    sae = CrosscoderConfig(n_features=2048, activation="batchtopk", k=32, dead_rows=500_000)
    return SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=()))
