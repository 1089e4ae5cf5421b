"""The pictures of the paper: which toy models are trained for each, and the table that each becomes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from monosem_jax.toy import geometry
from monosem_jax.toy.superposition import ToyConfig, Toys, train_toys

Rows = list[dict[str, Any]]


def polygons(config: ToyConfig, instances: int, base: float = 0.9, densest_over: float = 20.0) -> tuple[Toys, Rows]:
    """Few features of falling importance, base^i, from dense (p = 1) to sparse (1 / `densest_over`): the polygons
    that they form."""
    p = densest_over ** -np.linspace(0, 1, instances)
    toys = train_toys(config, p, base ** np.arange(config.n_features), np.arange(instances), "polygons")
    rows = [
        {
            "p": float(p[i]),
            "loss": float(toys.final_loss[i]),
            "norms": geometry.norms(toys.W[i]).tolist(),
            "polytopes": [found.name for found in geometry.polytopes(toys.W[i])],
        }
        for i in range(instances)
    ]
    return toys, rows


def dimensions(config: ToyConfig, instances: int, densest_over: float = 100.0) -> tuple[Toys, Rows]:
    """Many equally important features, 1 / (1 − S) from 1 to `densest_over`: dimensions per feature, and how many
    features lie at each level of dimensionality."""
    p = densest_over ** -np.linspace(0, 1, instances)
    toys = train_toys(config, p, 1.0, np.arange(instances), "geometry")
    d_star, found = geometry.dimensions_per_feature(toys.W), geometry.dimensionality(toys.W)
    rows = [
        {
            "inverse_density": float(1 / p[i]),
            "d_star": float(d_star[i]),
            "represented": int((geometry.norms(toys.W[i]) >= geometry.REPRESENTED).sum()),
            "loss": float(toys.final_loss[i]),
            "levels": geometry.level_counts(found[i]),
        }
        for i in range(instances)
    ]
    return toys, rows


def graded(config: ToyConfig, importance_over: float = 100.0) -> tuple[Toys, Rows]:
    """Dense and sparse features whose importance falls from 1 to 1 / `importance_over`: dense ones are dropped but for
    the m most important, which are orthogonal, as in a PCA."""
    importance = importance_over ** -np.linspace(0, 1, config.n_features)
    p = np.array([1.0, 0.1, 0.01])
    toys = train_toys(config, p, importance, np.arange(len(p)), "graded importance")
    rows = []
    for i in range(len(p)):
        length, m = geometry.norms(toys.W[i]), config.n_hidden
        there = length >= geometry.REPRESENTED
        rows.append(
            {
                "p": float(p[i]),
                "d_star": float(geometry.dimensions_per_feature(toys.W[i])),
                "represented": int(there.sum()),
                "of_the_most_important": int(there[:m].sum()),
                "mean_superposition": float(geometry.superposition(toys.W[i])[there].mean()) if there.any() else None,
            }
        )
    return toys, rows


def correlated(config: ToyConfig, seeds: int, densities: tuple[float, ...] = (0.05, 0.2)) -> Rows:
    """Pairs of features that are independent, only active together, or never active together: how they lie to each
    other, as shares of the pairs over all seeds."""
    rows = []
    for occurrence in ("independent", "together", "apart"):
        own = dataclasses.replace(config, occurrence=occurrence)
        for p in densities:
            toys = train_toys(own, [p] * seeds, 1.0, np.arange(seeds), f"{occurrence} pairs")
            same, different = geometry.pair_cosines(toys.W, config.group_size)
            rows.append({"occurrence": occurrence, "p": p, "pairs": len(same), **_lie(same, "same")})
            rows[-1] |= _lie(different, "other")
    return rows


def local_bases(config: ToyConfig, seeds: int, p: float = 0.05) -> Rows:
    """Two groups of features that are active together, and independent features: squared cosines within a group and
    between groups. Features that occur together prefer to be orthogonal to each other."""
    rows, half = [], config.n_features // 2
    for occurrence in ("independent", "together"):
        own = dataclasses.replace(config, occurrence=occurrence, group_size=half)
        toys = train_toys(own, [p] * seeds, 1.0, np.arange(seeds), f"{occurrence} groups")
        same, different = geometry.pair_cosines(toys.W, half)
        within, between = (float(np.mean(c**2)) if len(c) else None for c in (same, different))
        rows.append({"occurrence": occurrence, "within_group": within, "between_groups": between})
    return rows


def learning(config: ToyConfig, densities: tuple[float, ...] = (0.3, 0.15, 0.08, 0.04), seeds: int = 4):
    """(toys, table) of small models at a constant learning rate with a dense history: the loss falls where the
    dimensionality of features jumps."""
    p = np.repeat(densities, seeds)
    toys = train_toys(config, p, 1.0, np.arange(len(p)), "learning dynamics")
    rows: Rows = []
    for i in range(len(p)):
        found = geometry.energy_jumps(toys, i)
        rows.append({"p": float(p[i]), "seed": i, **dataclasses.asdict(found)})
    return toys, rows


def _lie(cosines: np.ndarray, name: str) -> dict[str, float | None]:
    """The shares of pairs that are antipodal, orthogonal and side by side."""
    kinds = {"antipodal": cosines < -0.9, "orthogonal": np.abs(cosines) < 0.1, "side_by_side": cosines > 0.9}
    return {f"{name}_{kind}": float(where.mean()) if len(cosines) else None for kind, where in kinds.items()}
