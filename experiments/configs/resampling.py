"""Does resampling help? The quickstart's dictionary with the paper's resampling, with Kaiming draws, and without any.

  for v in paper kaiming none unclipped; do
    python -m experiments.train_sae --workdir=runs/resampling_$v --config=resampling:$v \\
        --config.source=runs/quickstart/store --config.evaluate.split=validation
  done

A minute and a half each on two CPU cores. The variant unclipped is the paper's resampling without what the quickstart
adds to it: the gradient is not clipped and Adam's count is not restarted. experiments/results/resampling.md has tables.
"""

import dataclasses

from experiments.configs import quickstart
from monosem_jax.stages.train_sae import SaeRunConfig

VARIANTS = ("paper", "kaiming", "none", "unclipped")


def get_config(variant: str = "paper") -> SaeRunConfig:
    config = quickstart.get_config().sae
    if variant == "unclipped":
        optimizer = dataclasses.replace(config.train.optimizer, clip_norm=0.0)
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, optimizer=optimizer))
        changes = {"restart_adam": False}
    else:
        changes = {"steps": ()} if variant == "none" else {"method": variant}
    return dataclasses.replace(config, resample=dataclasses.replace(config.resample, **changes))
