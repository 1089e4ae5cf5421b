"""Dictionaries on activations whose features are known: 512 of them in 256 dimensions, each active in 1 % of the rows.

  python -m experiments.train_sae --workdir=runs/synthetic --config=synthetic:topk

Variants: relu, april_2024, topk, batchtopk, jumprelu, gated, matryoshka, p_anneal, abs_topk. The summary has
`recovered`, the share of the true features that a dictionary vector matches with a cosine similarity above 0.9, and
`mean_max_cosine`; experiments/results/recovery.md has the numbers to expect. The same settings on other rows:
--config.source=ARRAY.
"""

import dataclasses

from experiments.short_runs import SHORT_RUNS
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import ScheduleConfig, TrainConfig

N_FEATURES = 1024
VARIANTS = tuple(SHORT_RUNS)


def get_config(variant: str = "relu") -> SaeRunConfig:
    train = TrainConfig(
        steps=4000,
        batch_size=256,
        learning_rate=1e-3,
        schedule=ScheduleConfig("linear", warmup_steps=100, final_fraction=0.0),
        steps_per_dispatch=50,
        log_every=200,
        checkpoint_every=1000,
    )
    sae = dataclasses.replace(SHORT_RUNS[variant].synthetic, n_features=N_FEATURES)
    return SaeRunConfig(source="synthetic", sae=sae, train=train, resample=ResampleConfig(steps=()))
