"""Does resampling help? The quickstart's dictionary with the paper's resampling, with Kaiming draws, and without any.

  for v in paper kaiming none; do
    python -m experiments.train_sae --workdir=runs/resampling_$v --config=resampling:$v \\
        --config.source=runs/quickstart/store
  done

A minute and a half each on two CPU cores. experiments/results/quickstart.md has the table.
"""

import dataclasses

from experiments.configs import quickstart
from monosem_jax.stages.train_sae import SaeRunConfig

VARIANTS = ("paper", "kaiming", "none")


def get_config(variant: str = "paper") -> SaeRunConfig:
    config = quickstart.get_config().sae
    changes = {"steps": ()} if variant == "none" else {"method": variant}
    return dataclasses.replace(config, resample=dataclasses.replace(config.resample, **changes))
