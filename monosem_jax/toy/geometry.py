"""How toy models arrange their features: norms, superposition, dimensionality, polytopes, and jumps during training.

All in float64 NumPy, of W [...,m,n] whose columns W_i are the directions of the features.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from monosem_jax.toy.superposition import Toys, feature_dimensionality

# The dimensionality of a feature in a polytope: its dimensions divided by its corners.
LEVELS = {
    "dedicated": 1.0,
    "tetrahedron": 3 / 4,
    "triangle": 2 / 3,
    "digon": 1 / 2,
    "pentagon": 2 / 5,
    "square antiprism": 3 / 8,
    "absent": 0.0,
}
TOLERANCE = 0.02  # of a dimensionality that counts as one of LEVELS
REPRESENTED = 0.5  # the norm from which on a feature is represented
TOUCHING = 0.1  # |cosine| above which two features share a subspace


def norms(W: ArrayLike) -> Float[np.ndarray, "*I n"]:
    """‖W_i‖: near 1 where a feature is represented, near 0 where it is not."""
    return np.linalg.norm(np.asarray(W, np.float64), axis=-2)


def superposition(W: ArrayLike) -> Float[np.ndarray, "*I n"]:
    """Σ_{j≠i} (Ŵ_i · W_j)², how much the other features interfere with feature i; 0 for a feature of norm 0."""
    W = np.asarray(W, np.float64)
    length = norms(W)
    unit = W / np.where(length > 0, length, 1)[..., None, :]
    products = np.square(np.swapaxes(unit, -1, -2) @ W)
    return products.sum(axis=-1) - np.einsum("...ii->...i", products)


def dimensionality(W: ArrayLike) -> Float[np.ndarray, "*I n"]:
    """D_i = ‖W_i‖² / Σ_j (Ŵ_i · W_j)²; 0 for a feature of norm 0."""
    return feature_dimensionality(np.asarray(W, np.float64))


def dimensions_per_feature(W: ArrayLike) -> Float[np.ndarray, " *I"]:
    """D* = m / ‖W‖_F²; infinite where W is 0."""
    W = np.asarray(W, np.float64)
    with np.errstate(divide="ignore"):
        return W.shape[-2] / np.square(W).sum(axis=(-2, -1))


def level_counts(found: ArrayLike, tolerance: float = TOLERANCE) -> dict[str, int]:
    """How many dimensionalities lie at each of LEVELS, and "between" them. They add up to all."""
    levels = np.array(list(LEVELS.values()))
    far = np.abs(np.ravel(np.asarray(found, np.float64))[:, None] - levels)
    nearest = np.where(far.min(axis=1) <= tolerance, far.argmin(axis=1), len(levels))
    return {name: int((nearest == i).sum()) for i, name in enumerate([*LEVELS, "between"])}


class Polytope(NamedTuple):
    """Represented features that share a subspace, which no other feature touches, and its dimensions."""

    features: tuple[int, ...]
    rank: int

    @property
    def name(self) -> str:
        """Its name among LEVELS, or "5 features in 3 dimensions"."""
        names = {(1, 1): "dedicated", (2, 1): "digon", (3, 2): "triangle", (4, 3): "tetrahedron", (5, 2): "pentagon"}
        names[8, 3] = "square antiprism"
        size = len(self.features)
        return names.get((size, self.rank), f"{size} features in {self.rank} dimensions")


def polytopes(W: Float[np.ndarray, "m n"], touching: float = TOUCHING) -> list[Polytope]:
    """The represented features, divided into those that share a subspace: connected by |cosine| above `touching`."""
    W = np.asarray(W, np.float64)
    length = norms(W)
    left = {int(i) for i in np.flatnonzero(length >= REPRESENTED)}
    unit = W / np.where(length > 0, length, 1)
    near = np.abs(unit.T @ unit) > touching
    found = []
    while left:
        group, edge = set(), {min(left)}
        while edge:
            group |= edge
            edge = {int(j) for i in edge for j in np.flatnonzero(near[i])} & left - group
        left -= group
        members = tuple(sorted(group))
        rank = np.linalg.matrix_rank(unit[:, members], tol=3 * touching)
        found.append(Polytope(members, int(rank)))
    return found


@dataclasses.dataclass(frozen=True)
class EnergyJumps:
    """Points of the loss history around which the dimensionality of some feature changed, against the others.

    `steps` are those points; the drops are medians of the relative fall of the loss around a point. A drop is NaN where
    there is no such point.
    """

    steps: tuple[int, ...]
    drop_at_jumps: float
    drop_elsewhere: float


def energy_jumps(toys: Toys, instance: int, change: float = 0.1, around: int = 2, skip: float = 0.1) -> EnergyJumps:
    """Where the dimensionality of a feature of one instance changes by more than `change` from `around` points of the
    history before to as many after. The first share `skip` of the history, in which everything moves, is left out."""
    d, loss = toys.dimensionality[instance].astype(np.float64), toys.losses[instance].astype(np.float64)
    at = np.arange(max(around, int(skip * len(loss))), len(loss) - around)
    moved = np.abs(d[at + around] - d[at - around]).max(axis=1) > change
    drop = 1 - loss[at + around] / loss[at - around]
    steps = tuple(int(s) for s in toys.steps[at[moved]])
    return EnergyJumps(steps, _median(drop[moved]), _median(drop[~moved]))


def _median(x: np.ndarray) -> float:
    return float(np.median(x)) if len(x) else float("nan")


def pair_cosines(W: Float[np.ndarray, "*I m n"], group_size: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """(cosines of features of one group, cosines of features of different groups), of represented features only, in one
    dimension. Consecutive features form a group."""
    W = np.asarray(W, np.float64)
    W = W.reshape(-1, *W.shape[-2:])
    n = W.shape[-1]
    i, j = np.triu_indices(n, 1)
    same = i // group_size == j // group_size
    length = norms(W)
    unit = W / np.where(length > 0, length, 1)[:, None]
    cosines = np.einsum("Imp,Imp->Ip", unit[:, :, i], unit[:, :, j])
    there = (length[:, i] >= REPRESENTED) & (length[:, j] >= REPRESENTED)
    return cosines[there & same], cosines[there & ~same]
