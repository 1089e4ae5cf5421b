"""Toy models of superposition, at three sizes.

  python -m experiments.toy_models --workdir=runs/toys
  python -m experiments.toy_models --workdir=runs/toys_tiny --config=toy_models:tiny
  python -m experiments.toy_models --workdir=runs/toys_paper --config=toy_models:paper

tiny: about a minute on two CPU cores. paper: the geometry of 400 features in 30 dimensions, 50,000 steps of 4,096 rows
at a constant learning rate of 1e-3; for an accelerator.
"""

import dataclasses

from monosem_jax.stages.toy_models import ToyModelsConfig
from monosem_jax.toy.superposition import ToyConfig

VARIANTS = ("tiny", "paper")


def get_config(variant: str = "") -> ToyModelsConfig:
    config = ToyModelsConfig()
    if variant == "tiny":
        return tiny(config)
    if variant == "paper":
        geometry = ToyConfig(400, 30, steps=50_000, batch_size=4096, learning_rate=1e-3, final_fraction=1.0)
        return dataclasses.replace(config, instances=40, phase_points=33, phase_seeds=10, geometry=geometry)
    return config


def tiny(config: ToyModelsConfig) -> ToyModelsConfig:
    """The same studies with fewer and smaller models, and two architectures."""

    def shorter(own: ToyConfig, steps: int, **values) -> ToyConfig:
        return dataclasses.replace(own, steps=steps, batch_size=256, snapshots=min(own.snapshots, steps), **values)

    few = dataclasses.replace(
        config.dictionaries,
        architectures=("relu", "topk"),
        split_by=("topk",),
        absorb_by=("april_2024",),
        factors=(1, 4),
        steps=1500,
        rows=65_536,
    )
    return dataclasses.replace(
        config,
        instances=9,
        pictures=5,
        phase_points=5,
        phase_seeds=2,
        seeds=3,
        polygons=shorter(config.polygons, 2000),
        geometry=shorter(config.geometry, 1000, n_features=40, n_hidden=6),
        phase=shorter(config.phase, 800),
        pairs=shorter(config.pairs, 1000),
        groups=shorter(config.groups, 1000),
        learning=shorter(config.learning, 1500),
        hidden=shorter(config.hidden, 1500, n_features=40, n_hidden=12),
        families=shorter(config.families, 1000),
        dictionaries=few,
    )
