"""Edges between the features of a dictionary and those of a larger one, and how well a child refines its parent."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from monosem_jax.analysis.joint.pair_sums import PairSums, SideSums

ALIKE = 1e-3  # similarities that differ by less do not decide which parent is the best
NEAREST = 10  # features on each side, by density, with which an edge's parent is compared


@dataclasses.dataclass(frozen=True)
class EdgeRule:
    """Which pairs are edges, and which features are left out.

    `threshold`: of the masked cosine similarity (paper, "Feature splitting": about 0.4). Features with a density below
    `ultralow` are omitted (paper), and so are those that fire on fewer than `least_firings` of the tokens: where a
    feature fires once, its masked cosine with whatever fires there too is 1.
    """

    threshold: float = 0.4
    ultralow: float = 1e-6
    least_firings: int = 10

    def considered(self, side: SideSums, tokens: int) -> Bool[np.ndarray, " F"]:
        """The features that may have edges."""
        return (side.fired >= max(self.least_firings, 1)) & (side.fired / tokens >= self.ultralow)


PUBLISHED = EdgeRule()


@dataclasses.dataclass(frozen=True)
class Step:
    """The E edges from a dictionary to the next larger one, sorted by parent and then by child.

    Args:
      parents, children: names of the two dictionaries.
      considered_parents, considered_children: which features were not omitted.
      parent, child: numbers of features.
      similarity: the masked cosine similarity.
      chance: what it would be if both fired independently, with the same activations; large for dense features.
      cosine: between the dictionary vectors; NaN where they have no common space.
      best: whether no other parent of the child has a larger similarity. A feature that fires wherever the child does
        is as similar, however dense it is, so that of about equal ones the cosine over the parent's tokens decides.
      child_to_parent: P(parent fires | child fires); `matched`: the same, in the mean, of the features of about the
        parent's density that are no parents of the child: the baseline.
      parent_to_child: P(child fires | parent fires).
      mass: share of the parent's Σ f² that lies where the child fires.
    """

    parents: str
    children: str
    considered_parents: Bool[np.ndarray, " F"]
    considered_children: Bool[np.ndarray, " G"]
    parent: Int[np.ndarray, " E"]
    child: Int[np.ndarray, " E"]
    similarity: Float[np.ndarray, " E"]
    chance: Float[np.ndarray, " E"]
    cosine: Float[np.ndarray, " E"]
    best: Bool[np.ndarray, " E"]
    child_to_parent: Float[np.ndarray, " E"]
    matched: Float[np.ndarray, " E"]
    parent_to_child: Float[np.ndarray, " E"]
    mass: Float[np.ndarray, " E"]

    def __len__(self) -> int:
        return len(self.parent)

    def best_parent(self, implied: float = 0.0) -> Int[np.ndarray, " G"]:
        """[G] the best parent of every feature of the larger dictionary, -1 if it has none, or if that one fires on
        less than the share `implied` of the child's firings."""
        kept = self.best & (self.child_to_parent >= implied)
        found = np.full(len(self.considered_children), -1, np.int64)
        found[self.child[kept]] = self.parent[kept]
        return found

    def children_of(self, parent: int, *, best: bool = True) -> Int[np.ndarray, " n"]:
        """The numbers of edges from a parent, the largest similarity first; `best`: only to children that have no
        better parent."""
        edges = np.flatnonzero((self.parent == parent) & (self.best | (not best)))
        return edges[np.argsort(-self.similarity[edges], kind="stable")]

    def degrees(self, *, best: bool = False) -> tuple[Int[np.ndarray, " F"], Int[np.ndarray, " G"]]:
        """The number of children of every considered parent, and of parents of every considered child."""
        kept = self.best if best else np.ones(len(self), bool)
        children = np.bincount(self.parent[kept], minlength=len(self.considered_parents))
        parents = np.bincount(self.child[kept], minlength=len(self.considered_children))
        return children[self.considered_parents], parents[self.considered_children]


def edges(
    sums: PairSums,
    rule: EdgeRule = PUBLISHED,
    directions: tuple[Float[np.ndarray, "F M"], Float[np.ndarray, "G M"]] | None = None,
) -> Step:
    """The edges from the features of `sums.a`, the smaller dictionary, to those of `sums.b`.

    `directions`: the dictionary vectors of both, where they lie in one space. Raises BadInput if `sums` were made
    without masked ones.
    """
    there, back = sums.cosine_where_a_fires(), sums.cosine_where_b_fires()
    similarity = np.maximum(there, back)
    parents, children = rule.considered(sums.a, sums.tokens), rule.considered(sums.b, sums.tokens)
    linked = (similarity > rule.threshold) & parents[:, None] & children
    parent, child = np.nonzero(linked)
    value, both = similarity[parent, child], _pairs(sums.both, parent, child)
    fired_a, fired_b = (np.maximum(side.fired, 1).astype(np.float64) for side in (sums.a, sums.b))
    return Step(
        sums.a.name,
        sums.b.name,
        parents,
        children,
        parent,
        child,
        value,
        _chance(sums, parent, child),
        _cosines(directions, parent, child),
        _best(parent, child, value, np.minimum(there, back)[parent, child]),
        both / fired_b[child],
        _matched(sums, linked, parents, parent, child) / fired_b[child],
        both / fired_a[parent],
        _pairs(sums.a_on_b, parent, child) / np.where(sums.a.square > 0, sums.a.square, 1)[parent],
    )


def _pairs(table: np.ndarray | None, parent: np.ndarray, child: np.ndarray) -> np.ndarray:
    assert table is not None  # the cosines have refused sums without masked ones
    return np.asarray(table[parent, child], np.float64)


def _best(parent: np.ndarray, child: np.ndarray, value: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[E] the edge of every child with the largest similarity; of those within about ALIKE that with the larger `other`
    of the two cosines, and then the first."""
    order = np.lexsort((parent, -other, -np.round(value / ALIKE), child))
    best = np.zeros(len(child), bool)
    best[order[np.flatnonzero(np.diff(child[order], prepend=-1))]] = True
    return best


def _chance(sums: PairSums, parent: np.ndarray, child: np.ndarray) -> np.ndarray:
    """[E] the masked cosine of two features that fire independently.

    Over the tokens where g fires, E[f g] = E[f] E[g | g fires], E[f²] is that over all tokens: the cosine is
    mean(f)/rms(f) · mean(g)/rms(g) with those of f over all tokens, and those of g where it fires. So the other way.
    """
    everywhere, firing = [], []
    for side in (sums.a, sums.b):
        rms = np.sqrt(np.where(side.square > 0, side.square, 1))
        everywhere.append(side.total / np.sqrt(sums.tokens) / rms)
        firing.append(side.total / np.sqrt(np.maximum(side.fired, 1)) / rms)
    return np.maximum(everywhere[0][parent] * firing[1][child], firing[0][parent] * everywhere[1][child])


def _cosines(
    directions: tuple[np.ndarray, np.ndarray] | None, parent: np.ndarray, child: np.ndarray
) -> Float[np.ndarray, " E"]:
    if directions is None:
        return np.full(len(parent), np.nan)
    a, b = (np.asarray(d, np.float64) for d in directions)
    a, b = (d / np.where(np.any(d, axis=1), np.linalg.norm(d, axis=1), np.nan)[:, None] for d in (a, b))
    found = np.empty(len(parent))
    for start in range(0, len(parent), 1 << 16):
        some = slice(start, start + (1 << 16))
        found[some] = np.einsum("em,em->e", a[parent[some]], b[child[some]])
    return found


def _matched(
    sums: PairSums, linked: np.ndarray, parents: np.ndarray, parent: np.ndarray, child: np.ndarray
) -> Float[np.ndarray, " E"]:
    """[E] joint firings of the child with features of about the parent's density, in the mean over the NEAREST on each
    side that are no parents of it; NaN where there are none."""
    assert sums.both is not None
    order = np.flatnonzero(parents)
    order = order[np.argsort(sums.a.fired[order], kind="stable")]
    rank = np.full(len(parents), -1)
    rank[order] = np.arange(len(order))
    total, count = np.zeros(len(parent)), np.zeros(len(parent))
    for step in range(-NEAREST, NEAREST + 1):
        place = rank[parent] + step
        near = order[np.clip(place, 0, len(order) - 1)] if len(order) else parent
        used = (step != 0) & (place >= 0) & (place < len(order)) & ~linked[near, child]
        total += np.where(used, sums.both[near, child], 0)
        count += used
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
