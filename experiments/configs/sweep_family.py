"""Every architecture at four settings of sparsity, at a laptop's size: which reconstructs best with how many features?

  for v in relu april_2024 topk batchtopk jumprelu gated matryoshka p_anneal abs_topk; do
    python -m experiments.sweep --workdir=runs/family/$v --config=sweep_family:$v --config.source=runs/quickstart/store
  done
  python -m experiments.sweep --workdir=runs/family --compare

All train on the same 512,000 rows in the same order with the same learning rate schedule.
experiments/results/fronts.md has the table.
"""

from experiments.short_runs import SHORT_RUNS
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.sweep import SweepConfig, SweepRunConfig
from monosem_jax.training.config import ScheduleConfig, TrainConfig

SIZE = 2048
VARIANTS = tuple(SHORT_RUNS)


def get_config(variant: str = "relu") -> SweepRunConfig:
    chosen = SHORT_RUNS[variant]
    train = TrainConfig(
        steps=2000,
        batch_size=256,
        learning_rate=2e-3,
        schedule=ScheduleConfig("linear", warmup_steps=100, final_fraction=0.0),
        steps_per_dispatch=50,
        log_every=100,
        checkpoint_every=1000,
    )
    resample = ResampleConfig(steps=())  # in so few steps the loss does not recover from a resampling event
    grid = SweepConfig(sizes=(SIZE,), sparsities=chosen.sparsities)
    return SweepRunConfig(sae=chosen.sweep, train=train, resample=resample, sweep=grid)
