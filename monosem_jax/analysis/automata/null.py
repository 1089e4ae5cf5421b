"""What a search would find by chance: graphs whose edges are shuffled.

Edges of about equal weight exchange their targets, so that every feature keeps the weights of the edges that leave it
and the number of those that come to it (and about their weights). What is lost is who is connected with whom. That a
feature has strong edges, or is the target of many, is no evidence for an automaton; that its edges come back is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from monosem_jax.analysis.automata.graph import Graph
from monosem_jax.analysis.automata.search import Found, search
from monosem_jax.runtime.rng import stream

STRATA, LEAST_EDGES = 8, 50  # classes of weights within which targets are exchanged, and edges in each
TRIES = 20  # rounds of exchanging the targets of edges that are there twice


def shuffled(graph: Graph, seed: int, number: int) -> Graph:
    """A graph with the sources and weights of `graph`, and in each of at most STRATA classes of weights the same
    targets in random order. No edge is there twice, unless it could not be avoided."""
    rng = stream("automata.null", seed, number)
    n = graph.n_features
    stratum = np.empty(len(graph), np.int64)
    strata = max(1, min(STRATA, len(graph) // LEAST_EDGES))
    stratum[np.argsort(graph.weight, kind="stable")] = np.arange(len(graph)) * strata // max(len(graph), 1)
    target, base, token = graph.target.copy(), graph.base.copy(), graph.token.copy()
    for s in range(strata):
        _exchange(rng, np.flatnonzero(stratum == s), target, base, token)
    for _ in range(TRIES):
        key = graph.source * n + target
        order = np.argsort(key, kind="stable")
        twice = np.zeros(len(graph), bool)
        twice[order[1:]] = key[order[1:]] == key[order[:-1]]
        if not twice.any():
            break
        for s in np.unique(stratum[twice]):
            here = np.flatnonzero(twice & (stratum == s))
            others = rng.choice(np.flatnonzero(stratum == s), len(here))
            _exchange(rng, np.unique(np.concatenate([here, others])), target, base, token)
    return Graph(n, graph.source, target, graph.weight, graph.rate, base, token)


def _exchange(rng: np.random.Generator, places: np.ndarray, *arrays: np.ndarray) -> None:
    """Puts the entries at `places` of all arrays into the same random order."""
    order = rng.permutation(places)
    for x in arrays:
        x[places] = x[order]


def null_scores(graph: Graph, n: int, least: Mapping[str, float], seed: int = 0) -> dict[str, list[np.ndarray]]:
    """For each kind in `least` the scores, from that one on, of the automata in each of `n` shuffled graphs."""
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in least}
    for number in range(n):
        other = shuffled(graph, seed, number)
        for kind, score in least.items():
            found[kind].append(search(other, (kind,), least=score)[kind].score)
    return found


def expected_by_chance(score: Float[np.ndarray, " n"], null: list[np.ndarray]) -> Float[np.ndarray, " n"]:
    """[n] how many automata with at least that score a shuffled graph has, on average."""
    pooled = np.sort(np.concatenate(null)) if null else np.zeros(0)
    return (len(pooled) - np.searchsorted(pooled, score, side="left")) / max(len(null), 1)


def false_share(found: Found, null: list[np.ndarray]) -> Float[np.ndarray, " n"]:
    """[n] the share of chance findings among all that score at least as high: those expected by chance over those
    found, at most 1, and never smaller than for a higher score. With no automaton in n shuffled graphs, 1/n of one is
    assumed, so that no share is 0."""
    chance = np.maximum(expected_by_chance(found.score, null), 1 / max(len(null), 1))
    rank = np.searchsorted(-found.score, -found.score, side="right")
    return np.maximum.accumulate(np.minimum(chance / rank, 1)) if len(found) else np.zeros(0)


def deviations(found: Found, null: list[np.ndarray], at: float) -> float:
    """By how many standard deviations of the shuffled graphs more automata of at least the score `at` were found
    (Poisson's deviation where it is larger)."""
    counts = np.asarray([np.sum(s >= at) for s in null], np.float64)
    spread = max(float(counts.std()), float(np.sqrt(max(counts.mean(), 1 / max(len(null), 1)))))
    return float((np.sum(found.score >= at) - counts.mean()) / spread)
