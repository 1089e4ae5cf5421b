"""Feature splitting: edges, families and covers against float64 computations over all activations."""

import numpy as np
import pytest

from monosem_jax.analysis.joint.pair_sums import PairSums, SideSums
from monosem_jax.analysis.splitting.edges import EdgeRule
from monosem_jax.analysis.splitting.graph import splitting_graph
from monosem_jax.runtime.errors import BadInput

TOKENS = 4000
RULE = EdgeRule(0.4, 1e-6, 10)


def sums_of(f: np.ndarray, g: np.ndarray, names=("small", "large")) -> PairSums:
    """What `pair_sums` gives of activations [n,F] and [n,G]."""
    a, b = (SideSums(name, x.sum(0), (x**2).sum(0), (x != 0).sum(0)) for name, x in zip(names, (f, g), strict=True))
    on_f, on_g = (f != 0).astype(float), (g != 0).astype(float)
    return PairSums(a, b, len(f), f.T @ g, on_f.T @ on_g, (f**2).T @ on_g, on_f.T @ g**2)


def levels(seed: int = 0, halves: int = 2) -> list[np.ndarray]:
    """Activations [n,F] of three dictionaries. Features 0 to 2 of the first fire on tokens of their own; each is
    divided into two by the second, and again by the third, by the token. Then come features of no family: one that is
    always on, one that fires 3 times, one that never does."""
    rng = np.random.default_rng(seed)
    token = rng.integers(0, 40, TOKENS)
    strength = rng.uniform(0.5, 1, TOKENS)
    found = []
    for n, width in ((3, 8), (6, 4), (12, 2)):
        own = np.where(token[:, None] // width == np.arange(n), strength[:, None], 0)
        others = np.zeros((TOKENS, 3))
        others[:, 0] = 0.01
        others[:3, 1] = 1
        found.append(np.concatenate([own, others], axis=1))
    return found


def graph_of(f: list[np.ndarray], rule: EdgeRule = RULE, directions=None):
    names = [f"d{i}" for i in range(len(f))]
    return splitting_graph(
        [sums_of(f[i], f[i + 1], (names[i], names[i + 1])) for i in range(len(f) - 1)], rule, directions
    )


def test_planted_families_are_found():
    f = [np.delete(x, -3, axis=1) for x in levels()]
    graph = graph_of(f)
    assert graph.growth().tolist() == [[1, 2, 4]] * 3 + [[0, 0, 0]] * 2
    np.testing.assert_array_equal(graph.growth(best=False), graph.growth())
    np.testing.assert_array_equal(graph.growth(implied=0.99), graph.growth())
    assert graph.family()[2].tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [-1] * 2
    assert graph.components(best=False).tolist() == [7, 7, 7]
    for step in graph.steps:
        np.testing.assert_allclose(step.child_to_parent, 1)
        assert step.best.all() and step.matched.max() < 0.1
        for parent in range(3):
            assert step.parent_to_child[step.parent == parent].sum() == pytest.approx(1)
            assert step.mass[step.parent == parent].sum() == pytest.approx(1)


@pytest.fixture(scope="module")
def noisy() -> list[np.ndarray]:
    """Activations in which everything is a little like everything."""
    rng = np.random.default_rng(3)
    hidden = rng.exponential(size=(TOKENS, 6)) * (rng.random((TOKENS, 6)) < 0.1)
    found = []
    for n in (7, 11, 20):
        mixed = hidden @ rng.uniform(0, 1, (6, n)) + rng.normal(0, 0.3, (TOKENS, n))
        found.append(np.maximum(mixed - rng.uniform(0.5, 1.5, n), 0))
    found[1][:, 4] = 0
    return found


def test_edges_are_those_of_all_activations(noisy):
    rng = np.random.default_rng(1)
    directions = [rng.normal(size=(x.shape[1], 5)) for x in noisy]
    graph = graph_of(noisy, directions=directions)
    for f, g, step, a, b in zip(noisy, noisy[1:], graph.steps, directions, directions[1:], strict=False):
        expected = {}
        for i in range(f.shape[1]):
            for j in range(g.shape[1]):
                fi, gj, on = f[:, i], g[:, j], (f[:, i] > 0) & (g[:, j] > 0)
                if not on.any():
                    continue
                value = max(fi[m] @ gj[m] / np.linalg.norm(fi[m]) / np.linalg.norm(gj[m]) for m in (fi > 0, gj > 0))
                if value > 0.4:
                    expected[i, j] = (
                        value,
                        on.sum() / (gj > 0).sum(),
                        on.sum() / (fi > 0).sum(),
                        (fi[on] ** 2).sum() / (fi**2).sum(),
                        a[i] @ b[j] / np.linalg.norm(a[i]) / np.linalg.norm(b[j]),
                        max(
                            fi.mean() / np.sqrt((fi**2).mean()) * gj[gj > 0].mean() / np.sqrt((gj[gj > 0] ** 2).mean()),
                            gj.mean() / np.sqrt((gj**2).mean()) * fi[fi > 0].mean() / np.sqrt((fi[fi > 0] ** 2).mean()),
                        ),
                    )
        assert 5 < len(expected) < f.shape[1] * g.shape[1]
        assert list(zip(step.parent.tolist(), step.child.tolist(), strict=True)) == list(expected)
        columns = (step.similarity, step.child_to_parent, step.parent_to_child, step.mass, step.cosine, step.chance)
        for k, found in enumerate(columns):
            np.testing.assert_allclose(found, [row[k] for row in expected.values()], rtol=1e-5, atol=1e-7)
        for j in {j for _, j in expected}:
            best = max(row[0] for (_, jj), row in expected.items() if jj == j)
            assert step.similarity[step.best & (step.child == j)] == pytest.approx([best], abs=1e-3)


def test_the_chance_similarity_is_that_of_a_shuffled_feature():
    rng = np.random.default_rng(0)
    f = rng.exponential(size=(40000, 1)) * (rng.random((40000, 1)) < 0.7)
    g = rng.exponential(size=(40000, 2)) * (rng.random((40000, 2)) < 0.05)
    step = graph_of([f, g], EdgeRule(0.0)).steps[0]
    np.testing.assert_allclose(step.similarity, step.chance, atol=0.02)
    assert step.chance.min() > 0.4  # a dense feature is everyone's parent


def test_a_dense_superset_is_no_better_parent_than_the_feature_itself():
    f = np.concatenate([np.ones((TOKENS, 1)), levels()[0][:, :3] > 0], axis=1).astype(float)
    step = graph_of([f, np.concatenate([f[:, ::-1], np.zeros((TOKENS, 1))], axis=1)]).steps[0]
    np.testing.assert_allclose(step.similarity, 1)  # to the dense one everything is similar
    assert step.best_parent().tolist() == [3, 2, 1, 0, -1]


def test_there_is_no_edge_between_shuffled_features():
    rng = np.random.default_rng(5)
    f = [x[rng.permutation(TOKENS)] for x in levels()]
    f = [np.delete(x, -3, axis=1) for x in f]
    graph = graph_of(f, EdgeRule(0.55))
    assert not any(len(step) for step in graph.steps)
    assert not graph.components(best=False).size and not graph.growth()[:, 1:].any()
    assert not graph.growth(best=False)[:, 1:].any()


def test_the_order_of_features_does_not_matter(noisy):
    rng = np.random.default_rng(2)
    order = [rng.permutation(x.shape[1]) for x in noisy]
    graph, other = graph_of(noisy), graph_of([x[:, o] for x, o in zip(noisy, order, strict=True)])
    for best in (True, False):
        np.testing.assert_array_equal(graph.growth(best=best)[order[0]], other.growth(best=best))
        np.testing.assert_array_equal(graph.components(best=best), other.components(best=best))
    for k, (a, b) in enumerate(zip(graph.steps, other.steps, strict=True)):
        theirs = dict(zip(zip(order[k][b.parent], order[k + 1][b.child], strict=True), range(len(b)), strict=True))
        same = [theirs[pair] for pair in zip(a.parent, a.child, strict=True)]
        for name in ("similarity", "best", "child_to_parent", "mass", "matched"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name)[same], rtol=1e-6)


def test_rare_features_are_left_out():
    f = levels()
    dense = graph_of(f).steps[0]
    assert dense.considered_parents.tolist() == [True] * 3 + [True, False, False]
    loose = graph_of(f, EdgeRule(0.4, 1e-6, 1)).steps[0]
    assert loose.considered_parents[4] and (loose.parent == 4).sum() > (dense.parent == 4).sum() == 0
    assert not graph_of(f, EdgeRule(0.4, 0.01, 1)).steps[0].considered_parents[4]


def test_impossible_input_is_refused_in_one_line():
    f = levels()
    with pytest.raises(BadInput, match="small with 9, large with 6 features: expected rising sizes"):
        splitting_graph([sums_of(f[1], f[0])])
    with pytest.raises(BadInput, match="small with 6, large with 6 features: expected rising sizes"):
        splitting_graph([sums_of(f[0], f[0])])
    with pytest.raises(BadInput, match="then of other and third: expected each to begin"):
        splitting_graph([sums_of(f[0], f[1]), sums_of(f[1], f[2], ("other", "third"))])
    with pytest.raises(BadInput, match="no sums"):
        splitting_graph([])
    with pytest.raises(BadInput, match="directions of 3, 4 features: expected 6, 9"):
        splitting_graph([sums_of(f[0], f[1])], RULE, [np.ones((3, 2)), np.ones((4, 2))])
