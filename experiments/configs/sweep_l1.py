"""One size at several L1 coefficients and two seeds: the Pareto front of sparsity against loss.

  python -m experiments.sweep --workdir=runs/l1 --config=sweep_l1 --config.source=runs/store

The paper's schedule: 1M steps of 8,192 rows. Cost: 1.7e+17 FLOP a member, 2.1e+18 in all.
Expected: L0 falls and the squared error rises with the coefficient.
"""

from monosem_jax.stages.sweep import SweepConfig, SweepRunConfig


def get_config() -> SweepRunConfig:
    grid = SweepConfig(sizes=(4096,), l1_coefficients=(0.001, 0.002, 0.004, 0.008, 0.016, 0.032), seeds=(0, 1))
    return SweepRunConfig(sweep=grid)
