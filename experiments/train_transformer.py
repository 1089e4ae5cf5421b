"""Trains the transformer: text to tokenizer to packed contexts to a model with held-out loss and checkpoints.

python -m experiments.train_transformer --workdir=runs/transformer_a
python -m experiments.train_transformer --workdir=runs/transformer_b --config=transformer_b
python -m experiments.train_transformer --workdir=runs/mine --config.text.corpus=PATH --config.train.steps=5000
"""

from experiments.entry import Experiment, launch


def stage(flags):
    from monosem_jax.stages import train_transformer

    return train_transformer.run


EXPERIMENT = Experiment(__doc__, stage, config="transformer_a")

if __name__ == "__main__":
    launch(EXPERIMENT)
