"""Scores against computations by hand, and the traps of detection and fuzzing."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from monosem_jax.analysis.autointerp.logit_task import logit_questions, logit_scores
from monosem_jax.analysis.autointerp.protocol import KINDS, Refusal, probability
from monosem_jax.analysis.autointerp.samples import Samples, draw_samples
from monosem_jax.analysis.autointerp.scoring import explained, judged, trial
from monosem_jax.analysis.autointerp.set_scores import choose_features, score_sets, summarised
from monosem_jax.analysis.autointerp.windows import quantised
from monosem_jax.analysis.records import Explanation, Score
from monosem_jax.runtime.errors import BadInput
from tests.analysis.autointerp.planted import (
    AFTER,
    ALWAYS,
    DEAD,
    FAMILY,
    PAIRS,
    RARE,
    brute_scan,
    planted_set,
    planted_text,
)

SET = planted_set()
TEXT = planted_text()


@dataclasses.dataclass(frozen=True)
class Whose:
    feature: int
    record: Explanation


class Oracle:
    """Explains a feature by its number and predicts its true activations; `wrong` ones are refused or malformed."""

    name = "oracle"
    kinds = KINDS

    def __init__(self, refuses=(), breaks=None):
        self.refuses, self.breaks, self.asked = refuses, breaks, []

    def explain(self, samples):
        return [
            Refusal("no idea")
            if s.feature in self.refuses
            else Whose(s.feature, Explanation("oracle", "?", 1, "words"))
            for s in samples
        ]

    def simulate(self, questions):
        self.asked += questions
        if self.breaks is not None:
            return [self.breaks(windows.tokens) for _, windows in questions]
        out = []
        for e, windows in questions:
            f = SET.activations(
                np.concatenate([np.zeros((len(windows), 1), np.int32), windows.tokens], axis=1), [e.feature]
            )
            out.append(quantised(f[:, 1:, 0], float(f.max())))
        return out


@pytest.fixture(scope="module")
def scan():
    return brute_scan(SET, TEXT.tokens)


@pytest.fixture(scope="module")
def samples(scan) -> list[Samples]:
    return draw_samples(SET, scan, TEXT, [AFTER, FAMILY, ALWAYS, PAIRS], seed=0)[0]


def scores(found, kind: str = "simulation") -> dict[int, Score]:
    return {j.feature: s for j in found for s in j.scores if s.kind == kind}


def test_a_judge_that_knows_the_truth_scores_1_and_another_features_explanation_does_not(samples):
    found, _ = judged(Oracle(), samples, 0)
    assert scores(found)[FAMILY].value == scores(found)[FAMILY].other == 1
    assert scores(found, "detection")[FAMILY].value == scores(found, "fuzzing")[FAMILY].value == 1
    for j in found:
        assert [s.kind for s in j.scores] == list(KINDS) and all(s.judge == "oracle" for s in j.scores)
    assert abs(scores(found)[FAMILY].shuffled) < 0.3 and scores(found, "detection")[FAMILY].shuffled < 0.7


def test_every_control_is_the_explanation_of_another_feature(samples):
    for seed in range(30):
        found = explained(Oracle(), samples, seed)
        assert sorted(found.other.tolist()) == [0, 1, 2, 3]
        assert all(found.shuffled(i).feature != s.feature for i, s in enumerate(samples))
    assert len({tuple(explained(Oracle(), samples, seed).other) for seed in range(30)}) > 3


def test_a_single_explained_feature_has_no_control(samples):
    found, _ = judged(Oracle(refuses=(FAMILY, ALWAYS, PAIRS)), samples, 0)
    s = scores(found)[AFTER]
    assert s.value is not None and s.shuffled is None and s.note == "no other feature was explained"
    assert scores(found)[FAMILY] == Score("oracle", "simulation", None, None, None, 0, "no idea")
    assert next(j for j in found if j.feature == FAMILY).explanation is None


def test_a_judge_sees_windows_without_their_activations(samples):
    judge = Oracle()
    judged(judge, samples, 0, ["simulation"])
    assert len(judge.asked) == 8
    for _, windows in judge.asked:
        assert {f.name for f in dataclasses.fields(windows)} == {"tokens", "labels"}


def test_constant_predictions_score_0_and_detection_one_half(samples):
    found, _ = judged(Oracle(breaks=lambda t: np.full(t.shape, 4.0)), samples, 0)
    assert scores(found)[AFTER].value == scores(found)[AFTER].other == scores(found)[AFTER].shuffled == 0
    assert scores(found, "detection")[AFTER].value == scores(found, "fuzzing")[AFTER].value == 0.5


@pytest.mark.parametrize(
    ("breaks", "note"),
    [
        (lambda t: np.zeros((len(t), 3)), r"predicted an array \(\d+, 3\): expected .* shape \(\d+, 9\)"),
        (lambda t: np.full(t.shape, np.nan), r"predicted an array \(\d+, 9\): expected finite"),
        (lambda t: Refusal("timed out"), "timed out"),
    ],
)  # fmt: skip
def test_what_is_no_prediction_is_no_score(samples, breaks, note):
    found, _ = judged(Oracle(breaks=breaks), samples, 0, ["simulation", "fuzzing"])
    for kind in ("simulation", "fuzzing"):
        s = scores(found, kind)[AFTER]
        assert s.value is s.other is s.shuffled is None and s.samples == 0 and re.match(note, s.note)
    summary = summarised("simulation", "all", list(scores(found).values()), 0)
    assert summary.n == 0 and summary.failed == 4 and summary.mean is summary.median is summary.mean_interval is None


def test_a_feature_that_is_silent_in_all_test_examples_has_no_score(samples):
    quiet = dataclasses.replace(samples[0], test=samples[0].quiet)
    found, _ = judged(Oracle(), [quiet, *samples[1:]], 0, ["simulation"])
    s = scores(found)[AFTER]
    assert s.value is s.shuffled is None and s.note == "the activations in the test examples are all 0"
    assert scores(found)[FAMILY].value == 1


def test_marked_tokens_are_the_firing_ones_or_as_many_random_ones_and_never_all(samples):
    for s in samples:
        t = trial(s, 0)
        n = t.fires.sum()
        if s.feature == ALWAYS:
            assert t.fault
            continue
        assert len(t.fires) == len(t.windows) and (~t.fires).sum() == len(s.quiet) == 30
        per_row = t.marked.sum(axis=1)
        expected = int(np.ceil(per_row[:n].mean()))
        assert (per_row[:n] >= 1).all() and (per_row[n:] == expected).all() and 1 <= expected < 9
        assert len({tuple(row) for row in t.marked[n:]}) > 3
    assert not np.array_equal(trial(samples[0], 1).marked, trial(samples[0], 0).marked)


def test_probabilities_are_one_half_where_an_activation_rounds_to_1():
    np.testing.assert_allclose(probability(np.asarray([0, 0.25, 0.5, 4.75, 9])), [0, 0.25, 0.5, 0.75, 1])


def test_a_set_is_summarised_with_what_was_left_out(scan):
    (found,) = score_sets([SET], [scan], TEXT, lambda f: [Oracle()], n_features=3, seed=1)
    assert len(found.features) == 3 and not found.dropped
    assert (found.never_fire, found.too_few, found.name, found.judge) == (1, 1, "features", "oracle")
    values = [s.value for s in scores(found.features).values()]
    s = found.summary("simulation")
    assert s.n == 3 and s.failed == 0 and s.mean == pytest.approx(np.mean(values))
    assert s.mean_interval[0] <= s.mean <= s.mean_interval[1] and s.median == pytest.approx(np.median(values))
    single = [j.feature for j in found.features if j.single_token]
    assert found.single_token_share == pytest.approx(len(single) / 3)
    assert found.summary("simulation", "single_token").n + found.summary("simulation", "others").n == 3
    with pytest.raises(BadInput, match="oracle has no logits scores of all features of features"):
        found.summary("logits")


def test_features_are_drawn_from_those_with_enough_firings(scan):
    assert choose_features(scan, 99, 0) == [AFTER, FAMILY, ALWAYS, PAIRS]
    assert len({tuple(choose_features(scan, 2, seed)) for seed in range(40)}) == 6
    assert not {DEAD, RARE} & set(choose_features(scan, 99, 3))


def test_logit_questions_are_the_ranks_10_to_59_and_random_ones_behind_them():
    rng = np.random.default_rng(0)
    weights, common = rng.normal(size=400), np.flatnonzero(rng.random(400) < 0.7)
    tokens, truth = logit_questions(weights, common, 0, 5)
    order = sorted(common, key=lambda t: -weights[t])
    assert len(tokens) == 100 and truth.sum() == 50 and len(set(tokens.tolist())) == 100
    assert set(tokens[truth]) == set(order[10:60]) and set(tokens[~truth]) <= set(order[60:])
    assert 10 < truth[:50].sum() < 40
    assert not np.array_equal(logit_questions(weights, common, 0, 6)[0], tokens)
    with pytest.raises(BadInput, match="109 tokens are not rare: the logit task needs 110"):
        logit_questions(weights, common[:109], 0, 5)


def test_logit_scores_are_accuracies_and_a_judge_without_an_opinion_has_none(samples):
    weights = np.random.default_rng(1).normal(size=(len(samples), 300))
    common = np.arange(300)

    class Knows(Oracle):
        def likely_next(self, questions):
            row = {s.feature: w for s, w in zip(samples, weights, strict=True)}
            return [np.isin(t, np.argsort(-row[e.feature])[:60]) for e, t in questions]

    judge = Knows(refuses=(PAIRS,))
    found = logit_scores(judge, samples, explained(judge, samples, 0), lambda i: weights, common, 0)
    assert [s.value for s in found] == [1, 1, 1, None] and found[3].note == "no idea"
    assert all(0.3 < s.shuffled < 0.7 and s.samples == 100 and s.other is None for s in found[:3])
    judge = Oracle()
    (s, *_) = logit_scores(judge, samples, explained(judge, samples, 0), lambda i: weights, common, 0)
    assert s.value is None and s.note == "this judge has no opinion on next tokens"
