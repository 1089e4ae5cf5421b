"""The table of universality, its arrays and the summary, on planted dictionaries."""

import dataclasses
import functools

import numpy as np
import pytest

from monosem_jax.analysis.relations.base import Compared
from monosem_jax.analysis.relations.universality import UNIVERSALITY, UniversalityConfig
from monosem_jax.analysis.universality.distribution import distribution
from monosem_jax.analysis.universality.matches import match_sets
from monosem_jax.report.relations import markdown
from monosem_jax.runtime.errors import BadInput
from tests import planted
from tests.analysis.relations import studies
from tests.analysis.universality.test_matches import ORDER, twin

CONFIG = UniversalityConfig(attribution_contexts=100, attribution_features=8, covariance_contexts=50)
LIVE = np.asarray(planted.LIVE)


def named(features, name):
    return dataclasses.replace(features, name=name)


@functools.cache
def sets() -> tuple[Compared, ...]:
    """The planted dictionary, another seed, a dictionary and the neurons of another model, a control, neurons."""
    a, other, control = planted.planted(), planted.control(7), planted.control(1)
    return (
        Compared(named(a.features, "a"), "dictionary", "A", "relu", 0, 5),
        Compared(twin(), "dictionary", "A", "relu", 1, 5),
        Compared(named(other.features, "b"), "dictionary", "B", "relu", 0, 6),
        Compared(named(control.features, "control 1"), "control", "C", "relu", 0),
        Compared(named(other.features, "control 2"), "control", "D", "relu", 0),
        Compared(named(a.neurons, "neurons"), "neurons", "A"),
        Compared(named(other.neurons, "neurons of b"), "neurons", "B"),
    )


def study_of(text, chosen, config=CONFIG, **changes):
    return studies.study_of(UNIVERSALITY, text, chosen, config, **changes)


@pytest.fixture(scope="module")
def study(text):
    return study_of(text, sets())


def row(study, a, b):
    (found,) = (r for r in study.tables["universality"] if (r["a"], r["b"]) == (a, b))
    return found


def test_every_pair_has_a_row_in_both_directions(study):
    pairs = {(r["a"], r["b"]) for r in study.tables["universality"]}
    once = [
        ("a", "twin"), ("a", "b"), ("a", "control 1"), ("a", "control 2"), ("a", "neurons"),
        ("neurons", "neurons of b"), ("control 1", "control 2"),
    ]  # fmt: skip
    assert pairs == {*once, *((b, a) for a, b in once)} and not study.gaps
    kinds = {(r["a"], r["b"]): r["kind"] for r in study.tables["universality"]}
    assert kinds["a", "twin"] == "dictionaries of one model" and kinds["b", "a"] == "dictionaries"
    assert kinds["a", "control 1"] == "control and dictionary" and kinds["a", "neurons"] == "dictionary and neurons"
    assert kinds["neurons", "neurons of b"] == "neurons of two models"


def test_rows_say_what_matches_say(study):
    tokens = study.heldout.tokens
    for i, j in ((0, 1), (0, 5), (5, 0), (3, 0)):
        a, b = (study.sets[k] for k in (i, j))
        found, got = match_sets(a.features, b.features, tokens, batch=50), row(study, a.name, b.name)
        expected = dataclasses.asdict(distribution(found.correlation))
        assert got["alive"] == expected["alive"]
        assert got["median"] == pytest.approx(expected["median"], abs=1e-4)
        assert got["one_to_one_matched"] == (found.one_to_one >= 0).sum()
        arrays = study.arrays["matches"]
        np.testing.assert_array_equal(arrays[f"{a.name}|{b.name}|feature"], found.feature)
        np.testing.assert_array_equal(arrays[f"{a.name}|{b.name}|one_to_one"], found.one_to_one)
    assert (row(study, "a", "twin")["features"], row(study, "a", "twin")["alive"]) == (planted.F, planted.F - 1)


def test_rows_say_how_much_a_set_repeats_itself(study):
    for i in (0, 3, 5):
        x = study.sets[i].features.activations(study.heldout.tokens)[study.heldout.tokens != study.text.bos]
        x = x[:, np.std(x, axis=0) > 0].astype(np.float64)
        expected = np.median((np.corrcoef(x.T) - 2 * np.eye(x.shape[1])).max(axis=1))
        rows = [r for r in study.tables["universality"] if r["a"] == study.sets[i].name]
        assert [r["own_median"] for r in rows] == [pytest.approx(expected, abs=1e-4)] * len(rows) and rows
    assert row(study, "b", "a")["own_median"] is None


def test_a_twin_is_found_by_every_measure_and_a_control_by_none(study):
    twins, control = row(study, "a", "twin"), row(study, "a", "control 1")
    assert twins["median"] > 0.97 and twins["cosine_median"] > 0.999 and twins["mmcs"] > 0.999
    assert twins["logit_median"] > 0.999 and twins["attribution_median_of_matched"] > 0.95
    assert twins["attribution_same_match"] > 0.8 and twins["one_to_one_same"] == 1
    assert control["median"] < 0.6 and control["logit_median"] < 0.7 and "mmcs" not in control
    assert "mmcs" in row(study, "a", "neurons") and row(study, "a", "neurons")["encoder_cosine_median"] is None
    np.testing.assert_array_equal(study.arrays["matches"]["a|twin|feature"][LIVE], np.argsort(ORDER)[LIVE])


def test_the_summary_is_of_another_model_and_stability_of_other_seeds(study, text):
    s = study.summary
    assert s["universality_of"] == ["a", "b"] and s["universality_median"] == row(study, "a", "b")["median"]
    assert s["universality_median_neurons"] == row(study, "neurons", "neurons of b")["median"]
    assert s["universality_median_control"] == row(study, "a", "control 1")["median"]
    assert s["universality_median_to_neurons"] == row(study, "a", "neurons")["median"]
    found = study.arrays["stability"]["stability"]
    np.testing.assert_allclose(found, study.arrays["matches"]["a|twin|correlation"], rtol=1e-6)
    assert np.isnan(found[planted.DEAD_FEATURE])
    assert s["stability"] == pytest.approx(np.nanmedian(found)) and s["stable_features"] == 1
    alone = study_of(text, [sets()[0]], dataclasses.replace(CONFIG, attribution_contexts=0))
    assert alone.tables["universality"] == [] and alone.summary["stability"] is None
    assert alone.summary["universality_median"] is None


def test_the_order_of_features_changes_nothing(text):
    chosen = [sets()[0], sets()[1]]
    again = [chosen[0], dataclasses.replace(chosen[1], features=twin(ORDER[::-1].copy()))]
    assert study_of(text, chosen).summary["stability"] == pytest.approx(
        study_of(text, again).summary["stability"], abs=0.03
    )  # the noise of the twin is drawn in the order of its features
    p, order = sets()[1].features, np.arange(planted.F)[::-1].copy()
    params = {k: np.asarray(v) for k, v in p.encoder.params.items()}
    params |= {"W_enc": params["W_enc"][:, order], "b_enc": params["b_enc"][order], "W_dec": params["W_dec"][order]}
    encoder = dataclasses.replace(p.encoder, params=params)
    turned = dataclasses.replace(p, encoder=encoder, directions=p.directions[order])
    one, other = (
        study_of(text, [chosen[0], dataclasses.replace(chosen[1], features=f)]).tables["universality"]
        for f in (p, turned)
    )
    for x, y in zip(one, other, strict=True):
        for key, value in x.items():
            if key in ("attribution_agreement", "attribution_same_match", "attribution_median"):
                continue  # of a sample of features, drawn by their numbers
            assert y[key] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value) or key in (
                "interval", "quantiles", "one_to_one_interval"
            ), key  # fmt: skip


def test_pairs_that_do_not_fit_are_compared_by_candidates(study, text):
    chosen = sets()[:2]
    found = study_of(text, chosen, most_bytes=100)
    got = row(found, "a", "twin")
    assert not got["exact"] and got["error"] == pytest.approx(512**-0.5) and "one_to_one_median" not in got
    assert got["median"] == pytest.approx(row(study, "a", "twin")["median"], abs=1e-4)
    assert found.summary["stability"] == pytest.approx(study.summary["stability"], abs=1e-4)


def test_a_dictionary_that_never_fires_is_a_gap(text):
    a = sets()[0]
    params = {**a.features.encoder.params, "b_enc": np.full(planted.F, -99.0, np.float32)}
    dead = dataclasses.replace(a.features, name="dead", encoder=dataclasses.replace(a.features.encoder, params=params))
    found = study_of(text, [a, dataclasses.replace(a, features=dead, seed=3), sets()[1]])
    assert [g["kind"] for g in found.gaps] == ["universality"]
    assert "no two features that fire on the" in found.gaps[0]["reason"]
    assert found.summary["stability"] > 0.97 and len(found.tables["universality"]) == 2


def test_the_tables_are_shown(study):
    shown = markdown(study.tables)
    for title in ("best matches by activations", "effects of matched", "directions of matched", "Stability of seeds"):
        assert title in shown
    assert "| a | twin | 0.9" in shown and "11 of 12" in shown


def test_impossible_settings_are_refused():
    for change in ({"covariance_contexts": 0}, {"attribution_contexts": -1}, {"attribution_features": -1}):
        with pytest.raises(BadInput, match=rf"universality\.{next(iter(change))}"):
            dataclasses.replace(CONFIG, **change).check()
