"""Model B of the paper: model A with another seed.

python -m experiments.train_transformer --workdir=runs/transformer_b --config=experiments/configs/transformer_b.py
"""

from experiments.configs import transformer_a


def get_config():
    config = transformer_a.get_config()
    config.seed = 1
    return config
