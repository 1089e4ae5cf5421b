from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from monosem_jax.analysis.proxies.chosen import Gap
from monosem_jax.analysis.proxies.evidence import (
    LEAST_FIRINGS,
    LEAST_POSITIVE,
    proxy_table,
    score,
    scores_of,
    summary,
)
from monosem_jax.analysis.proxies.strings import POSITIVE_PART, SIGN
from tests.analysis.proxies.reference import scan_of

C, T, F = 60, 40, 6
PLANTED, DEAD, RARE = 2, 5, 4


@dataclasses.dataclass(frozen=True)
class Named:
    name: str
    form: str = SIGN
    about: str = "made up"

    def values(self, block):
        raise NotImplementedError

    def strongest(self, n: int):
        return []


def tokens_of(seed: int) -> np.ndarray:
    tokens = np.random.default_rng(seed).integers(1, 30, size=(C, T))
    tokens[:, 0] = 0
    return tokens


def planted(seed: int, shuffled: bool = False) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(tokens, activations, proxies): feature PLANTED fires where `kind` holds and is stronger there, RARE fires five
    times where `kind` holds, DEAD never; `rare` holds on too few tokens."""
    rng, tokens = np.random.default_rng(seed), tokens_of(seed)
    kind = (tokens < 6) & (tokens > 0)
    f = np.maximum(rng.normal(-1, 1, size=(C, T, F)), 0)
    strong = kind if not shuffled else rng.permutation(kind.ravel()).reshape(kind.shape)
    f[..., PLANTED] = np.where(strong, rng.uniform(1, 4, (C, T)), np.where(rng.random((C, T)) < 0.05, 0.3, 0))
    f[..., DEAD] = 0
    f[..., RARE] = 0
    at = np.argwhere(kind)[:5]
    f[at[:, 0], at[:, 1], RARE] = 1
    rare = np.zeros((C, T))
    rare[: LEAST_POSITIVE - 1, 1] = 1
    return tokens, f * (tokens > 0)[..., None], {"kind": kind * rng.uniform(1, 2, (C, T)), "rare": rare}


def scans(shuffled: bool = False):
    first, second = planted(0, shuffled), planted(1, shuffled)
    neurons = [
        (t, np.maximum(np.random.default_rng(7 + i).normal(size=(C, T, 4)), 0), p)
        for i, (t, _, p) in enumerate((first, second))
    ]
    chosen = [scan_of(first[1], first[0], first[2]), scan_of(neurons[0][1], *neurons[0][::2], name="neurons")]
    measured = [scan_of(second[1], second[0], second[2]), scan_of(neurons[1][1], *neurons[1][::2], name="neurons")]
    return chosen, measured


PROXIES = [Named("kind"), Named("rare"), Named("failed")]


def test_the_planted_feature_is_found_and_measured_on_the_other_text():
    chosen, measured = scans()
    directions = np.zeros((F, 4))
    directions[PLANTED, 3] = -1
    table = proxy_table(PROXIES, [Gap("failed", "it raised")], chosen, measured, directions)
    (row,) = table.rows
    tokens, f, proxies = planted(1)
    real, kind = tokens > 0, proxies["kind"] > 0
    x = f[..., PLANTED][real]
    best = row.best[0]
    assert (best.set, best.feature) == ("features", PLANTED)
    assert best.score.pearson == pytest.approx(np.corrcoef(x, kind[real])[0, 1])
    assert best.score.sensitivity == pytest.approx(np.mean(x[kind[real]] > 0))
    assert best.score.specificity_all == pytest.approx(np.mean(kind[real][x > 0]))
    assert best.score.expected_value == pytest.approx(x[kind[real]].sum() / x.sum())
    edges = x.max() * np.arange(13) / 12
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = (x > low) & (x <= high + 1e-9)
        assert best.score.firings[i] == inside.sum()
        share = best.score.specificity[i]
        assert share == (pytest.approx(kind[real][inside].mean()) if inside.sum() >= LEAST_FIRINGS else None)
    assert best.score.specificity_top == 1.0 > best.score.specificity[0]
    assert row.positive == kind[real].sum() and row.tokens == real.sum()
    assert row.largest_neuron is not None and row.largest_neuron.feature == 3
    assert best.training_pearson != best.score.pearson


def test_what_cannot_be_said_is_a_gap():
    chosen, measured = scans()
    gaps = {g.name: g.reason for g in proxy_table(PROXIES, [Gap("failed", "it raised")], chosen, measured).gaps}
    assert gaps["failed"] == "it raised"
    assert (
        gaps["rare"] == f"it holds on {LEAST_POSITIVE - 1} of {C * (T - 1):,} training tokens: at least 50 are needed"
    )


def test_features_that_fire_too_seldom_are_not_chosen_and_have_no_shares():
    chosen, measured = scans()
    assert chosen[0].proxies is not None
    chosen[0].proxies.binary_correlation[0, RARE] = 0.99
    (row,) = proxy_table(PROXIES[:1], [], chosen, measured).rows
    assert row.best[0].feature == PLANTED
    few = score(measured[0], "kind", SIGN, RARE)
    assert few.specificity == (None,) * 12 and few.specificity_all is few.pearson is few.specificity_top is None
    dead = score(measured[0], "kind", SIGN, DEAD)
    assert dead.pearson is None and dead.sensitivity == 0


def test_the_feature_is_chosen_on_training_text_alone():
    chosen, measured = scans()
    assert measured[0].proxies is not None
    measured[0].proxies.binary_correlation[0, 0] = 1.0
    (row,) = proxy_table(PROXIES[:1], [], chosen, measured).rows
    assert row.best[0].feature == PLANTED


def test_the_form_decides_which_correlation_counts():
    _, measured = scans()
    tokens, f, proxies = planted(1)
    real = tokens > 0
    by_value = score(measured[0], "kind", POSITIVE_PART, PLANTED).pearson
    assert by_value == pytest.approx(np.corrcoef(f[..., PLANTED][real], proxies["kind"][real])[0, 1])


def test_nothing_is_found_in_a_shuffled_control():
    chosen, measured = scans(shuffled=True)
    (row,) = proxy_table(PROXIES[:1], [], chosen, measured).rows
    found = row.best[0].score
    assert abs(found.pearson or 0) < 0.1 and (found.specificity_all or 0) < 0.3


def test_a_feature_has_the_scores_that_are_noticeable():
    _, measured = scans()
    assert [s.proxy for s in scores_of(measured[0], PROXIES[:1], PLANTED)] == ["kind"]
    assert scores_of(measured[0], PROXIES[:1], 0) == ()


def test_the_summary_has_the_promised_keys():
    found = summary(proxy_table(PROXIES[:1], [], *scans()))
    assert set(found["kind"]) == {
        "feature",
        "pearson",
        "specificity_top",
        "specificity_all",
        "sensitivity",
        "neuron",
        "neuron_pearson",
    }
    assert found["kind"]["feature"] == PLANTED and found["kind"]["neuron_pearson"] is not None
