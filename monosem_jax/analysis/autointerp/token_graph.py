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
    """Where patterns end (to the left) or go on. `sources` are the numbers of the observations that made patterns that
    end here.

    Activations: `whole` where such a pattern matches; `cut` where patterns go on and the text ends here; `other`, of
    the nodes below the root, where their token stands in none of its known contexts.
    """

    children: dict[int, Node] = dataclasses.field(default_factory=dict)
    whole: Mean = dataclasses.field(default_factory=Mean)
    cut: Mean = dataclasses.field(default_factory=Mean)
    other: Mean = dataclasses.field(default_factory=Mean)
    sources: set[int] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(frozen=True)
class Match:
    """A pattern that fits at a position: `named` tokens of it were compared, over `depth` positions, and `mean` is what
    is expected there. `whole`: it ends there; else it goes on to the left of the window, where nothing is seen."""

    node: Node
    mean: Mean
    named: int
    depth: int
    whole: bool


class TokenGraph:
    """Patterns with the activation that is expected where they match."""

    def __init__(self) -> None:
        self.root = Node()

    def add(self, pattern: Sequence[int], activation: float, source: int) -> None:
        """Adds an observation of `pattern`: the token that fires, then the tokens before it, nearest first, ANY for
        those that do not matter. `source` is the number of the token of the examples that it comes from."""
        node = self.root
        for token in pattern:
            node = node.children.setdefault(int(token), Node())
        node.whole.observe(activation)
        node.sources.add(source)

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
        return [m for m in _fitting(self.root, tokens, position, 0, 0) if m.depth]

    def match(self, tokens: Sequence[int], position: int, without: int = -1) -> Match | None:
        """The pattern that fits at a position of a window and compares most tokens; of equal ones, the longest, and
        then the one that is expected to fire more. A pattern that goes on to the left of the window counts if it was
        observed so, and names a token that is seen. Patterns that come from the source `without` alone are left out."""
        found = [
            m for m in self.fitting(tokens, position) if m.mean.count and not (m.whole and m.node.sources == {without})
        ]
        return max(found, key=_rank) if found else None

    def known(self, tokens: np.ndarray) -> np.ndarray:
        """[n,2] the places in windows [n,w] at which a pattern may fit."""
        if ANY in self.root.children:
            return np.argwhere(np.ones(tokens.shape, bool))
        return np.argwhere(np.isin(tokens, np.asarray(list(self.root.children), np.int64)))

    def expected(self, tokens: Sequence[int], position: int) -> float:
        """The activation at a position of a window: that of the best pattern; of a token in none of its known contexts
        what it was observed to be (at least twice); 0 for other tokens."""
        if (found := self.match(tokens, position)) is not None:
            return found.mean.value
        first = self.root.children.get(int(tokens[position]))
        return first.other.value if first is not None and first.other.count > 1 else 0.0

    def predict(self, tokens: np.ndarray) -> np.ndarray:
        """[n,w] the expected activations in windows [n,w], as whole numbers."""
        out = np.zeros(tokens.shape, np.float64)
        rows = tokens.tolist()
        for i, j in self.known(tokens).tolist():
            out[i, j] = self.expected(rows[i], j)
        return np.floor(out + 0.5)


def _rank(match: Match) -> tuple[int, int, float]:
    return match.named, match.depth, match.mean.value


def _patterns(node: Node, before: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Node]]:
    if node.whole.count:
        yield before, node
    for token, child in node.children.items():
        yield from _patterns(child, (*before, token))


def _fitting(node: Node, tokens: Sequence[int], position: int, depth: int, named: int) -> Iterator[Match]:
    if node.whole.count:
        yield Match(node, node.whole, named, depth, True)
    at = position - depth
    if at < 0:
        if node.children and named:
            yield Match(node, node.cut, named, depth, False)
        return
    for key, more in ((int(tokens[at]), 1), (ANY, 0)):
        if (child := node.children.get(key)) is not None:
            yield from _fitting(child, tokens, position, depth + 1, named + more)
