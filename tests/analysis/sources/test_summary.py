"""Sums and tables of sources, against the whole attributions."""

from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis.sources.attribution import attribute
from monosem_jax.analysis.sources.summary import DISTANCES, KEPT, source_sums
from monosem_jax.analysis.sources.table import CAUSES, source_row
from tests import planted
from tests.analysis.scan import material


def pairs():
    f = material.features().activations(material.contexts())
    return np.nonzero(np.moveaxis(f, -1, 0) > 0)  # feature, context, position


def test_sums_and_strongest_sources_are_those_of_the_whole_attribution():
    of, tokens = material.features(), material.contexts()
    feature, context, position = (a[::7] for a in pairs())
    whole = attribute(of, tokens, feature, context, position)
    sums = source_sums(of, tokens, feature, context, position, batch=8)
    np.testing.assert_allclose(sums.total, whole.total, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sums.by_head_size, np.abs(whole.attention).sum(axis=2), rtol=1e-4)
    borders = {0: "itself", 1: "1", 2: "2", 3: "3-4", 4: "3-4", 5: "5-8", 8: "5-8", 9: "9-16", 16: "9-16", 17: "17+"}
    for n, t in enumerate(position):
        by_class = dict.fromkeys(DISTANCES, 0.0)
        strength = {}
        for s in range(t + 1):
            brought = float(whole.attention[n, :, s].sum())
            name = "BOS" if tokens[context[n], s] == material.BOS else None
            name = name or next(borders[d] for d in sorted(borders, reverse=True) if d <= t - s)
            by_class[name] += brought
            strength[s] = abs(brought + (whole.direct[n] if s == t else 0))
        np.testing.assert_allclose(sums.by_distance[n], list(by_class.values()), rtol=1e-4, atol=1e-5)
        record = sums.record(n, int(t), tokens[context[n]], [f"<{i}>" for i in range(40)])
        strongest = [s for s in sorted(strength, key=lambda s: -strength[s])[:KEPT] if strength[s] > 0]
        assert [s.position for s in record.tokens] == strongest
        for s in record.tokens:
            assert s.token == f"<{tokens[context[n], s.position]}>"
            assert s.attention == pytest.approx(whole.attention[n, :, s.position].sum(), rel=1e-3, abs=1e-6)
            assert s.direct == (pytest.approx(whole.direct[n], rel=1e-3) if s.position == t else 0)
            assert s.head == np.abs(whole.attention[n, :, s.position]).argmax()
        parts = record.bias + record.direct + record.attention
        assert record.activation == pytest.approx(parts, rel=1e-2, abs=1e-3)
        assert record.activation == pytest.approx(whole.total[n], rel=1e-3, abs=1e-5)


def test_the_table_tells_planted_features_by_their_cause():
    made, tokens = planted.planted(), planted.documents(40)[0]
    f = made.features.activations(tokens)
    feature, context, position = np.nonzero(np.moveaxis(f, -1, 0) > 0.02)
    sums = source_sums(made.features, tokens, feature, context, position, batch=8)
    row = source_row(sums, feature, f[context, position, feature])
    assert row["features"] == planted.F - 1 and row["largest_error"] < 0.01
    # `context` alone is caused by another token, MARKER at the beginning, mostly far back.
    assert row["main_cause"]["token itself"] == planted.F - 2
    assert row["main_cause"]["2 to 4 back"] + row["main_cause"]["5 or more back"] == 1
    assert sum(row["main_cause"].values()) == planted.F - 1 and tuple(row["main_cause"]) == CAUSES
    assert row["share_of_size"]["direct"] > 0.9
    share = row["share_of_size"]
    assert share["attention"] < 0.1 and len(share["by_head"]) == 2 and tuple(share["by_distance"]) == DISTANCES
    assert row["share_of_activation"]["token itself"] == pytest.approx(1, abs=0.05)


def test_shares_of_one_pair_add_up():
    of, tokens = material.features(), material.contexts()
    feature, context, position = (a[10:11] for a in pairs())
    activation = of.activations(tokens)[context, position, feature]
    row = source_row(source_sums(of, tokens, feature, context, position, batch=2), feature, activation)
    share = row["share_of_size"]
    assert share["direct"] + share["attention"] == pytest.approx(1, abs=1e-4)
    assert sum(share["by_distance"].values()) == pytest.approx(share["attention"], abs=1e-4)
    assert sum(share["by_head"]) == pytest.approx(share["attention"], abs=1e-4)
    assert sum(row["share_of_activation"].values()) == pytest.approx(1, abs=1e-4)
