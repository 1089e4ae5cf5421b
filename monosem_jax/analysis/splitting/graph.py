"""The graph of parents and children over dictionaries of rising sizes, and the families in it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components

from monosem_jax.analysis.joint.pair_sums import PairSums
from monosem_jax.analysis.splitting.edges import PUBLISHED, EdgeRule, Step, edges
from monosem_jax.runtime.errors import BadInput


@dataclasses.dataclass(frozen=True)
class SplittingGraph:
    """Dictionaries of rising `sizes`, and the edges between each and the next. A child may have several parents.

    A family is a feature of the smallest dictionary with its descendants. With all edges families overlap, and above
    some size nearly everything is connected; with the best parent of each child only, every feature lies in one family
    at most. `rule` says which pairs are edges.
    """

    sizes: tuple[int, ...]
    steps: tuple[Step, ...]
    rule: EdgeRule

    def family(self, implied: float = 0.0) -> list[Int[np.ndarray, " F"]]:
        """For each size the family of every feature: the feature of the smallest dictionary that its best parents lead
        to, -1 if they lead to none. `implied`: the least P(parent fires | child fires) of an edge on the way."""
        first = np.where(self.steps[0].considered_parents, np.arange(self.sizes[0]), -1)
        found = [first]
        for step in self.steps:
            parent = step.best_parent(implied)
            found.append(np.where(parent >= 0, found[-1][parent], -1))
        return found

    def growth(self, *, best: bool = True, implied: float = 0.0) -> Int[np.ndarray, "R S"]:
        """For each feature of the smallest dictionary the number of its descendants at every size, itself the first;
        by best parents (see `family`), or along all edges."""
        n = self.sizes[0]
        if best:
            counts = [np.bincount(family[family >= 0], minlength=n) for family in self.family(implied)]
        else:
            reached: Any = scipy.sparse.eye_array(n, format="csr")
            counts = [self.steps[0].considered_parents.astype(np.int64)]
            for step in self.steps:
                reached = reached @ _adjacency(step)
                reached.data[:] = 1
                counts.append(np.diff(reached.indptr))
        return np.stack(counts, axis=1)

    def components(self, *, best: bool) -> Int[np.ndarray, " C"]:
        """The numbers of features in the connected components of more than one, the largest first."""
        first = np.concatenate([[0], np.cumsum(self.sizes)])
        pairs = []
        for i, step in enumerate(self.steps):
            kept = step.best | (not best)
            pairs.append(np.stack([step.parent[kept] + first[i], step.child[kept] + first[i + 1]]))
        a, b = np.concatenate(pairs, axis=1)
        graph = scipy.sparse.coo_array((np.ones(len(a), np.int8), (a, b)), shape=(first[-1], first[-1]))
        _, label = connected_components(graph, directed=False)
        sizes = np.sort(np.bincount(label))[::-1]
        return sizes[sizes > 1]


def _adjacency(step: Step) -> scipy.sparse.csr_array:
    shape = (len(step.considered_parents), len(step.considered_children))
    return scipy.sparse.csr_array((np.ones(len(step), np.int32), (step.parent, step.child)), shape=shape)


def splitting_graph(
    sums: Sequence[PairSums],
    rule: EdgeRule = PUBLISHED,
    directions: Sequence[Float[np.ndarray, "F M"]] | None = None,
) -> SplittingGraph:
    """The graph over dictionaries D0, D1, … of rising sizes.

    Args:
      sums: of (D0, D1), (D1, D2), …, with the masked ones: `pair_sums(sets, [Pair(0, 1, True), Pair(1, 2, True)], …)`.
      directions: the dictionary vectors [F,M] of each, where all lie in one space.

    Raises BadInput on dictionaries whose sizes do not rise, on sums that do not follow each other, and on sums without
    masked ones.
    """
    if not sums:
        raise BadInput("splitting_graph was given no sums: expected those of two dictionaries of different sizes")
    for a, b in itertools.pairwise(sums):
        if a.b.name != b.a.name:
            raise BadInput(
                f"splitting_graph was given sums of {a.a.name} and {a.b.name}, then of {b.a.name} and {b.b.name}: "
                "expected each to begin with the dictionary with which the one before ends"
            )
    sizes = (len(sums[0].a.fired), *(len(s.b.fired) for s in sums))
    names = (sums[0].a.name, *(s.b.name for s in sums))
    if any(b <= a for a, b in itertools.pairwise(sizes)):
        listed = ", ".join(f"{name} with {n}" for name, n in zip(names, sizes, strict=True))
        raise BadInput(f"splitting_graph was given {listed} features: expected rising sizes")
    if directions is not None and [len(d) for d in directions] != list(sizes):
        raise BadInput(
            f"splitting_graph was given directions of {', '.join(str(len(d)) for d in directions)} features: expected "
            f"{', '.join(map(str, sizes))}"
        )
    pairs = [None] * len(sums) if directions is None else list(itertools.pairwise(directions))
    steps = tuple(edges(s, rule, pair) for s, pair in zip(sums, pairs, strict=True))
    return SplittingGraph(sizes, steps, rule)
