"""A/4 of the paper: 65,536 features on the 512 post-ReLU activations of a one-layer transformer.

  python -m experiments.train_sae --workdir=runs/a4 --config=a4 --config.source=runs/store

The paper's schedule: 1M steps of 8,192 rows. Cost: 336 MFLOP a row, 2.7e+18 FLOP in all.
"""

from experiments import paper
from monosem_jax.stages.train_sae import SaeRunConfig


def get_config() -> SaeRunConfig:
    return paper.dictionary(4)
