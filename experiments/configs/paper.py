"""What the paper's configurations share: the sequence A/0 … A/5, with a million steps of 8,192 rows each.

  python -m experiments.train_sae --workdir=runs/a1 --config=paper:a1 --config.source=runs/store

`--config=a1` is the same.

The paper prints the L1 coefficient 0.004 for A/5 and says that the sequence shares one; it prints no learning rate.
Every other value is the default of its dataclass.
"""

from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.stages.train_sae import SaeRunConfig

SIZES = (512, 4096, 16_384, 32_768, 65_536, 131_072)
VARIANTS = tuple(f"a{i}" for i in range(len(SIZES)))


def get_config(variant: str = "a1") -> SaeRunConfig:
    return SaeRunConfig(sae=ReluConfig(n_features=SIZES[VARIANTS.index(variant)]))
