"""The search against loops over all tuples, and what it finds in graphs without structure."""

import itertools

import numpy as np
import pytest

from monosem_jax.analysis.automata.causal import Firing, check_edge, draw_prompts, interval
from monosem_jax.analysis.automata.choice import choose
from monosem_jax.analysis.automata.graph import Graph
from monosem_jax.analysis.automata.null import expected_by_chance, false_share, null_scores, shuffled
from monosem_jax.analysis.automata.rates import TokenRates
from monosem_jax.analysis.automata.search import KINDS, Found, search, strongest
from monosem_jax.runtime.errors import BadInput


def graph_of(weights: np.ndarray) -> Graph:
    """From weights [F,F], 0 for no edge."""
    i, j = np.nonzero(weights)
    order = np.lexsort((-weights[i, j], i))
    i, j = i[order], j[order]
    return Graph(len(weights), i, j, weights[i, j], weights[i, j], 0 * weights[i, j], i % 5)


def random_weights(n: int, per_feature: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weights = np.zeros((n, n))
    for row in weights:
        row[rng.choice(n, per_feature, replace=False)] = rng.uniform(0.01, 0.3, per_feature)
    return weights


def plain(w: np.ndarray) -> dict[str, dict[tuple, float]]:
    """kind → nodes → score, over all tuples of features."""
    n = len(w)
    found: dict[str, dict[tuple, float]] = {kind: {} for kind in KINDS}
    for i in range(n):
        if w[i, i]:
            found["loop"][(i,)] = w[i, i]
    for size in (2, 3, 4):
        for nodes in itertools.permutations(range(n), size):
            steps = [w[a, b] for a, b in itertools.pairwise(nodes)]
            if not all(steps):
                continue
            back = w[nodes[-1], nodes[0]]
            if back and nodes[0] == min(nodes):
                found["pair" if size == 2 else f"cycle{size}"][nodes] = min(*steps, back)
            if size == 4:
                found["chain"][nodes] = min(steps)
    for hub, a, b in itertools.permutations(range(n), 3):
        edges = [w[hub, a], w[a, hub], w[hub, b], w[b, hub]]
        if a < b and all(edges):
            found["branch"][hub, a, b] = min(edges)
    return found


def test_all_automata_are_those_of_a_plain_loop():
    w = random_weights(9, 4, 0)
    graph = graph_of(w)
    expected = plain(w)
    for kind, found in search(graph).items():
        got = {tuple(nodes): score for nodes, score in zip(found.nodes.tolist(), found.score, strict=True)}
        assert got == pytest.approx(expected[kind]) and len(got) == len(found), kind
        assert (np.diff(found.score) <= 0).all()
        for nodes, edges in zip(found.nodes, found.edges, strict=True):
            assert set(graph.source[edges]) | set(graph.target[edges]) == set(nodes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_strongest_are_the_first_of_all(kind, monkeypatch):
    monkeypatch.setattr("monosem_jax.analysis.automata.search.FIRST", 8)
    graph = graph_of(random_weights(30, 6, 1))
    every, some = search(graph, (kind,))[kind], strongest(graph, kind, 5)
    np.testing.assert_allclose(some.score[:5], every.score[:5])
    assert len(some) >= min(5, len(every))


def test_a_shuffled_graph_keeps_degrees_and_weights():
    graph = graph_of(random_weights(200, 8, 2))
    other = shuffled(graph, 0, 0)
    np.testing.assert_array_equal(other.source, graph.source)
    np.testing.assert_array_equal(other.weight, graph.weight)
    np.testing.assert_array_equal(np.bincount(other.target), np.bincount(graph.target))
    key = other.source * 200 + other.target
    assert len(np.unique(key)) == len(key)
    assert np.mean(other.target == graph.target) < 0.1
    assert (shuffled(graph, 0, 1).target != other.target).any()
    np.testing.assert_array_equal(shuffled(graph, 0, 0).target, other.target)


def planted_weights() -> np.ndarray:
    """A random graph with a strong loop, a pair and a cycle of three, and as strong edges that do not close."""
    w = random_weights(1000, 6, 3)
    for i in range(40, 100):
        w[i, i + 497] = 1.0 + i / 1000
    for i, j in ((1, 1), (2, 3), (3, 2), (4, 5), (5, 6), (6, 4)):
        w[i, j] = 1.05
    return w


def rates_of(n: int) -> TokenRates:
    fired = np.eye(n, dtype=np.int32) * 50
    return TokenRates("features", np.full(n, 100), fired, np.ones(n, np.float32))


OPTIONS = {"looked_at": 50, "most": 4, "largest_false_share": 0.1, "alike": 0.9, "shuffles": 20}


def test_what_closes_is_told_from_chance():
    chosen, kinds = choose(graph_of(planted_weights()), rates_of(1000), **OPTIONS)
    found = {c.kind: c for c in chosen}
    for kind, nodes in (("loop", (1,)), ("pair", (2, 3)), ("cycle3", (4, 5, 6))):
        each = found[kind]
        assert tuple(each.nodes[0]) == nodes and each.false_share[0] <= 0.1
        assert len(each) <= 2, "one finding in ten may be one of chance"
    assert all(k.deviations > 3 for k in kinds if k.kind in ("loop", "pair", "cycle3"))


def test_a_graph_without_structure_has_hardly_anything_beyond_chance():
    """One finding in ten may be one of chance, of each kind and seed."""
    n = 0
    for seed in range(2):
        chosen, _ = choose(shuffled(graph_of(planted_weights()), seed, 999), rates_of(1000), **OPTIONS)
        n += sum(len(c) for c in chosen)
    assert n <= 3


def test_twins_and_features_in_common_count_once():
    w = np.zeros((8, 8))
    for i, j in ((0, 1), (1, 0), (2, 3), (3, 2), (1, 4), (4, 1), (5, 6), (6, 5)):
        w[i, j] = 1.0 - 0.1 * min(i, j)
    rates = rates_of(8)
    rates.fired[2] = rates.fired[0]  # twins
    options = {**OPTIONS, "largest_false_share": 1.0}
    pair = next(c for c in choose(graph_of(w), rates, **options)[0] if c.kind == "pair")
    assert [tuple(n) for n in pair.nodes] == [(0, 1), (5, 6)]


def test_shares_of_chance_findings():
    found = Found("loop", np.zeros((4, 1)), np.zeros((4, 1)), np.array([5.0, 3.0, 3.0, 1.0]))
    null = [np.array([4.0]), np.array([1.0, 0.5]), np.zeros(0), np.array([3.0])]
    np.testing.assert_allclose(expected_by_chance(found.score, null), [0, 0.5, 0.5, 0.75])
    np.testing.assert_allclose(false_share(found, null), [0.25, 0.25, 0.25, 0.25])
    found = Found("loop", np.zeros((2, 1)), np.zeros((2, 1)), np.array([3.0, 1.0]))
    np.testing.assert_allclose(false_share(found, null), [0.5, 0.5])
    graph = graph_of(random_weights(60, 5, 7))
    scores = null_scores(graph, 3, {"loop": 0.1}, 0)["loop"]
    for number, found_scores in enumerate(scores):
        expected = search(shuffled(graph, 0, number), ("loop",))["loop"].score
        np.testing.assert_array_equal(found_scores, expected[expected >= 0.1])


def test_intervals_are_those_of_student_with_one_prompt_of_no_difference():
    x = np.array([0.1, 0.4, 0.3, 0.2])
    mean, low, high = interval(x)
    padded = np.append(x, 0)
    spread = padded.std(ddof=1) / np.sqrt(5) * 4.604094871  # t of 4 degrees of freedom at 0.995
    assert (mean, low, high) == pytest.approx((0.25, 0.2 - spread, 0.2 + spread))
    assert interval(np.full(8, 0.5))[1] < 0.5 and interval(np.zeros(8)) == (0, 0, 0)


def test_an_edge_needs_both_differences_and_an_effect():
    def firing(held, unheld, beside):
        full = [np.full((30, 1), x) for x in (held, unheld, beside)]
        return Firing(np.array([7]), np.array([9]), np.array([3]), full[0][None], full[1], full[2][None])

    def confirmed(*rates):
        return check_edge(firing(*rates), 7, 3, 0.05).confirmed

    assert confirmed(0.5, 0.1, 0.1) and not confirmed(0.5, 0.5, 0.1)
    assert not confirmed(0.5, 0.1, 0.5) and not confirmed(0.12, 0.1, 0.1)
    assert check_edge(firing(0.5, 0.1, 0.2), 9, 3, 0.05).held == pytest.approx(0.2)


def test_prompts_are_beginnings_of_one_document():
    tokens = np.arange(1, 61).reshape(10, 6)
    tokens[:, 0] = 0
    tokens[:4, 2] = 0
    found = draw_prompts(tokens, 0, 5, 3)
    assert found.shape == (5, 4) and (found[:, 0] == 0).all() and (found[:, 1:] > 24).all()
    with pytest.raises(BadInput, match="6 of 10 contexts begin with 3 tokens of one document: expected 7"):
        draw_prompts(tokens, 0, 7, 3)
