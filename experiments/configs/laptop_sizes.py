"""Feature splitting on two CPU cores: --config=laptop_sae at 512, 1,024, 4,096 and 16,384 features, from one read.

  python -m experiments.sweep --workdir=runs/sizes --config=laptop_sizes --config.source=runs/a_store
  python -m experiments.compare --workdir=runs/splitting --config.runs=runs/sizes

About 40 minutes on two cores, of which the largest takes 25.
"""

import dataclasses

from experiments.configs import laptop_sae
from monosem_jax.stages.sweep import SweepConfig, SweepRunConfig

SIZES = (512, 1024, 4096, 16_384)


def get_config() -> SweepRunConfig:
    one = laptop_sae.get_config()
    shared = {f.name: getattr(one, f.name) for f in dataclasses.fields(one)}
    return SweepRunConfig(**shared, sweep=SweepConfig(sizes=SIZES, l1_coefficients=(one.sae.l1_coefficient,)))
