"""The paper's samples of planted features."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from monosem_jax.analysis.autointerp import occurrences as places
from monosem_jax.analysis.autointerp.occurrences import mixed_hash, occurrences
from monosem_jax.analysis.autointerp.samples import (
    N_EXPLAIN,
    N_TEST,
    QUIET,
    Samples,
    draw_samples,
    is_single_token,
)
from monosem_jax.analysis.autointerp.windows import KINDS, WIDTH, quantised, window_start
from monosem_jax.runtime.errors import BadInput
from tests.analysis.autointerp.planted import (
    AFTER,
    ALWAYS,
    BOS,
    DEAD,
    FAMILY,
    PAIRS,
    RARE,
    SECOND,
    brute_scan,
    planted_set,
    planted_text,
)

SET = planted_set()
TEXT = planted_text()
EVERY = (AFTER, FAMILY, DEAD, ALWAYS, PAIRS, RARE)


@pytest.fixture(scope="module")
def scan():
    return brute_scan(SET, TEXT.tokens)


@pytest.fixture(scope="module")
def drawn(scan) -> dict[int, Samples]:
    return {s.feature: s for s in draw_samples(SET, scan, TEXT, EVERY, seed=0)[0]}


def test_the_paper_has_49_and_60_examples():
    assert (N_EXPLAIN, N_TEST, QUIET) == (49, 60, 30)


def smooth_scan():
    """A feature that fires in all twelve intervals: the family's, scaled by the token before it."""
    w, b = np.asarray(SET.encoder.weights).copy(), np.asarray(SET.encoder.bias).copy()
    w[48 : 48 + 40, ALWAYS], b[ALWAYS] = np.arange(40) / 4, 0
    own = dataclasses.replace(SET, encoder=dataclasses.replace(SET.encoder, weights=w, bias=b))
    text = planted_text(3000)
    return own, text, brute_scan(own, text.tokens)


def test_a_feature_with_firings_everywhere_has_them_all():
    own, text, found = smooth_scan()
    (s,), dropped = draw_samples(own, found, text, [ALWAYS], seed=3)
    assert not dropped
    for windows, expected in ((s.explanation, (10, 24, 5, 10)), (s.test, (6, 24, 10, 20))):
        assert tuple(np.bincount(windows.kind, minlength=4)[:4]) == expected
        assert np.bincount(windows.interval[windows.interval >= 0]).tolist() == [2] * 12
        assert windows.tokens.shape == windows.activations.shape == (sum(expected), WIDTH)


def test_activations_and_labels_are_those_of_the_text(drawn):
    f = SET.activations(TEXT.tokens)
    for s in drawn.values():
        for w in (s.explanation, s.test, s.quiet):
            for i in range(len(w)):
                here = slice(w.start[i], w.start[i] + WIDTH)
                np.testing.assert_array_equal(w.tokens[i], TEXT.tokens[w.context[i], here])
                np.testing.assert_array_equal(w.activations[i], f[w.context[i], here, s.feature])
                assert w.labels[i] == TEXT.sources[w.context[i]].label
                assert 0 <= w.peak[i] < WIDTH and 1 <= w.start[i] <= TEXT.tokens.shape[1] - WIDTH
                if KINDS[w.kind[i]] in ("top", "interval"):
                    assert w.activations[i, w.peak[i]] > 0


def test_no_two_windows_of_a_feature_share_a_token(drawn):
    for s in drawn.values():
        seen = set()
        for w in (s.explanation, s.test, s.quiet):
            own = {(c, p) for c, b in zip(w.context, w.start, strict=True) for p in range(b, b + WIDTH)}
            assert len(own) == WIDTH * len(w) and not own & seen
            seen |= own


def test_the_interval_of_an_example_is_that_of_its_activation(drawn):
    for s in drawn.values():
        for w in (s.explanation, s.test):
            at = w.interval >= 0
            value = w.activations[np.arange(len(w)), w.peak][at]
            np.testing.assert_array_equal(w.interval[at], np.ceil(value / s.maximum * 12 - 1e-6) - 1)


def test_examples_of_top_tokens_come_from_all_text_whether_the_feature_fires_or_not(drawn):
    w = drawn[AFTER].test
    at = w.kind == KINDS.index("token")
    assert at.sum() == 20
    assert (w.tokens[np.arange(len(w)), w.peak][at] == SECOND).all()
    fires = w.activations[np.arange(len(w)), w.peak][at] > 0
    assert 0 < fires.sum() < 20


def test_random_windows_of_detection_hold_no_firing_and_a_feature_that_always_fires_has_none(drawn):
    assert all(not s.quiet.activations.any() for s in drawn.values())
    assert len(drawn[ALWAYS].quiet) == 0 and len(drawn[FAMILY].quiet) == QUIET


def test_features_with_too_few_examples_are_dropped_with_the_reason(scan):
    samples, dropped = draw_samples(SET, scan, TEXT, EVERY, seed=0)
    assert [s.feature for s in samples] == [AFTER, FAMILY, ALWAYS, PAIRS]
    assert {d.feature: d.reason for d in dropped} == {
        DEAD: "never fires",
        RARE: "fires on 3 tokens: 20 examples are needed",
    }
    none, dropped = draw_samples(SET, scan, TEXT, [DEAD], seed=0)
    assert not none and len(dropped) == 1


def test_a_feature_whose_firings_all_lie_together_is_dropped():
    text = planted_text()
    tokens = np.where(np.isin(text.tokens, [20, 21, 22, 23, 24]), 1, text.tokens)
    tokens[:2, 1:] = 20
    text = dataclasses.replace(text, tokens=tokens)
    samples, dropped = draw_samples(SET, brute_scan(SET, tokens), text, [FAMILY], seed=0)
    assert not samples and dropped[0].reason == "4 examples of 46 firings do not overlap: 20 are needed"


def same(a: Samples, b: Samples) -> bool:
    parts = [(getattr(s, name) for s in (a, b)) for name in ("explanation", "test", "quiet")]
    return all(np.array_equal(getattr(x, f.name), getattr(y, f.name)) for x, y in parts for f in dataclasses.fields(x))


def test_the_seed_decides_and_not_the_batch_or_the_other_features(scan, drawn):
    again = {s.feature: s for s in draw_samples(SET, scan, TEXT, [PAIRS, AFTER], seed=0, batch=7)[0]}
    assert all(same(again[i], drawn[i]) for i in (PAIRS, AFTER))
    other = draw_samples(SET, scan, TEXT, [AFTER], seed=1)[0][0]
    assert not same(other, drawn[AFTER])


def test_single_token(scan):
    assert [is_single_token(scan, TEXT, i) for i in (AFTER, ALWAYS, DEAD)] == [True, True, False]
    moved = scan.top_position.copy()
    moved[AFTER, 3] -= 1
    assert not is_single_token(dataclasses.replace(scan, top_position=moved), TEXT, AFTER)


def test_a_scan_of_something_else_is_refused(scan):
    with pytest.raises(BadInput, match=r"of 6 features in 400 contexts: expected 6 features and at most 10 contexts"):
        draw_samples(SET, scan, dataclasses.replace(TEXT, tokens=TEXT.tokens[:10]), [AFTER], seed=0)
    with pytest.raises(BadInput, match="feature 6 of features does not exist: expected 0 to 5"):
        draw_samples(SET, scan, TEXT, [6], seed=0)
    with pytest.raises(BadInput, match=r"intervals \[11\]: expected 12"):
        draw_samples(SET, dataclasses.replace(scan, intervals={11: scan.intervals[11]}), TEXT, [AFTER], seed=0)


def test_windows_are_shifted_at_the_ends_of_a_context_and_leave_bos_out():
    assert window_start(np.asarray([0, 1, 5, 6, 12, 19, 23]), 24).tolist() == [1, 1, 1, 2, 8, 15, 15]
    assert window_start(3, 9) == 0 and window_start(4, 5) == 0


def test_activations_are_shown_as_0_to_9():
    a = np.asarray([-1, 0, 0.0999, 0.1, 0.55, 0.95, 1, 1.3])
    assert quantised(a * 7, 7.0).tolist() == [0, 0, 0, 1, 5, 9, 9, 9]
    assert quantised(a, 0).tolist() == [0] * 8


def test_occurrences_are_all_of_few_and_a_uniform_sample_of_many(monkeypatch):
    tokens = np.random.default_rng(0).integers(0, 4, (50, 20))
    tokens[7, 3] = 9
    found = occurrences(tokens, [1, 9, 3], seed=0, most=10)
    assert found[9].tolist() == [7 * 20 + 3] and len(found[1]) == len(found[3]) == 10
    assert (tokens.ravel()[found[1]] == 1).all()
    monkeypatch.setattr(places, "CHUNK", 60)  # of 3 contexts
    again = occurrences(tokens, [3, 1], seed=0, most=10)
    assert all(np.array_equal(again[t], found[t]) for t in (1, 3))
    counts = np.zeros(1000)
    for seed in range(300):
        counts[occurrences(tokens, [1], seed=seed, most=10)[1]] += 1
    drawn = counts[(tokens == 1).ravel()]
    expected = 3000 / len(drawn)
    assert ((drawn - expected) ** 2 / expected).sum() < 330  # about 250 degrees of freedom: p > 0.0005
    assert occurrences(tokens, [], seed=0) == {} and len(occurrences(tokens, [77], seed=0)[77]) == 0


def test_the_hash_is_that_of_splitmix64():
    assert [int(h) for h in mixed_hash(np.asarray([0], np.uint64))] == [0xE220A8397B1DCDAF]
    assert BOS == 0


def test_nothing_is_drawn_from_text_behind_what_was_scanned(scan):
    more = planted_text(contexts=800, seed=1)
    longer = dataclasses.replace(
        TEXT,
        tokens=np.concatenate([TEXT.tokens, more.tokens]),
        documents=np.concatenate([TEXT.documents, more.documents]),
        sources=(*TEXT.sources, *more.sources),
    )
    (a,), (b,) = (draw_samples(SET, scan, t, [AFTER], seed=0)[0] for t in (TEXT, longer))
    assert same(a, b) and max(b.test.context) < 400
