"""Records agree with the scan that they are made from, and examples with the text."""

from __future__ import annotations

import dataclasses

import jsonschema
import numpy as np
import pytest

from monosem_jax.analysis.collect import Evidence, collect
from monosem_jax.analysis.examples import SHORT, TOP, ExampleText
from monosem_jax.analysis.records import Ablation, Category
from monosem_jax.analysis.records_io import schema
from monosem_jax.analysis.records_parse import plain
from monosem_jax.text.directory import Source
from tests.analysis.scan import material


@pytest.fixture(scope="module")
def text() -> ExampleText:
    tokens = material.contexts()
    documents = np.repeat(np.arange(len(tokens))[:, None], tokens.shape[1], axis=1)
    sources = [Source(f"file {i}", "even" if i % 2 == 0 else "") for i in range(len(tokens))]
    return ExampleText(tokens, documents, [f"<{i}>" for i in range(tokens.max() + 1)], sources)


def collected(text, evidence=None, chosen=None, **more):
    features = material.features()
    chosen = range(features.n_features) if chosen is None else chosen
    shape = {"n_examples": 3, "n_per_interval": 2, "n_random": 2, "batch": 4, **more}
    return list(collect(features, material.found(), text, evidence or Evidence(), chosen, **shape))


@pytest.fixture(scope="module")
def records(text):
    return collected(text)


def test_numbers_are_those_of_the_scan(records):
    found = material.found()
    assert [r.feature for r in records] == list(range(len(found.fired)))
    for r in records:
        i = r.feature
        assert (r.density, r.fired, r.largest, r.mean) == (
            found.density[i], found.fired[i], found.maximum[i], found.mean[i],
        )  # fmt: skip
        if r.largest > 0:
            assert sum(r.linear_histogram.counts) == sum(r.log_histogram.counts) == sum(found.linear_counts[i])
            assert len(r.log_histogram.edges) == len(r.log_histogram.counts) + 1
            assert [interval.count for interval in r.intervals] == found.intervals[12].count[i][::-1].tolist()
        else:
            assert r.linear_histogram is None and r.intervals == () and r.examples == ()


def test_examples_show_the_activations_of_their_windows(records, text):
    f = material.activations()
    before, after = TOP
    shown = 0
    for r in records:
        groups = [(r.examples, TOP), *((i.examples, SHORT) for i in r.intervals), (r.random, SHORT)]
        for examples, (before, after) in groups:
            for e in examples:
                low, high = max(e.position - before, 0), min(e.position + after + 1, text.tokens.shape[1])
                assert e.peak == e.position - low and e.token_ids == tuple(text.tokens[e.context, low:high].tolist())
                expected = np.maximum(f[e.context, low:high, r.feature], 0)
                np.testing.assert_allclose(np.maximum(e.activations, 0), expected, rtol=1e-3, atol=1e-5)
                assert e.origin == f"file {e.context}" and e.label == ("even" if e.context % 2 == 0 else "")
                shown += 1
        for e in r.examples:
            assert e.activations[e.peak] == pytest.approx(max(e.activations))
    assert shown > 100


def test_examples_of_an_interval_lie_in_it(records):
    for r in records:
        for interval in r.intervals:
            for e in interval.examples:
                assert interval.low - 1e-3 * r.largest <= e.activations[e.peak] <= interval.high + 1e-3 * r.largest


@pytest.mark.parametrize("more", [{"batch": 1}, {"batch": 64}, {"block": 3}])
def test_records_do_not_depend_on_how_contexts_are_read(records, text, more):
    for a, b in zip(records, collected(text, **more), strict=True):
        assert dataclasses.replace(a, examples=(), intervals=(), random=()) == dataclasses.replace(
            b, examples=(), intervals=(), random=()
        )
        for x, y in zip(a.examples, b.examples, strict=True):
            np.testing.assert_allclose(x.activations, y.activations, rtol=2e-3, atol=1e-5)


def test_evidence_about_single_features_is_put_in_its_place(text):
    alive = int(np.argmax(material.found().fired))
    evidence = Evidence(
        categories={alive: Category("even", 9, alive, 0.5, 1, 0.25)},
        ablations={alive: Ablation(0.5, None, 7, 3)},
        loss_effects={alive: np.full((3, sum(TOP) + 1), 0.25)},
    )
    (record,) = collected(text, evidence, [alive])
    assert (record.label, record.label_correlation, record.ablation.tokens_firing) == ("even", 0.5, 7)
    assert all(e.loss_effects == (0.25,) * len(e.tokens) for e in record.examples)


def test_records_fit_the_schema(records):
    whole = schema()
    jsonschema.validate(
        [plain(r) for r in records], {**whole, "$ref": "#/$defs/chunk"}, jsonschema.Draft202012Validator
    )


def test_the_nearest_label_is_the_one_with_the_largest_correlation(records):
    found = material.found()
    for r in records:
        if r.nearest_label is not None:
            assert r.nearest_label_correlation == np.nanmax(found.label_correlation[:, r.feature])
