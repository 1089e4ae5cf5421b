"""A/0 of the paper: 512 features on the 512 post-ReLU activations of a one-layer transformer.

  python -m experiments.train_sae --workdir=runs/a0 --config=a0 --config.source=runs/store

The paper's schedule: 1M steps of 8,192 rows. Cost: 3 MFLOP a row, 2.1e+16 FLOP in all.
"""

from experiments import paper
from monosem_jax.stages.train_sae import SaeRunConfig


def get_config() -> SaeRunConfig:
    return paper.dictionary(0)
