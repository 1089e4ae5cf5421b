"""What was planted is found and predicted, and nothing with another feature's explanation."""

from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis.autointerp.label_rule import LabelRule, label_shares
from monosem_jax.analysis.autointerp.ngram_graph import NgramGraph
from monosem_jax.analysis.autointerp.probe import Probe
from monosem_jax.analysis.autointerp.protocol import Refusal
from monosem_jax.analysis.autointerp.pruning import STEPS, Targets, patterns_of
from monosem_jax.analysis.autointerp.samples import draw_samples
from monosem_jax.analysis.autointerp.scoring import judged
from monosem_jax.analysis.autointerp.token_graph import ANY, TokenGraph
from monosem_jax.analysis.autointerp.token_neighbours import TokenNeighbours
from monosem_jax.analysis.autointerp.token_set import TokenSet
from monosem_jax.analysis.autointerp.windows import quantised
from tests.analysis.autointerp.planted import (
    AFTER,
    ALWAYS,
    BOS,
    FAMILY,
    FIRST,
    OF_FAMILY,
    PAIRS,
    SECOND,
    VOCAB,
    brute_scan,
    planted_set,
    planted_text,
)

SET = planted_set()
TEXT = planted_text()


@pytest.fixture(scope="module")
def samples():
    scan = brute_scan(SET, TEXT.tokens)
    return {s.feature: s for s in draw_samples(SET, scan, TEXT, [AFTER, FAMILY, ALWAYS, PAIRS], seed=0)[0]}


@pytest.fixture(scope="module")
def graph() -> NgramGraph:
    return NgramGraph(SET, TEXT)


@pytest.fixture(scope="module")
def results(graph, samples):
    judges = [graph, TokenSet(TEXT.strings, graph.neighbours), LabelRule(TEXT)]
    return {j.name: {f.feature: f for f in judged(j, list(samples.values()), 0)[0]} for j in judges}


def score(result, kind: str = "simulation"):
    return next(s for s in result.scores if s.kind == kind)


def test_the_graph_names_the_token_and_the_one_before_it(results):
    found = results["ngram_graph"][AFTER]
    assert found.explanation.text == f'"<{FIRST}>" → "<{SECOND}>" 9.0'
    assert (found.explanation.size, found.explanation.unit) == (2, "edges of the graph")


def test_the_graph_names_a_set_of_tokens_without_a_context(results, samples, graph):
    (found,) = graph.explain([samples[FAMILY]])
    assert {p for p, _ in found.graph.patterns()} == {(t,) for t in OF_FAMILY}
    assert found.record.text.startswith('"<23>" 9.0 | "<24>" 9.0 | ')


def test_replacements_are_found_that_no_example_holds(samples, graph):
    s = samples[FAMILY]
    keep = ~np.isin(s.explanation.tokens, OF_FAMILY[1:]).any(axis=1)
    assert keep.any()
    few = type(s)(s.feature, s.maximum, s.explanation[keep], s.test, s.quiet, s.spare, s.single_token)
    (found,) = graph.explain([few])
    assert {p for p, _ in found.graph.patterns()} == {(t,) for t in OF_FAMILY}


def test_planted_features_are_predicted_and_nothing_by_shuffled_explanations(results):
    graph = results["ngram_graph"]
    for feature, least in ((AFTER, 0.97), (FAMILY, 0.99), (PAIRS, 0.9)):
        s = score(graph[feature])
        assert s.value > least and s.other > least and abs(s.shuffled) < 0.25 and s.samples > 300
    for kind in ("detection", "fuzzing"):
        for feature in (AFTER, FAMILY, PAIRS):
            s = score(graph[feature], kind)
            assert s.value > 0.9 and s.other > 0.9 and s.shuffled < 0.7


def test_a_feature_that_needs_context_is_better_predicted_by_the_graph_than_by_tokens(results):
    assert score(results["ngram_graph"][AFTER]).value > score(results["token_set"][AFTER]).value + 0.1
    assert score(results["token_set"][FAMILY]).value > 0.99


def test_the_label_rule_names_the_kind_of_document(results):
    found = results["label_rule"][FAMILY]
    assert found.explanation.text.startswith("text of the kind 'family' (lift 2.0)")
    assert score(found, "detection").value > 0.8 and score(found).value > 0.1
    assert label_shares(TEXT) == {"other": 0.5, "family": 0.5}


def test_a_feature_that_fires_everywhere_has_no_detection_score(results):
    s = score(results["ngram_graph"][ALWAYS], "detection")
    assert s.value is s.other is s.shuffled is None
    assert s.note.endswith("windows with a firing and 0 without: 5 of each are needed")


def test_a_feature_without_a_visible_example_is_refused(samples, graph):
    s = samples[AFTER]
    silent = type(s)(s.feature, 1e9, s.explanation, s.test, s.quiet, s.spare, s.single_token)
    for judge in (graph, TokenSet(TEXT.strings, graph.neighbours), LabelRule(TEXT)):
        (found,) = judge.explain([silent])
        assert isinstance(found, Refusal)
    one, _ = judged(graph, [silent], 0)
    assert one[0].explanation is None and score(one[0]).value is None
    assert score(one[0]).note == "no example reaches a tenth of the feature's maximum"


def test_token_set_holds_the_means_over_all_places(samples, graph):
    s = samples[PAIRS]
    (found,) = TokenSet(TEXT.strings, graph.neighbours).explain([s])
    levels = quantised(s.explanation.activations, s.maximum)
    for token, mean in found.means.items():
        assert mean == pytest.approx(levels[s.explanation.tokens == token].mean()) and mean > 0
    assert list(found.means.values()) == sorted(found.means.values(), reverse=True)
    (predicted,) = TokenSet(TEXT.strings, graph.neighbours).simulate([(found, s.test.seen)])
    expected = np.vectorize(lambda t: float(found.means.get(t, 0)), otypes=[float])(s.test.tokens)
    np.testing.assert_array_equal(predicted, np.floor(expected + 0.5))


def test_the_probe_gives_the_activations_of_whole_contexts():
    rng = np.random.default_rng(1)
    tokens = rng.integers(1, VOCAB, (60, 34))
    tokens[:, 0] = BOS
    lengths, columns = rng.integers(2, 35, 60), rng.integers(0, 6, 60)
    tokens[40:], lengths[40:], columns[40:] = tokens[:20], lengths[:20], columns[:20]  # asked twice
    f = SET.activations(tokens)
    probe = Probe(SET, batch=7)
    found = probe(columns, tokens, lengths)
    np.testing.assert_allclose(found, f[np.arange(60), lengths - 1, columns], atol=1e-6)
    assert probe.asked == 40 and len(probe(columns[:0], tokens[:0], lengths[:0])) == 0


def test_neighbours_are_of_the_same_group_and_never_bos_or_the_token_itself():
    near = TokenNeighbours(Probe(SET)).nearest(np.asarray([21, 3, 21]), 4)
    assert set(near) == {21, 3}
    assert set(near[21].tolist()) == {20, 22, 23, 24} and BOS not in near[3] and {1, 2, 4} <= set(near[3].tolist())


def test_patterns_match_backwards_the_most_named_wins_and_any_stands_for_every_token():
    graph = TokenGraph()
    added = (((5,), 1), ((5, 6), 4), ((5, ANY, 7), 8), ((5, 6, 7), 9), ((5, 6), 2), ((8, 8, 8), 6))
    for source, (pattern, level) in enumerate(added):
        graph.add(pattern, level, source)
    assert graph.n_edges == 8
    rows = np.asarray([[5, 0, 0], [0, 6, 5], [7, 6, 5], [7, 1, 5], [8, 8, 8], [0, 8, 8]])
    np.testing.assert_array_equal(
        graph.predict(rows), [[1, 0, 0], [0, 0, 3], [0, 0, 9], [0, 0, 8], [0, 0, 6], [0, 0, 0]]
    )
    assert dict(graph.patterns())[(5, 6)].whole.count == 2


def test_a_pattern_that_is_cut_by_the_window_predicts_what_was_seen_so_cut():
    graph = TokenGraph()
    graph.add((5, 6), 8, 0)
    assert graph.predict(np.asarray([[5, 1]])).tolist() == [[0, 0]]
    (cut,) = graph.fitting([5, 1], 0)
    assert not cut.whole
    for level in (0, 0, 6):
        cut.mean.observe(level)
    assert graph.predict(np.asarray([[5, 1], [6, 5]])).tolist() == [[2, 0], [0, 8]]


def test_a_token_in_none_of_its_known_contexts_is_what_it_was_seen_to_be_at_least_twice():
    graph = TokenGraph()
    graph.add((5, 6), 8, 0)
    graph.add((5, 7), 8, 1)
    windows, unknown = np.asarray([[6, 5], [7, 5], [1, 5]]), np.asarray([[2, 5]])
    assert graph.predict(windows).tolist() == [[0, 8], [0, 8], [0, 0]]
    assert graph.match([6, 5], 1).named == 2 and graph.match([6, 5], 1, without=0) is None
    graph.root.children[5].other.observe(9)
    assert graph.predict(unknown).tolist() == [[0, 0]]
    graph.root.children[5].other.observe(0)
    assert graph.predict(unknown).tolist() == [[0, 5]]  # 4.5


def test_where_any_token_fires_after_another_the_graph_says_so(samples, graph):
    """PAIRS fires at a third of its maximum on whatever follows token 31."""
    (found,) = graph.explain([samples[PAIRS]])
    assert (ANY, 31) in {p for p, _ in found.graph.patterns()}
    assert '"<31>" → "<30>" 9.0' in found.record.text and "* 3.0" in found.record.text
    rows = np.asarray([[31, 39, 39], [1, 31, 30], [1, 39, 30]])
    assert found.graph.predict(rows)[:, 1:].tolist() == [[3, 0], [0, 9], [0, 3]]
    (after,) = graph.explain([samples[AFTER]])
    assert not any(p[0] == ANY for p, _ in after.graph.patterns())


def test_wildcards_alone_predict_nothing_where_the_window_is_cut():
    graph = TokenGraph()
    graph.add((ANY, ANY, 7), 6, 0)
    assert graph.fitting([1, 2], 1) == [] and graph.predict(np.asarray([[7, 1, 2], [1, 2, 3]])).tolist() == [
        [0, 0, 6],
        [0, 0, 0],
    ]


def targets_of(*rows: tuple[int, list[int]]) -> Targets:
    """Targets (feature, tokens up to the one that fires, BOS left out) with their true activations."""
    before = np.zeros((len(rows), STEPS[-1]), np.int64)
    activation = np.zeros(len(rows))
    for n, (feature, tokens) in enumerate(rows):
        before[n, STEPS[-1] - len(tokens) :] = tokens
        activation[n] = SET.activations(np.asarray([[BOS, *tokens]]))[0, -1, feature]
    return Targets(np.asarray([f for f, _ in rows]), activation, before, np.asarray([len(t) for _, t in rows]))


def test_contexts_are_cut_to_what_keeps_half_and_masked_token_by_token():
    targets = targets_of((AFTER, [3, 4, FIRST, SECOND]), (FAMILY, [9, 9, 23]), (PAIRS, [31, 30]), (PAIRS, [31, 9]))
    probe = Probe(SET)
    found = patterns_of(targets, probe, TokenNeighbours(probe), BOS, np.asarray([1, 2, 3, 9, 14, 17, 18, 19]))
    own = [p for p in found if p.original]
    assert [p.tokens for p in own] == [(SECOND, FIRST), (23,), (30, 31), (9, 31)]
    assert {p.tokens for p in found if p.target == 1} == {(t,) for t in OF_FAMILY}
    assert (ANY, 31) in {p.tokens for p in found if p.target == 3}
    assert not any(p.tokens[0] == ANY for p in found if p.target in (0, 1, 2))
    for p in found:
        contexts = np.asarray([[BOS, *([1] * (5 - len(p.tokens))), *(2 if t == ANY else t for t in p.tokens[::-1])]])
        true = SET.activations(contexts)[0, -1, targets.feature[p.target]] / targets.activation[p.target]
        assert true == pytest.approx(p.kept, abs=1e-5) or p.tokens[0] == ANY
    assert patterns_of(targets_of(), probe, TokenNeighbours(probe), BOS, np.asarray([1])) == []
