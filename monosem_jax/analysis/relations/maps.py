"""The map of the dictionary vectors of all sizes, and whether its clusters hold parents and children together."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from monosem_jax.analysis.joint.pair_sums import Pair
from monosem_jax.analysis.maps.embedding import Map, MapRule, make_map, require_umap
from monosem_jax.analysis.maps.joins import joined
from monosem_jax.analysis.relations.base import Relation, Relations
from monosem_jax.runtime.errors import BadInput, check_counts


@dataclasses.dataclass(frozen=True)
class MapConfig:
    """Parameters of UMAP and HDBSCAN (pip install 'monosem_jax[map]')."""

    neighbours: int = 15
    """Neighbours of each feature in UMAP."""
    min_dist: float = 0.0
    """min_dist of the plane; 0: the paper's, 0.05 for up to two sizes and 0.01 for more."""
    cluster_dimensions: int = 10
    """Dimensions of the UMAP in which clusters are looked for."""
    cluster_min_dist: float = 0.1
    """Its min_dist."""
    min_cluster_size: int = 3
    """HDBSCAN's smallest cluster."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        name = "config.relations.map."
        check_counts(self, name, "cluster_dimensions")
        for key in ("neighbours", "min_cluster_size"):
            if getattr(self, key) < 2:
                raise BadInput(f"{name}{key} is {getattr(self, key)}: expected 2 or more")
        for key in ("min_dist", "cluster_min_dist"):
            if not 0 <= getattr(self, key) <= 1:
                raise BadInput(f"{name}{key} is {getattr(self, key)}: expected 0 to 1")

    @property
    def rule(self) -> MapRule:
        return MapRule(
            self.neighbours, self.min_dist, self.cluster_dimensions, self.cluster_min_dist, self.min_cluster_size
        )


def find(study: Relations, config: MapConfig) -> None:
    """Puts the table `map`, and the arrays `map`: `set` (place in the table's `sets`), `feature`, `plane` [n,2],
    `cluster` and `order` of every feature that fires."""
    require_umap()
    chain = study.sizes
    sets = [study.sets[i].features for i in chain]
    alive = [np.flatnonzero(study.scanned(i).fired > 0) for i in chain]
    number = np.concatenate([np.full(len(a), k, np.int32) for k, a in enumerate(alive)])
    feature = np.concatenate(alive).astype(np.int32)
    directions = np.concatenate([s.directions[a] for s, a in zip(sets, alive, strict=True)])
    made = make_map(directions, len(sets), study.seed, config.rule)
    study.arrays["map"] = {
        "set": number,
        "feature": feature,
        "plane": made.plane,
        "cluster": made.cluster,
        "order": made.order,
    }
    study.tables["map"] = {
        "sets": [s.name for s in sets],
        "sizes": [s.n_features for s in sets],
        "rule": {**dataclasses.asdict(config.rule), "plane_min_dist": config.rule.plane_distance(len(sets))},
        "seed": study.seed,
        "features": len(feature),
        **_clusters(made, number),
        "joins": _joins(study, made, number, feature),
    }
    study.summary["map"] = {"features": len(feature), "clusters": made.n_clusters}


def _clusters(made: Map, number: np.ndarray) -> dict[str, Any]:
    sizes = np.bincount(made.cluster[made.cluster >= 0], minlength=made.n_clusters)
    mixed = [len(np.unique(number[made.cluster == c])) > 1 for c in range(made.n_clusters)]
    return {
        "clusters": made.n_clusters,
        "unclustered": int((made.cluster < 0).sum()),
        "median_cluster": float(np.median(sizes)) if len(sizes) else None,
        "clusters_of_several_sizes": int(sum(mixed)),
    }


def _joins(study: Relations, made: Map, number: np.ndarray, feature: np.ndarray) -> list[dict[str, Any]]:
    """For each step the pairs of a child and its best parent within clusters; none if splitting was not looked for."""
    edges = study.arrays.get("splitting_edges")
    if edges is None:
        return []
    cluster = [np.full(study.sets[i].n_features, -1) for i in study.sizes]
    for k, of in enumerate(cluster):
        here = number == k
        of[feature[here]] = made.cluster[here]
    found = []
    for k in range(len(cluster) - 1):
        best = edges[f"step{k}_best"]
        parent, child = (edges[f"step{k}_{name}"][best] for name in ("parent", "child"))
        row = dataclasses.asdict(joined(cluster[k][parent], cluster[k + 1][child], study.seed))
        found.append(
            {"parents": study.sets[study.sizes[k]].name, "children": study.sets[study.sizes[k + 1]].name} | row
        )
    return found


def needs(study: Relations, config: MapConfig) -> list[Pair]:
    """No pairs. Raises BadInput where umap-learn is missing."""
    require_umap()
    return []


MAP = Relation(needs, find)
