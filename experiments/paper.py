"""The paper's dictionaries A/0 … A/5, which differ only in size: --config=a0 … a5, and together --config=sweep_sizes.

The paper prints the L1 coefficient 0.004 for A/5 and says that the sequence shares one; it prints no learning rate.
"""

from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.stages.train_sae import SaeRunConfig

SIZES = (512, 4096, 16_384, 32_768, 65_536, 131_072)


def dictionary(number: int) -> SaeRunConfig:
    """A/number: a million steps of 8,192 rows, and every other value the default of its dataclass."""
    return SaeRunConfig(sae=ReluConfig(n_features=SIZES[number]))
