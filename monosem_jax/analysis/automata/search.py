"""A search of the graph for automata: what comes back to where it began, and chains.

    loop    i → i
    pair    i → j → i
    cycle3  i → j → k → i, and cycle4
    branch  j ← i → k with both edges back: one prefix, several suffixes, such as the first byte of a script's
            characters and the bytes that follow
    chain   i → j → k → l, four features in a row

The score of each is its smallest edge: an automaton runs no better than its worst step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from monosem_jax.analysis.automata.graph import Graph

FIRST = 256  # edges that a search of the strongest begins with


@dataclasses.dataclass(frozen=True)
class Found:
    """n automata of one kind by falling score: `nodes` [n,k] features, `edges` [n,m] numbers of edges in the graph,
    `score` [n] nats."""

    kind: str
    nodes: np.ndarray
    edges: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.score)


def search(graph: Graph, kinds: tuple[str, ...] | None = None, *, least: float = 0.0) -> dict[str, Found]:
    """All automata of every kind with a score of at least `least`. No result depends on the order of features but for
    the order of equal scores."""
    kept = graph if least <= 0 else graph.part(graph.weight >= least)
    number = np.flatnonzero(graph.weight >= least)
    steps = _Steps(kept)
    found = {}
    for kind in kinds or tuple(KINDS):
        nodes, edges = KINDS[kind](kept, steps)
        edges = number[edges]
        score = graph.weight[edges].min(axis=1) if len(edges) else np.zeros(0)
        order = np.argsort(-score, kind="stable")
        found[kind] = Found(kind, nodes[order], edges[order], score[order])
    return found


def strongest(graph: Graph, kind: str, most: int) -> Found:
    """The `most` automata of a kind with the highest scores, and those of equal score with the last.

    A score is a smallest edge, so only edges of that weight matter: the search begins with the strongest few, and takes
    twice as many until it has found enough. Millions of chains are then never made.
    """
    weights, n = -np.sort(-graph.weight), FIRST
    while True:
        least = float(weights[n - 1]) if n < len(weights) else 0.0
        found = search(graph, (kind,), least=least)[kind]
        if least <= 0 or len(found) >= most:
            kept = found.score >= (found.score[most - 1] if len(found) >= most else 0)
            return Found(kind, found.nodes[kept], found.edges[kept], found.score[kept])
        n *= 2


class _Steps:
    """The edges by their source, loops left out."""

    def __init__(self, graph: Graph):
        self.graph = graph
        plain = np.flatnonzero(graph.source != graph.target)
        self.edges = plain[np.argsort(graph.source[plain], kind="stable")]
        self.starts = np.searchsorted(graph.source[self.edges], np.arange(graph.n_features + 1))

    def begin(self) -> tuple[np.ndarray, np.ndarray]:
        """(nodes [n,2], edges [n,1]) of all paths of one edge."""
        e = self.edges
        return np.stack([self.graph.source[e], self.graph.target[e]], axis=1), e[:, None]

    def longer(self, nodes: np.ndarray, edges: np.ndarray, least_first: bool) -> tuple[np.ndarray, np.ndarray]:
        """Paths with one edge more that go to no feature twice; `least_first`: the first feature has the smallest
        number, so that a cycle is found once."""
        last = nodes[:, -1]
        count = self.starts[last + 1] - self.starts[last]
        row = np.repeat(np.arange(len(nodes)), count)
        offset = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        new = self.edges[self.starts[last][row] + offset]
        target = self.graph.target[new]
        kept = (nodes[row] != target[:, None]).all(axis=1)
        if least_first:
            kept &= target > nodes[row, 0]
        row, new, target = row[kept], new[kept], target[kept]
        return np.column_stack([nodes[row], target]), np.column_stack([edges[row], new])


Kind = Callable[[Graph, _Steps], tuple[np.ndarray, np.ndarray]]


def _loops(graph: Graph, steps: _Steps) -> tuple[np.ndarray, np.ndarray]:
    e = np.flatnonzero(graph.source == graph.target)
    return graph.source[e][:, None], e[:, None]


def _cycles(n: int) -> Kind:
    def found(graph: Graph, steps: _Steps) -> tuple[np.ndarray, np.ndarray]:
        nodes, edges = steps.begin()
        rising = nodes[:, 0] < nodes[:, 1]
        nodes, edges = nodes[rising], edges[rising]
        for _ in range(n - 2):
            nodes, edges = steps.longer(nodes, edges, least_first=True)
        last = graph.find(nodes[:, -1], nodes[:, 0])
        return nodes[last >= 0], np.column_stack([edges, last])[last >= 0]

    return found


def _chains(n: int) -> Kind:
    def found(graph: Graph, steps: _Steps) -> tuple[np.ndarray, np.ndarray]:
        nodes, edges = steps.begin()
        for _ in range(n - 2):
            nodes, edges = steps.longer(nodes, edges, least_first=False)
        return nodes, edges

    return found


def _branches(graph: Graph, steps: _Steps) -> tuple[np.ndarray, np.ndarray]:
    """Two pairs with one feature in common, which comes first."""
    nodes, edges = steps.begin()
    back = graph.find(nodes[:, 1], nodes[:, 0])
    hub, leaf, there, back = nodes[back >= 0, 0], nodes[back >= 0, 1], edges[back >= 0, 0], back[back >= 0]
    count = np.bincount(hub, minlength=graph.n_features)
    begin = np.cumsum(count) - count
    row = np.repeat(np.arange(len(hub)), count[hub])  # every pair with every pair of the same hub
    other = begin[hub][row] + np.arange(len(row)) - np.repeat(np.cumsum(count[hub]) - count[hub], count[hub])
    kept = leaf[row] < leaf[other]
    row, other = row[kept], other[kept]
    return (
        np.stack([hub[row], leaf[row], leaf[other]], axis=1),
        np.stack([there[row], back[row], there[other], back[other]], axis=1),
    )


KINDS: Mapping[str, Kind] = {
    "loop": _loops,
    "pair": _cycles(2),
    "cycle3": _cycles(3),
    "cycle4": _cycles(4),
    "branch": _branches,
    "chain": _chains(4),
}
