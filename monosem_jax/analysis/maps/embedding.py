"""Dictionary vectors of several dictionaries in one plane, in clusters, and in one order, as the paper maps them."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from monosem_jax.runtime.errors import BadInput

CLOSE, CLOSER = 0.05, 0.01  # min_dist of the plane with up to two dictionaries, and with more (paper)


@dataclasses.dataclass(frozen=True)
class MapRule:
    """Parameters of the paper ("Feature splitting"): UMAP with `neighbours` by cosine; the plane with `plane_min_dist`
    (0: CLOSE for up to two dictionaries, CLOSER for more); HDBSCAN with `min_cluster_size` on a UMAP of
    `cluster_dimensions` with `cluster_min_dist`; the order by a UMAP of one dimension."""

    neighbours: int = 15
    plane_min_dist: float = 0.0
    cluster_dimensions: int = 10
    cluster_min_dist: float = 0.1
    min_cluster_size: int = 3

    def plane_distance(self, n_sets: int) -> float:
        """The min_dist of the plane."""
        return self.plane_min_dist or (CLOSE if n_sets <= 2 else CLOSER)


PUBLISHED = MapRule()


@dataclasses.dataclass(frozen=True)
class Map:
    """Where n dictionary vectors lie: `plane` [n,2], `cluster` [n] (-1: in none, otherwise from 0), and `order` [n],
    the place of each along a line on which neighbours are alike."""

    plane: Float[np.ndarray, "n 2"]
    cluster: Int[np.ndarray, " n"]
    order: Int[np.ndarray, " n"]

    @property
    def n_clusters(self) -> int:
        return int(self.cluster.max(initial=-1)) + 1


def require_umap() -> None:
    """Raises BadInput when umap-learn or scikit-learn, which only maps need, are not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import sklearn.cluster  # noqa: F401
            import umap  # noqa: F401
    except ImportError:
        raise BadInput("the map needs umap-learn: pip install 'monosem_jax[map]'") from None


def make_map(directions: Float[np.ndarray, "n M"], n_sets: int, seed: int = 0, rule: MapRule = PUBLISHED) -> Map:
    """A map of dictionary vectors of `n_sets` dictionaries in one space. The same vectors and seed give the same map on
    the same machine: UMAP runs in one thread.

    Raises BadInput without umap-learn, on fewer vectors than a map needs, and on vectors that are 0 or not finite.
    """
    least = max(rule.neighbours, rule.cluster_dimensions) + 2
    if len(directions) < least:
        raise BadInput(f"a map of {len(directions)} features: expected {least} or more")
    x = np.asarray(directions, np.float32)
    bad = int(np.sum(~np.isfinite(x).all(axis=1) | ~np.any(x, axis=1)))
    if bad:
        raise BadInput(f"a map was given {bad} of {len(x)} vectors that are 0 or not finite: expected directions")
    require_umap()
    with warnings.catch_warnings():
        # umap-learn warns that a seed means one thread, and that few points have few neighbours.
        warnings.simplefilter("ignore")
        neighbours = _neighbours(x, rule.neighbours, seed)
        plane = _umap(x, neighbours, rule, 2, rule.plane_distance(n_sets), seed)
        dense = _umap(x, neighbours, rule, rule.cluster_dimensions, rule.cluster_min_dist, seed)
        line = _umap(x, neighbours, rule, 1, rule.cluster_min_dist, seed)[:, 0]
        cluster = _clusters(dense, rule.min_cluster_size)
    order = np.empty(len(x), np.int32)
    order[np.argsort(line, kind="stable")] = np.arange(len(x))
    return Map(plane, cluster, order)


def _neighbours(x: np.ndarray, n: int, seed: int) -> tuple[Any, ...]:
    """The nearest neighbours that all three embeddings start from."""
    from umap.umap_ import nearest_neighbors

    random = np.random.RandomState(seed)
    return nearest_neighbors(x, n, "cosine", {}, True, random, low_memory=True, n_jobs=1)


def _umap(
    x: np.ndarray, neighbours: tuple[Any, ...], rule: MapRule, dimensions: int, distance: float, seed: int
) -> np.ndarray:
    import umap

    made = umap.UMAP(
        n_neighbors=rule.neighbours,
        n_components=dimensions,
        metric="cosine",
        min_dist=distance,
        random_state=seed,
        n_jobs=1,
        precomputed_knn=neighbours,
    )
    return np.asarray(made.fit_transform(x), np.float32)


def _clusters(x: np.ndarray, least: int) -> np.ndarray:
    from sklearn.cluster import HDBSCAN

    return HDBSCAN(min_cluster_size=least).fit(x.astype(np.float64)).labels_.astype(np.int32)
