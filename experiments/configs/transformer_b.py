"""Model B of the paper: model A with another seed.

python -m experiments.train_transformer --workdir=runs/transformer_b --config=transformer_b
"""

import dataclasses

from experiments.configs import transformer_a
from monosem_jax.stages.train_transformer import TransformerRunConfig


def get_config() -> TransformerRunConfig:
    return dataclasses.replace(transformer_a.get_config(), seed=1)
