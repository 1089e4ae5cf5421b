"""Models A and B for two CPU cores: one layer, d_model 128, d_mlp 512, and a corpus of tens of megabytes of your own.

  python -m experiments.train_transformer --workdir=runs/a --config=laptop_transformer --config.text.corpus=PATH
  python -m experiments.train_transformer --workdir=runs/b --config=laptop_transformer:b --config.text.corpus=PATH

Model B has another seed and the same text. 17 to 20 minutes each on two cores, of which five prepare 124 MB of text and
three evaluate 4.5 M held-out tokens. On a corpus of 31 kinds of text: held-out loss 4.08, the bigram's 4.65.
"""

import dataclasses

from experiments.configs import quickstart
from monosem_jax.stages.train_transformer import TransformerRunConfig

VARIANTS = ("a", "b")


def get_config(variant: str = "a") -> TransformerRunConfig:
    config = quickstart.get_config().transformer
    train = dataclasses.replace(
        config.train,
        steps=3_200,
        schedule=dataclasses.replace(config.train.schedule, warmup_steps=160),
        log_every=100,
        evaluate_every=400,
        checkpoint_every=400,
    )
    text = dataclasses.replace(config.text, seed=0)  # that of model B too
    return dataclasses.replace(config, seed=int(variant == "b"), text=text, train=train)
