"""Dictionaries on activations whose features are known: 512 of them in 256 dimensions, each active in 1 % of the rows.

  python -m experiments.train_sae --workdir=runs/synthetic --config=experiments/configs/synthetic.py:topk

Variants: relu, april_2024, topk, batchtopk, jumprelu, gated, matryoshka. The summary has `recovered`, the share of the
true features of which a vector with a cosine similarity above 0.9 was found, and `mean_max_cosine`; numbers to expect
are in README.md. The same settings on other rows: --config.source=ARRAY.
"""

from experiments.entry import config_dict
from monosem_jax.sae import architectures as sae
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import ScheduleConfig, TrainConfig

N_FEATURES = 1024
AUXK = {"k_aux": 64, "dead_rows": 50_000}
SAES = {
    "relu": sae.ReluConfig(n_features=N_FEATURES, l1_coefficient=0.003, input_scale="unit_rms", l1_warmup=0.05),
    "april_2024": sae.AprilConfig(n_features=N_FEATURES, l1_coefficient=2.0),
    "topk": sae.TopKConfig(n_features=N_FEATURES, k=8, **AUXK),
    "batchtopk": sae.BatchTopKConfig(n_features=N_FEATURES, k=6, **AUXK),
    "jumprelu": sae.JumpReluConfig(
        n_features=N_FEATURES, l0_coefficient=0.01, l0_warmup=0.1, bandwidth=0.05, initial_threshold=0.05
    ),
    "gated": sae.GatedConfig(n_features=N_FEATURES, l1_coefficient=0.3),
    "matryoshka": sae.MatryoshkaConfig(n_features=N_FEATURES, k=5, **AUXK),
}


def get_config(variant: str = "relu"):
    train = TrainConfig(
        steps=4000,
        batch_size=256,
        learning_rate=1e-3,
        steps_per_dispatch=50,
        log_every=200,
        checkpoint_every=1000,
        schedule=ScheduleConfig("linear", warmup_steps=100, final_fraction=0.0),
    )
    resample = ResampleConfig(steps=())
    return config_dict(SaeRunConfig(source="synthetic", sae=SAES[variant], train=train, resample=resample))
