"""A/5 of the paper: 131,072 features on the 512 post-ReLU activations of a one-layer transformer.

  python -m experiments.train_sae --workdir=runs/a5 --config=a5 --config.source=runs/store

The paper's schedule: 1M steps of 8,192 rows. Cost: 671 MFLOP a row, 5.5e+18 FLOP in all.
"""

from experiments import paper
from monosem_jax.stages.train_sae import SaeRunConfig


def get_config() -> SaeRunConfig:
    return paper.dictionary(5)
