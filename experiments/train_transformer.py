"""Trains the transformer: text to tokenizer to packed contexts to a model with held-out loss and checkpoints.

python -m experiments.train_transformer --workdir=runs/transformer_a
python -m experiments.train_transformer --workdir=runs/b --config=experiments/configs/transformer_b.py
python -m experiments.train_transformer --workdir=runs/mine --config.text.corpus=PATH --config.train.steps=5000
"""

from experiments.entry import launch

if __name__ == "__main__":
    launch("train_transformer", "TransformerRunConfig", "transformer_a.py")
