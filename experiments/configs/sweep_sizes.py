"""The paper's sequence A/0 … A/5: dictionaries of 512 … 131,072 features at one L1 coefficient.

  python -m experiments.sweep --workdir=runs/sizes --config.source=runs/store --plan
  python -m experiments.sweep --workdir=runs/sizes --config.source=runs/store

The paper's schedule: 1M steps of 8,192 rows. Cost: 1.0e+19 FLOP in all, five hours at 60 % of an H200's bf16 peak.
Expected: loss recovered rises and the squared error falls with size, while dead and ultralow features increase.
"""

from experiments import paper
from monosem_jax.stages.sweep import SweepConfig, SweepRunConfig


def get_config() -> SweepRunConfig:
    return SweepRunConfig(sweep=SweepConfig(sizes=paper.SIZES))
