"""A/1 of the paper: 4096 features on the 512 post-ReLU activations of a one-layer transformer.

  python -m experiments.train_sae --workdir=runs/a1 --config=experiments/configs/a1.py --config.source=runs/store

The paper's schedule: 1M steps of 8,192 rows. Cost: 21 MFLOP a row, 1.7e+17 FLOP in all.
The paper prints the L1 coefficient 0.004 for A/5 and says that the sequence shares one; it prints no learning rate.
"""

from experiments.entry import config_dict
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.stages.train_sae import SaeRunConfig


def get_config():
    return config_dict(SaeRunConfig(sae=ReluConfig(n_features=4096)))
