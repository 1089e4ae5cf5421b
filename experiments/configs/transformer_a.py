"""Model A of the paper: one layer, d_model 128, d_mlp 512, ReLU. Model B is the same with another seed.

  python -m experiments.train_transformer --workdir=runs/transformer_a
  python -m experiments.train_transformer --workdir=runs/transformer_b --config=transformer_b

The paper trained on 100 B tokens of the Pile; it prints neither optimizer settings nor context length nor vocabulary.
These are for corpora of up to a few hundred megabytes on one accelerator: 1.3 B tokens in all.
"""

from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.stages.train_transformer import TransformerRunConfig
from monosem_jax.text.pack import TextConfig
from monosem_jax.training.config import OptimizerConfig, ScheduleConfig, TrainConfig


def get_config() -> TransformerRunConfig:
    return TransformerRunConfig(
        text=TextConfig(vocab_size=4096, seed=0),  # that of model B too
        transformer=TransformerConfig(context_length=256),
        train=TrainConfig(
            steps=40_000,
            batch_size=128,  # contexts
            learning_rate=3e-3,
            optimizer=OptimizerConfig(b2=0.95, weight_decay=0.1, clip_norm=1.0),
            schedule=ScheduleConfig("cosine", warmup_steps=1_000),
            steps_per_dispatch=50,
            log_every=100,
            evaluate_every=1_000,
            checkpoint_every=2_000,
        ),
    )
