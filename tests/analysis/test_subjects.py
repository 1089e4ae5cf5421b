from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from monosem_jax.analysis.records import Category
from monosem_jax.analysis.records_parse import plain
from monosem_jax.analysis.subjects import Subject, category_table
from tests.analysis.scan.material import features, found


def scan_with(labels, correlation, tokens=(5, 5)):
    values = np.array(correlation, np.float64)
    values[np.asarray(tokens) == 0] = math.nan
    return dataclasses.replace(
        found(), labels=tuple(labels), label_correlation=values, label_tokens=np.asarray(tokens, np.int64)
    )


def subject(labels, chosen, measured, reverse=False, tokens=((5, 5), (5, 5))) -> Subject:
    order = slice(None, None, -1 if reverse else 1)
    scans = [scan_with(labels, np.asarray(v)[:, order], t) for v, t in zip((chosen, measured), tokens, strict=True)]
    return Subject(features(), *scans)


def table(labels, chosen, measured, **more):
    """The neurons are the features in reverse order."""
    return category_table(subject(labels, chosen, measured, **more), subject(labels, chosen, measured, True, **more))


def test_the_best_are_chosen_on_one_text_and_measured_on_the_other():
    chosen, measured = [[0.1, 0.9, 0.2], [0.7, 0.3, 0.6]], [[0.8, 0.5, 0.95], [0.6, 0.9, 0.4]]
    assert table(["poetry", "code"], chosen, measured) == [
        Category("code", tokens=5, feature=0, feature_correlation=0.6, neuron=2, neuron_correlation=0.6),
        Category("poetry", tokens=5, feature=1, feature_correlation=0.5, neuron=1, neuron_correlation=0.5),
    ]


@pytest.mark.parametrize(("there", "here"), [((0, 5), (5, 5)), ((5, 5), (0, 5))])
def test_a_label_without_tokens_in_either_text_is_left_out(there, here):
    rows = table(["a", "b"], [[0.5], [0.5]], [[0.5], [0.5]], tokens=(there, here))
    assert [row.label for row in rows] == ["b"]


def test_documents_without_a_label_are_no_category():
    assert [row.label for row in table(["", "b"], [[0.5], [0.5]], [[0.5], [0.5]])] == ["b"]


def test_a_label_of_every_token_is_left_out():
    """Nothing correlates with it, and NaN is no JSON."""
    only = [[math.nan, math.nan], [0.4, 0.5]]
    rows = table(["all", "b"], only, only)
    assert [row.label for row in rows] == ["b"] and json.dumps(plain(rows), allow_nan=False)
