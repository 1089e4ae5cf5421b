"""A transcoder of an MLP: from what goes into it to what comes out of it.

  python -m experiments.harvest   --workdir=runs/mlp --config.transformer=runs/transformer_a \\
      --config.harvest.site=mlp_in.0+mlp_out.0
  python -m experiments.train_sae --workdir=runs/transcoder --config=transcoder --config.source=runs/mlp

`--config=transcoder:skip` adds a linear path beside the features. Online: `--config.source=online` with
`--config.online.site=mlp_in.0+mlp_out.0`. Cost at 16,384 features of width 128: 21 MFLOP a row if all is multiplied,
1.7e+16 FLOP in all. Loss recovered is measured with the MLP's output replaced.
"""

from monosem_jax.sae.architectures.transcoder import TranscoderConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import ScheduleConfig, TrainConfig

VARIANTS = ("", "skip")


def get_config(variant: str = "") -> SaeRunConfig:
    schedule = ScheduleConfig("linear", final_fraction=0.0)
    train = TrainConfig(steps=200_000, batch_size=4096, learning_rate=2e-4, schedule=schedule)
    sae = TranscoderConfig(n_features=16_384, skip=variant == "skip")
    return SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=()))
