from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis import token_in_context as tic
from monosem_jax.analysis.scan.entry import scan
from monosem_jax.analysis.token_in_context import LabelledTokens, best_label, candidates, token_in_context
from tests import planted

TOKENS, LABEL = planted.documents(400)


@pytest.fixture(scope="module")
def text() -> LabelledTokens:
    labels = np.repeat(LABEL[:, None], TOKENS.shape[1], axis=1)
    return LabelledTokens(TOKENS, labels, planted.LABELS, planted.WORDS)


@pytest.fixture(scope="module")
def found(text):
    it = planted.planted().features
    scanned = scan(it, TOKENS, text.labels, labels=planted.LABELS)
    return it, scanned, token_in_context(it, scanned, text)


def test_the_planted_feature_is_found_with_the_label_that_tells_it(found):
    _, _, records = found
    record = records[planted.CONTEXT_FEATURE]
    truth = planted.activations(TOKENS)[..., planted.CONTEXT_FEATURE] > 0
    here = TOKENS == planted.AMBIGUOUS
    assert (record.id, record.token) == (planted.AMBIGUOUS, "in")
    assert record.share_of_firings == 1.0
    assert record.share_of_occurrences == pytest.approx(truth.sum() / here.sum())
    assert record.occurrences == here.sum()
    assert (record.label, record.label_auc) == ("code", 1.0)


def test_a_feature_of_one_token_that_always_fires_has_no_label(found):
    _, _, records = found
    single = records[6]
    assert single.share_of_occurrences == 1.0 and single.label is None and single.label_auc is None


def test_features_of_many_tokens_and_silent_ones_are_no_candidates(found):
    _, scanned, records = found
    assert set(records) == set(candidates(scanned).tolist())
    assert not {planted.SET_FEATURE, planted.DENSE_FEATURE, planted.DEAD_FEATURE, planted.BLURRED_FEATURE} & set(
        records
    )


def test_shuffled_labels_tell_nothing(found, text):
    it, scanned, _ = found
    shuffled = np.random.default_rng(0).permutation(LABEL)[:, None].repeat(TOKENS.shape[1], 1)
    records = token_in_context(it, scanned, LabelledTokens(TOKENS, shuffled, planted.LABELS, planted.WORDS))
    assert abs((records[planted.CONTEXT_FEATURE].label_auc or 0) - 0.5) < 0.15


def test_batches_do_not_matter_and_a_choice_is_kept(found, text):
    it, scanned, records = found
    again = token_in_context(it, scanned, text, batch=7, chosen=[planted.CONTEXT_FEATURE, planted.SET_FEATURE])
    assert again == {planted.CONTEXT_FEATURE: records[planted.CONTEXT_FEATURE]}


def test_contexts_are_bounded(found, text, monkeypatch):
    it, scanned, _ = found
    seen = []
    monkeypatch.setattr(tic, "_count", lambda *a: seen.append(a[4]) or np.zeros((len(a[1]), 2, 2, 5), int))
    token_in_context(it, scanned, text, contexts=30, per_token=5)
    assert len(seen[0]) <= 30 and all(np.isin(scanned.token_id[:, 0], TOKENS[c]).any() for c in seen[0])


def test_the_auc_is_that_of_ranking_by_the_label():
    rng = np.random.default_rng(3)
    counts = rng.integers(10, 50, size=(2, 2, 4))
    name, auc = best_label(counts, ("a", "b", "c"))
    assert best_label(counts, ("", "b", ""))[0] == "b"
    i = "abc".index(name or "")
    with_, without = counts[1, 1], counts[1, 0]
    pairs = sum(
        with_[a] * without[b] * (0.5 if (a == i) == (b == i) else float(a == i)) for a in range(4) for b in range(4)
    )
    assert auc == pytest.approx(pairs / (with_.sum() * without.sum()))


def test_too_few_occurrences_give_no_auc():
    counts = np.full((2, 2, 3), 5)
    counts[0, 1] = [3, 3, 3]
    assert best_label(counts, ("a", "b")) == (None, None)
