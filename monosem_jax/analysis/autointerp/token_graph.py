"""A trie of token patterns read backwards from the token on which a feature fires; "any token" is one of its edges."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

ANY = -1


@dataclasses.dataclass
class Mean:
    """Observed activations: their mean is total / count."""

    total: float = 0.0
    count: int = 0

    def observe(self, activation: float) -> None:
        self.total += activation
        self.count += 1

    @property
    def value(self) -> float:
        return self.total / self.count


@dataclasses.dataclass
class Node:
    """`whole`: activations where a pattern that ends (to the left) here matches. `cut`: those where the text is seen as
    far as this node and patterns go on."""

    children: dict[int, Node] = dataclasses.field(default_factory=dict)
    whole: Mean = dataclasses.field(default_factory=Mean)
    cut: Mean = dataclasses.field(default_factory=Mean)


@dataclasses.dataclass(frozen=True)
class Match:
    """A pattern that fits at a position: `named` tokens of it were compared, over `depth` positions. `whole`: it ends
    there; else it goes on to the left of the window, where nothing can be compared."""

    node: Node
    named: int
    depth: int
    whole: bool

    @property
    def mean(self) -> Mean:
        return self.node.whole if self.whole else self.node.cut


class TokenGraph:
    """Patterns with the activation that is expected where they match."""

    def __init__(self) -> None:
        self.root = Node()

    def add(self, pattern: Sequence[int], activation: float) -> None:
        """Adds an observation of `pattern`: the token that fires, then the tokens before it, nearest first, ANY for
        those that do not matter."""
        node = self.root
        for token in pattern:
            node = node.children.setdefault(int(token), Node())
        node.whole.observe(activation)

    @property
    def n_edges(self) -> int:
        return sum(1 for _ in self._nodes(self.root)) - 1

    def _nodes(self, node: Node) -> Iterator[Node]:
        yield node
        for child in node.children.values():
            yield from self._nodes(child)

    def patterns(self) -> list[tuple[tuple[int, ...], Node]]:
        """All patterns with their nodes."""
        return list(_patterns(self.root, ()))

    def fitting(self, tokens: Sequence[int], position: int) -> list[Match]:
        """All patterns that fit at a position of a window."""
        first = self.root.children.get(int(tokens[position]))
        return [] if first is None else list(_fitting(first, tokens, position, 1, 1))

    def match(self, tokens: Sequence[int], position: int) -> Match | None:
        """The pattern that fits at a position of a window and compares most tokens; of equal ones, the longest, and
        then the one that is expected to fire more. A pattern that goes on to the left of the window counts if it was
        observed so."""
        found = [m for m in self.fitting(tokens, position) if m.mean.count]
        return max(found, key=_rank) if found else None

    def predict(self, tokens: np.ndarray) -> np.ndarray:
        """[n,w] the expected activations in windows [n,w]; 0 where nothing fits."""
        out = np.zeros(tokens.shape, np.float64)
        starts = np.isin(tokens, np.asarray(list(self.root.children), np.int64))
        for i, j in np.argwhere(starts):
            if (found := self.match(tokens[i].tolist(), j)) is not None:
                out[i, j] = found.mean.value
        return out


def _rank(match: Match) -> tuple[int, int, float]:
    return match.named, match.depth, match.mean.value


def _patterns(node: Node, before: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Node]]:
    if node.whole.count:
        yield before, node
    for token, child in node.children.items():
        yield from _patterns(child, (*before, token))


def _fitting(node: Node, tokens: Sequence[int], position: int, depth: int, named: int) -> Iterator[Match]:
    if node.whole.count:
        yield Match(node, named, depth, True)
    at = position - depth
    if at < 0:
        if node.children:
            yield Match(node, named, depth, False)
        return
    for key, more in ((int(tokens[at]), 1), (ANY, 0)):
        if (child := node.children.get(key)) is not None:
            yield from _fitting(child, tokens, position, depth + 1, named + more)
