"""Feature splitting over dictionaries of different sizes: edges, families, refinement, examples."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from monosem_jax.analysis.joint.pair_sums import Pair
from monosem_jax.analysis.relations.base import Relation, Relations
from monosem_jax.analysis.relations.splitting_told import told
from monosem_jax.analysis.scan.cosines import largest_products, unit
from monosem_jax.analysis.scan.result import SetScan
from monosem_jax.analysis.splitting.children import label_divergence, token_divergence
from monosem_jax.analysis.splitting.cover import Cover, cover
from monosem_jax.analysis.splitting.edges import EdgeRule, Step, edges
from monosem_jax.analysis.splitting.graph import SplittingGraph, splitting_graph
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.rng import stream

MOST = 3  # children and parents are counted as 0, 1, 2, and this many or more
PAIRS = 20_000  # pairs of siblings, drawn where there are more
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
EDGE_FIGURES = ("similarity", "chance", "cosine", "child_to_parent", "matched", "parent_to_child", "mass")


@dataclasses.dataclass(frozen=True)
class SplittingConfig:
    """When a feature is the child of another, and how many families are shown with examples."""

    threshold: float = 0.4
    """Masked cosine similarity above which features of two sizes are joined."""
    ultralow: float = 1e-6
    """Features with a lower density are left out."""
    least_firings: int = 10
    """And those that fire on fewer tokens of the text: a feature that fires once is similar to all that fire there."""
    implied: float = 0.5
    """The least P(parent fires | child fires) of the descendants that the summary counts."""
    told: int = 6
    """Families shown with examples: so many for each step between sizes, and so many for labels."""
    children: int = 8
    """Children shown of each parent."""
    examples: int = 2
    """Examples shown of each feature."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        name = "config.relations.splitting."
        for key in ("threshold", "ultralow", "implied"):
            if not 0 <= getattr(self, key) < 1:
                raise BadInput(f"{name}{key} is {getattr(self, key)}: expected 0 or more, below 1")
        for key, least in (("least_firings", 1), ("told", 0), ("children", 1), ("examples", 0)):
            if getattr(self, key) < least:
                raise BadInput(f"{name}{key} is {getattr(self, key)}: expected {least} or more")

    @property
    def rule(self) -> EdgeRule:
        return EdgeRule(self.threshold, self.ultralow, self.least_firings)


def needs(study: Relations, config: SplittingConfig) -> list[Pair]:
    """The masked sums of each size and the next, and of two dictionaries that differ by their seed."""
    if len(study.sizes) < 2:
        return []
    return [Pair(a, b, masked=True) for a, b in (*itertools.pairwise(study.sizes), *_same_size(study))]


def _same_size(study: Relations) -> list[tuple[int, int]]:
    """A pair of dictionaries of one size that differ by their seed: what splitting is compared with, if there is. The
    first dictionary's comes before others."""
    ours = [i for i in study.dictionaries if study.sets[i].same_space(study.sets[0])]
    pairs = ((a, b) for a in ours for b in study.seeds_of(a) if study.fits(Pair(a, b, masked=True)))
    return list(itertools.islice(pairs, 1))


def find(study: Relations, config: SplittingConfig) -> None:
    """Puts the table `splitting`, the arrays `splitting_edges` and the summary's `families` and `splitting`."""
    chain = study.sizes
    if len(chain) < 2:
        study.gap("splitting", "the dictionaries of the first one's transformer and site have one size: expected two")
        return
    sums = [study.pair(a, b, masked=True) for a, b in itertools.pairwise(chain)]
    sets = [study.sets[i].features for i in chain]
    graph = splitting_graph(sums, config.rule, [s.directions for s in sets])
    tokens = study.heldout.tokens
    with progress(len(tokens), "splitting: children that fire together", "contexts") as bar:
        covers = cover(
            sets,
            [step.best_parent() for step in graph.steps],
            tokens,
            batch=study.batch,
            mesh=study.mesh,
            advance=bar.update,
        )
    scans = [study.scanned(i) for i in chain]
    steps = [
        {
            **_step(step, covered, [sets[i].directions for i in (k, k + 1)]),
            **_siblings(step, scans[k + 1], study.seed),
        }
        for k, (step, covered) in enumerate(zip(graph.steps, covers, strict=True))
    ]
    families = _families(graph, config.implied)
    study.tables["splitting"] = {
        "sets": [s.name for s in sets],
        "sizes": list(graph.sizes),
        "rule": dataclasses.asdict(config.rule),
        "steps": steps,
        "same_size": _baseline(study, config.rule),
        "families": families,
        "told": told(study, graph, covers, scans, config.told, config.children, config.examples),
    }
    study.arrays["splitting_edges"] = _arrays(graph, covers)
    study.summary["families"] = families["implied"]["with_two"]
    study.summary["splitting"] = {
        "sizes": list(graph.sizes),
        "monotone": families["implied"]["monotone"],
        "child_to_parent": [_median(s["best"]["child_to_parent"]) for s in steps],
        "child_to_parent_matched": [_median(s["best"]["matched"]) for s in steps],
        "largest_component_share": families["all"]["largest_component_share"],
    }


def _baseline(study: Relations, rule: EdgeRule) -> list[dict[str, Any]]:
    """The row of two dictionaries of one size: their features are no splits, and what they show is no sign of it."""
    rows = []
    for a, b in _same_size(study):
        directions = [study.sets[i].features.directions for i in (a, b)]
        rows.append(_step(edges(study.pair(a, b, masked=True), rule, (directions[0], directions[1])), None, directions))
    return rows


def _quantiles(x: np.ndarray) -> list[float] | None:
    x = x[np.isfinite(x)]
    return [float(v) for v in np.quantile(x, QUANTILES)] if x.size else None


def _median(quantiles: list[float] | None) -> float | None:
    return quantiles[QUANTILES.index(0.5)] if quantiles else None


def _counted(n: np.ndarray) -> list[int]:
    """How many have 0, 1, 2, and MOST or more."""
    return np.bincount(np.minimum(n, MOST), minlength=MOST + 1).tolist()


def _step(step: Step, covered: Cover | None, directions: list[np.ndarray]) -> dict[str, Any]:
    """The row of a step: counts of edges, children and parents, and quantiles of what they are worth."""
    pairs = int(step.considered_parents.sum()) * int(step.considered_children.sum())
    found: dict[str, Any] = {
        "parents": step.parents,
        "children": step.children,
        "considered": [int(step.considered_parents.sum()), int(step.considered_children.sum())],
        "omitted": [int((~step.considered_parents).sum()), int((~step.considered_children).sum())],
        "edges": len(step),
        "edges_share": len(step) / pairs if pairs else None,
        "quantiles": list(QUANTILES),
    }
    for name, kept in (("all", np.ones(len(step), bool)), ("best", step.best)):
        children, parents = step.degrees(best=name == "best")
        found[name] = {"children": _counted(children), "parents": _counted(parents)}
        found[name] |= {key: _quantiles(getattr(step, key)[kept]) for key in EDGE_FIGURES}
    found["merges"] = int((step.degrees()[1] > 1).sum())
    implied = step.child_to_parent[step.best]
    found["implied"] = {str(x): float(np.mean(implied >= x)) if implied.size else None for x in (0.5, 0.9)}
    if covered is not None:
        found["cover"] = {key: _quantiles(getattr(covered, key)) for key in ("share", "mass", "within", "together")}
    return found | _agreement(step, directions)


def _agreement(step: Step, directions: list[np.ndarray]) -> dict[str, Any]:
    """How masked cosines and those of the dictionary vectors agree."""
    parents = np.flatnonzero(step.considered_parents)
    child, parent = step.child[step.best], step.parent[step.best]
    if not child.size:
        return {"cosine_same_best": None, "cosine_correlation": None}
    nearest = largest_products(unit(directions[1][child]), unit(directions[0][parents]), 1)[1][:, 0]
    varies = len(step) > 1 and np.std(step.cosine) > 0 and np.std(step.similarity) > 0
    return {
        "cosine_same_best": float(np.mean(parents[nearest] == parent)),
        "cosine_correlation": float(np.corrcoef(step.similarity, step.cosine)[0, 1]) if varies else None,
    }


def _siblings(step: Step, scan: SetScan, seed: int) -> dict[str, Any]:
    """Divergences of pairs of features with the same best parent, and of the same features in other pairs."""
    pairs: list[tuple[int, int]] = []
    parent = step.best_parent()
    for p in np.unique(parent[parent >= 0]):
        pairs += itertools.combinations(np.flatnonzero(parent == p).tolist(), 2)
    if len(pairs) < 2:
        return {"siblings": None}
    rng = stream("relations.splitting", seed)
    a, b = np.asarray(pairs).T
    if len(a) > PAIRS:
        chosen = np.sort(rng.choice(len(a), PAIRS, replace=False))
        a, b = a[chosen], b[chosen]
    other = rng.permutation(b)
    kept = parent[a] != parent[other]
    found: dict[str, Any] = {"pairs": len(a)}
    for name, divergence in (("tokens", token_divergence), ("labels", label_divergence)):
        found[name] = _quantiles(divergence(scan, a, scan, b))
        found[f"{name}_of_others"] = _quantiles(divergence(scan, a[kept], scan, other[kept]))
    return {"siblings": found}


def _families(graph: SplittingGraph, implied: float) -> dict[str, Any]:
    """Families by each rule: along all edges, by best parents, and by those that fire where the child does."""
    found: dict[str, Any] = {"implied_least": implied}
    rules = {
        "all": graph.growth(best=False),
        "best": graph.growth(),
        "implied": graph.growth(implied=implied),
    }
    live = rules["best"][:, 0] > 0
    for name, growth in rules.items():
        kept = growth[live]
        found[name] = {
            "roots": len(kept),
            "features": kept.sum(axis=0).tolist() if name != "all" else None,
            "with_two": int((kept[:, -1] >= 2).sum()),
            "monotone": int((np.diff(kept, axis=1) >= 0).all(axis=1).sum()),
            "ended": int((kept[:, -1] == 0).sum()),
            "quantiles": [_quantiles(column.astype(float)) for column in kept.T],
        }
    for name in ("all", "best"):
        components = graph.components(best=name == "best")
        total = int(sum(int(s.considered_children.sum()) for s in graph.steps)) + int(live.sum())
        found[name] |= {
            "components": len(components),
            "largest_component": int(components[0]) if len(components) else 0,
            "largest_component_share": float(components[0] / total) if len(components) and total else None,
        }
    found["quantiles"] = list(QUANTILES)
    return found


def _arrays(graph: SplittingGraph, covers: list[Cover]) -> dict[str, np.ndarray]:
    """What `splitting_edges.npz` holds: step0_parent [E], …; growth [R,S] by best parents; cover of each parent."""
    found: dict[str, np.ndarray] = {"sizes": np.asarray(graph.sizes), "growth": graph.growth()}
    for k, (step, covered) in enumerate(zip(graph.steps, covers, strict=True)):
        for name in ("parent", "child", "best", *EDGE_FIGURES):
            x = getattr(step, name)
            found[f"step{k}_{name}"] = x.astype(np.float32) if x.dtype.kind == "f" else x
        found |= {f"step{k}_cover_{name}": getattr(covered, name) for name in ("share", "mass", "within", "together")}
    return found


SPLITTING = Relation(needs, find)
