"""A transcoder of an MLP: from what goes into it to what comes out of it.

  python -m experiments.harvest   --workdir=runs/mlp --config.transformer=runs/transformer_a \\
      --config.harvest.site=mlp_in.0+mlp_out.0
  python -m experiments.train_sae --workdir=runs/transcoder --config=experiments/configs/transcoder.py \\
      --config.source=runs/mlp

`transcoder.py:skip` has a linear path beside the features; online, `--config.source=online` with
`--config.online.site=mlp_in.0+mlp_out.0`. Cost at 16,384 features of width 128: 21 MFLOP a row if all is multiplied,
1.7e+16 FLOP in all. Loss recovered is that with the MLP's output replaced.
"""

from experiments.entry import config_dict
from monosem_jax.sae.architectures.transcoder import TranscoderConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import ScheduleConfig, TrainConfig


def get_config(variant: str = ""):
    train = TrainConfig(
        steps=200_000,
        batch_size=4096,
        learning_rate=2e-4,
        schedule=ScheduleConfig("linear", final_fraction=0.0),
    )
    sae = TranscoderConfig(n_features=16_384, skip=variant == "skip")
    return config_dict(SaeRunConfig(sae=sae, train=train, resample=ResampleConfig(steps=())))
