from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis.probing import fms as fms_lib
from monosem_jax.analysis.probing.fms import candidates, fms, mean_of, score
from monosem_jax.analysis.probing.labelled_rows import PROXY, Concept, LabelledRows, Picks
from monosem_jax.analysis.probing.sparse_rows import SparseRows
from monosem_jax.analysis.probing.trees import grow

CONCEPT = Concept("kind", PROXY)
N, WIDTH = 200, 30


def rows_of(seed: int, carriers: int, noise: float = 0.0) -> LabelledRows:
    """N rows with the concept and N without; the first `carriers` features each fire just where it holds, but for
    `noise` of the rows."""
    rng = np.random.default_rng(seed)
    truth = np.repeat([True, False], N)
    x = np.where(rng.random((2 * N, WIDTH)) < 0.3, rng.uniform(0.5, 1, (2 * N, WIDTH)), 0)
    for i in range(carriers):
        x[:, i] = np.where(truth ^ (rng.random(2 * N) < noise), rng.uniform(1, 2, 2 * N), 0)
    sparse = SparseRows.of(x.astype(np.float32))
    return LabelledRows(sparse, sparse, {CONCEPT: Picks(np.arange(N), np.arange(N, 2 * N))})


def test_a_concept_in_one_feature_scores_one():
    row = score("features", rows_of(0, 1), rows_of(1, 1), CONCEPT)
    assert row.feature == 0 and row.root_accuracy == 1 and row.depth_accuracy == (1.0,)
    assert row.removed_accuracy[0] == pytest.approx(0.5, abs=0.08)
    assert row.fms_1 == pytest.approx(1, abs=0.1) and row.fms_5 == pytest.approx(1, abs=0.1)


def test_a_concept_in_three_features_is_told_from_one_by_the_features_that_are_left():
    row = score("features", rows_of(0, 3), rows_of(1, 3), CONCEPT)
    assert set(row.removed[:3]) == {0, 1, 2}
    assert row.removed_accuracy[:2] == (1.0, 1.0) and row.removed_accuracy[2] < 0.6
    assert row.fms_1 == pytest.approx(0.5) and row.fms_5 == pytest.approx(1, abs=0.1)


def test_a_concept_in_no_feature_scores_a_quarter_as_do_shuffled_classes():
    rows = [score("features", rows_of(2 * s, 0), rows_of(2 * s + 1, 0), CONCEPT, seed=s) for s in range(12)]
    for field in ("fms_1", "fms_5", "fms_1_shuffled", "fms_5_shuffled"):
        assert mean_of(rows, "features", field) == pytest.approx(0.25, abs=0.04)
    assert mean_of(rows, "features", "root_accuracy_shuffled") == pytest.approx(0.5, abs=0.04)
    assert mean_of(rows, "neurons", "fms_1") is None
    planted = [score("features", rows_of(2 * s, 1), rows_of(2 * s + 1, 1), CONCEPT, seed=s) for s in range(12)]
    assert mean_of(planted, "features", "fms_1_shuffled") == pytest.approx(0.25, abs=0.04)


def test_the_score_is_that_of_trees_of_all_features():
    """With few features every one is a candidate: the definition in plain steps gives the same numbers."""
    training, heldout = rows_of(4, 2, noise=0.15), rows_of(5, 2, noise=0.15)
    row = score("features", training, heldout, CONCEPT)
    every, y = np.arange(WIDTH), np.repeat([True, False], N)
    x, test = (r.places.dense(np.arange(2 * N), every).astype(np.float64) for r in (training, heldout))
    tree = grow(x, y)
    by_depth = [np.mean(grow(x, y, d).predict(test) == y) for d in range(1, tree.height + 1)]
    assert row.depth_accuracy == pytest.approx(by_depth)
    assert row.root_accuracy == by_depth[0] and row.feature == tree.feature[0]
    removed, accuracies, root = [], [], int(tree.feature[0])
    for _ in range(5):
        removed.append(root)
        x[:, root] = test[:, root] = 0
        cut = grow(x, y, 3)
        accuracies.append(np.mean(cut.predict(test) == y))
        root = int(cut.feature[0])
    assert list(row.removed) == removed and row.removed_accuracy == pytest.approx(accuracies)
    whole = 1 - np.mean([a - by_depth[0] for a in by_depth])
    for got, without in ((row.fms_1, accuracies[0]), (row.fms_5, accuracies[4])):
        assert got == pytest.approx(by_depth[0] * (2 * (by_depth[0] - without) + whole) / 2)


def test_candidates_are_the_features_that_split_best(monkeypatch):
    monkeypatch.setattr(fms_lib, "CANDIDATES", 3)
    monkeypatch.setattr(fms_lib, "COLUMNS", 7)
    rows = rows_of(6, 2, noise=0.1)
    found = candidates(rows.places, np.arange(2 * N), np.repeat([True, False], N))
    assert {0, 1} < set(found) and len(found) == 3 and sorted(found) == list(found)


def test_rows_that_are_all_alike_are_no_trouble():
    nothing = SparseRows.of(np.zeros((2 * N, WIDTH), np.float32))
    rows = LabelledRows(nothing, nothing, {CONCEPT: Picks(np.arange(N), np.arange(N, 2 * N))})
    row = score("features", rows, rows, CONCEPT)
    assert row.feature == -1 and row.root_accuracy == 0.5 and row.fms_1 == pytest.approx(0.25)


def test_the_formula():
    assert fms(0.9, [0.9, 0.95], 0.6) == pytest.approx(0.9 * (2 * 0.3 + 1 - 0.025) / 2)
