"""A/3 of the paper: 32,768 features on the 512 post-ReLU activations of a one-layer transformer.

  python -m experiments.train_sae --workdir=runs/a3 --config=a3 --config.source=runs/store

The paper's schedule: 1M steps of 8,192 rows. Cost: 168 MFLOP a row, 1.4e+18 FLOP in all.
"""

from experiments import paper
from monosem_jax.stages.train_sae import SaeRunConfig


def get_config() -> SaeRunConfig:
    return paper.dictionary(3)
