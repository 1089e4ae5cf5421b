from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis.probing import labelled_rows
from monosem_jax.analysis.probing.labelled_rows import LABEL, LEAST_ROWS, PROXY, Concept, plan_rows, read_rows, usable
from monosem_jax.analysis.probing.sparse_rows import SparseRows
from tests import planted

TOKENS, OF_CONTEXT = planted.documents(300)
LABELS = np.repeat(OF_CONTEXT[:, None], TOKENS.shape[1], 1)


class Marks:
    """Proxies of planted tokens: those of SET, and RARE."""

    names = ("set", "rare")

    def values(self, first: int, stop: int) -> np.ndarray:
        t = TOKENS[first:stop]
        return np.stack([np.isin(t, planted.SET), t == planted.RARE]).astype(np.float32)


@pytest.fixture(scope="module")
def plan():
    return plan_rows(TOKENS, LABELS, planted.LABELS, Marks(), bos=planted.BOS, rows=60, contexts=260)


def test_rows_with_and_without_a_concept_are_as_many_and_right(plan):
    for name in planted.LABELS:
        picks = plan.picks[Concept(name, LABEL)]
        assert len(picks.positive) == len(picks.negative) >= LEAST_ROWS
        for rows, here in ((picks.positive, True), (picks.negative, False)):
            for c, first, stop in plan.windows[rows]:
                own = [i for i in range(len(TOKENS)) if np.array_equal(TOKENS[i], plan.tokens[c])]
                assert (planted.LABELS[OF_CONTEXT[own[0]]] == name) is here
                assert stop - first >= labelled_rows.LEAST_WINDOW and planted.BOS not in plan.tokens[c, first:stop]
    picks = plan.picks[Concept("set", PROXY)]
    assert len(picks.positive) == len(picks.negative) == 60
    for rows, here in ((picks.positive, True), (picks.negative, False)):
        c, t = plan.places[rows].T
        assert (np.isin(plan.tokens[c, t], planted.SET) == here).all()
        assert (plan.tokens[c, t] != planted.BOS).all()


def test_rows_without_a_label_are_of_the_others_in_equal_parts(plan):
    picks = plan.picks[Concept("code", LABEL)]
    first_of = {c.tobytes(): label for c, label in zip(TOKENS, OF_CONTEXT, strict=True)}
    labels = [first_of[plan.tokens[c].tobytes()] for c in plan.windows[picks.negative][:, 0]]
    counts = np.bincount(labels, minlength=4)
    assert counts[planted.LABELS.index("code")] == 0 and np.ptp(np.delete(counts, planted.LABELS.index("code"))) <= 1


def test_a_concept_with_too_few_rows_has_none(plan):
    rare = Concept("rare", PROXY)
    assert (TOKENS == planted.RARE).sum() >= LEAST_ROWS and rare in plan.picks
    few = plan_rows(TOKENS[:60], LABELS[:60], planted.LABELS, Marks(), bos=planted.BOS)
    assert rare not in few.picks
    good, left_out = usable(plan, few)
    assert rare in left_out and Concept("set", PROXY) in good


def test_the_rows_are_the_activations_and_their_means(plan):
    it = planted.planted().features
    rows = read_rows(it, plan, batch=7)
    f = it.activations(plan.tokens).astype(np.float64)
    columns = np.arange(len(it))
    dense = rows.places.dense(np.arange(len(plan.places)), columns)
    np.testing.assert_allclose(dense, f[plan.places[:, 0], plan.places[:, 1]], rtol=1e-6)
    means = np.stack([f[c, a:b].mean(axis=0) for c, a, b in plan.windows])
    np.testing.assert_allclose(rows.windows.dense(np.arange(len(means)), columns), means, rtol=1e-6, atol=1e-9)


def test_contexts_are_bounded():
    plan = plan_rows(TOKENS, LABELS, planted.LABELS, Marks(), bos=planted.BOS, rows=100, contexts=40)
    assert len(plan.tokens) <= 40
    windows = [(LABELS[next(i for i in range(300) if np.array_equal(TOKENS[i], c))][0]) for c in plan.tokens]
    assert np.bincount(windows).min() >= 8  # no label goes short


def test_only_some_runs_of_contexts_are_looked_at(monkeypatch):
    monkeypatch.setattr(labelled_rows, "LOOKED_AT", 128 * TOKENS.shape[1])
    plan = plan_rows(TOKENS, LABELS, planted.LABELS, Marks(), bos=planted.BOS, contexts=1000)
    picks = plan.picks[Concept("set", PROXY)]
    c, t = plan.places[picks.positive].T
    assert len(plan.tokens) <= 128 and np.isin(plan.tokens[c, t], planted.SET).all()


def test_without_labels_and_proxies_there_are_no_concepts():
    plan = plan_rows(TOKENS, np.full_like(LABELS, -1), planted.LABELS, None, bos=planted.BOS)
    assert not plan.picks


def test_sparse_rows_are_the_dense_ones():
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((20, 9)) < 0.3, rng.normal(size=(20, 9)), 0).astype(np.float32)
    rows = SparseRows.joined([SparseRows.of(dense[:5]), SparseRows.of(dense[5:5]), SparseRows.of(dense[5:])], 9)
    pick, columns = np.array([3, 19, 3, 0]), np.array([8, 0, 4])
    assert len(rows) == 20
    np.testing.assert_array_equal(rows.dense(pick, columns), dense[pick][:, columns])
    np.testing.assert_allclose(rows.mean(pick), dense[pick].mean(axis=0), atol=1e-7)
    np.testing.assert_array_equal(rows.counts(pick), (dense[pick] != 0).sum(axis=0))
    assert len(SparseRows.joined([], 9)) == 0
