"""Which of the automata that were found are reported: strong, rare by chance, and different from each other."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from monosem_jax.analysis.automata.graph import Graph
from monosem_jax.analysis.automata.null import deviations, expected_by_chance, false_share, null_scores
from monosem_jax.analysis.automata.rates import TokenRates
from monosem_jax.analysis.automata.search import KINDS, strongest


@dataclasses.dataclass(frozen=True)
class Chosen:
    """n automata of one kind by falling score: see `Found`. `expected` [n]: how many automata with at least that score
    a shuffled graph has, `false_share` [n] the share of chance findings among all that score as high."""

    kind: str
    nodes: np.ndarray
    edges: np.ndarray
    score: np.ndarray
    expected: np.ndarray
    false_share: np.ndarray

    def __len__(self) -> int:
        return len(self.score)


@dataclasses.dataclass(frozen=True)
class KindCount:
    """How many automata of a kind there are, beside chance. `found` of those looked at, the strongest, have a false
    share of at most the limit; `least` is the lowest score among them (None: there are none). A shuffled graph has
    `expected` with that score, `deviations` standard deviations fewer."""

    kind: str
    looked_at: int
    found: int
    least: float | None
    expected: float | None
    deviations: float | None


def choose(
    graph: Graph, rates: TokenRates, *, looked_at: int, most: int, largest_false_share: float, alike: float,
    shuffles: int, seed: int = 0,
) -> tuple[list[Chosen], list[KindCount]]:  # fmt: skip
    """Of every kind the `most` automata with the highest scores and at most that false share, no two of which have a
    feature in common. Features whose firings by token have a cosine of `alike` or more are twins, and count as one.

    Args:
      looked_at: automata of each kind, those with the highest scores, that are looked at.
      shuffles: graphs with shuffled edges, by which chance is judged.
    """
    found = {kind: strongest(graph, kind, looked_at) for kind in KINDS}
    least = {kind: float(each.score[-1]) for kind, each in found.items() if len(each)}
    null = null_scores(graph, shuffles, least, seed)
    chosen, counts = [], []
    for kind, each in found.items():
        if not len(each):
            counts.append(KindCount(kind, 0, 0, None, None, None))
            continue
        chance, share = expected_by_chance(each.score, null[kind]), false_share(each, null[kind])
        n = int(np.sum(share <= largest_false_share))
        at = float(each.score[n - 1]) if n else None
        counts.append(
            KindCount(kind, len(each), n, at, float(chance[n - 1]) if n else None,
                      deviations(each, null[kind], at) if at is not None else None)
        )  # fmt: skip
        kept = _different(each.nodes[:n], rates, most, alike)
        chosen.append(
            Chosen(kind, each.nodes[kept], each.edges[kept], each.score[kept], chance[kept], share[kept])
        )  # fmt: skip
    return chosen, counts


def _different(nodes: Int[np.ndarray, "n k"], rates: TokenRates, most: int, alike: float) -> list[int]:
    """The places of the first `most` automata that have no feature, and no twin, in common."""
    features, place = np.unique(nodes, return_inverse=True)
    place = place.reshape(nodes.shape)
    profiles: dict[int, Float[np.ndarray, " V"]] = {}
    kept: list[int] = []
    for n, row in enumerate(place):
        own = [_profile(rates, int(features[i])) for i in row]
        twins = any(own[i] @ own[j] >= alike for i in range(len(own)) for j in range(i))
        if len(kept) >= most:
            break
        if twins or any(int(i) in profiles for i in row):
            continue
        if profiles and (np.stack(own) @ np.stack(list(profiles.values())).T >= alike).any():
            continue
        profiles |= {int(i): x for i, x in zip(row, own, strict=True)}
        kept.append(n)
    return kept


def _profile(rates: TokenRates, feature: int) -> np.ndarray:
    """[V] a feature's firings by token, of norm 1."""
    x = rates.fired[feature].astype(np.float64)
    return x / max(float(np.linalg.norm(x)), 1e-12)
