"""Every architecture at four settings of sparsity, at a laptop's size: which reconstructs best with how many features?

  for v in relu april_2024 topk batchtopk jumprelu gated matryoshka; do
    python -m experiments.sweep --workdir=runs/family/$v --config=experiments/configs/sweep_family.py:$v \\
        --config.source=runs/quickstart/store
  done
  python -m experiments.sweep --workdir=runs/family --compare

All see the same 512,000 rows in the same order, with the same schedule of the learning rate. BUILD_NOTES.md has the
table.
"""

from experiments.entry import config_dict
from monosem_jax.sae import architectures as sae
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.sweep import SweepConfig, SweepRunConfig
from monosem_jax.training.config import ScheduleConfig, TrainConfig

SIZE = 2048
# In so few steps encoders that start small do better. JumpReLU's thresholds must be smaller than what they give first,
# and not so small that they cannot rise to where they belong.
TIED = {"tied_norm": 0.1}
AUXK = {"k_aux": 256, "dead_rows": 50_000, **TIED}
KS = (8.0, 16.0, 32.0, 64.0)
# The configuration of an architecture, and the values of the key that decides how many features are active.
FAMILY = {
    "relu": (sae.ReluConfig(input_scale="unit_rms", l1_warmup=0.05, **TIED), (0.004, 0.002, 0.001, 0.0005)),
    "april_2024": (sae.AprilConfig(), (2.0, 1.0, 0.5, 0.25)),
    "topk": (sae.TopKConfig(**AUXK), KS),
    "batchtopk": (sae.BatchTopKConfig(**AUXK), KS),
    "jumprelu": (
        sae.JumpReluConfig(
            target_l0=8.0, l0_coefficient=1.0, l0_warmup=0.1, bandwidth=0.05, initial_threshold=0.02, tied_norm=0.3
        ), KS,
    ),
    "gated": (sae.GatedConfig(**TIED), (0.24, 0.12, 0.08, 0.05)),
    "matryoshka": (sae.MatryoshkaConfig(**AUXK), KS),
}  # fmt: skip


def get_config(variant: str = "relu"):
    config, values = FAMILY[variant]
    train = TrainConfig(
        steps=2000,
        batch_size=256,
        learning_rate=2e-3,
        steps_per_dispatch=50,
        log_every=100,
        checkpoint_every=1000,
        schedule=ScheduleConfig("linear", warmup_steps=100, final_fraction=0.0),
    )
    # In so few steps the loss does not come back from a resampling event.
    resample = ResampleConfig(steps=())
    grid = SweepConfig(sizes=(SIZE,), sparsities=values)
    return config_dict(SweepRunConfig(sae=config, train=train, resample=resample, sweep=grid))
