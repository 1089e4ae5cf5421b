"""Trains the transformer: text to tokenizer to packed contexts to a model with held-out loss and checkpoints.

  python -m experiments.train_transformer --workdir=runs/transformer_a
  python -m experiments.train_transformer --workdir=runs/transformer_b --config=transformer_b
  python -m experiments.train_transformer --workdir=runs/mine --config.text.corpus=PATH --config.train.steps=5000
  python -m experiments.train_transformer --workdir=runs/control --shuffle_of=runs/transformer_a

The last one trains nothing: it makes the paper's control, a transformer whose every weight matrix has its entries in
random order, from a finished run. Harvest it and train a dictionary on it like on any other.
"""

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from monosem_jax.stages import shuffle_transformer, train_transformer

    return shuffle_transformer.shuffle_transformer if flags["shuffle_of"] else train_transformer.train_transformer


FLAGS = {
    "shuffle_of": Flag(
        "A finished train_transformer run to make the control of; takes config.seed alone.", sets=("shuffle_of",)
    ),
}
EXPERIMENT = Experiment(__doc__, stage, config="transformer_a", flags=FLAGS)

if __name__ == "__main__":
    launch(EXPERIMENT)
