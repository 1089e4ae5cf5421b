"""A/1 of the paper: 4,096 features on the 512 post-ReLU activations of a one-layer transformer.

  python -m experiments.train_sae --workdir=runs/a1 --config=a1 --config.source=runs/store

The paper's schedule: 1M steps of 8,192 rows. Cost: 21 MFLOP a row, 1.7e+17 FLOP in all.
"""

from experiments import paper
from monosem_jax.stages.train_sae import SaeRunConfig


def get_config() -> SaeRunConfig:
    return paper.dictionary(1)
