"""Models A and B for two CPU cores: one layer, d_model 128, d_mlp 512, and a corpus of tens of megabytes of your own.

  python -m experiments.train_transformer --workdir=runs/a --config=laptop_transformer --config.text.corpus=PATH
  python -m experiments.train_transformer --workdir=runs/b --config=laptop_transformer:b --config.text.corpus=PATH

Model B has another seed and the same text. 17 to 20 minutes each on two cores, of which five prepare 124 MB of text and
three evaluate 4.5 M held-out tokens. On a corpus of 31 kinds of text: held-out loss 4.08, the bigram's 4.65.
"""

import dataclasses

from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.stages.train_transformer import TransformerRunConfig
from monosem_jax.text.pack import TextConfig
from monosem_jax.training.config import OptimizerConfig, ScheduleConfig, TrainConfig

VARIANTS = ("a", "b")


def get_config(variant: str = "a") -> TransformerRunConfig:
    config = TransformerRunConfig(
        text=TextConfig(vocab_size=4096, seed=0),  # that of model B too
        transformer=TransformerConfig(context_length=128),
        train=TrainConfig(
            steps=3_200,
            batch_size=16,  # contexts
            learning_rate=4e-3,
            optimizer=OptimizerConfig(b2=0.95, weight_decay=0.1, clip_norm=1.0),
            schedule=ScheduleConfig("cosine", warmup_steps=160),
            steps_per_dispatch=20,
            log_every=100,
            evaluate_every=400,
            checkpoint_every=400,
        ),
    )
    return dataclasses.replace(config, seed=1) if variant == "b" else config
