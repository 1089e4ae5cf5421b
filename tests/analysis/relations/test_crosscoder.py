"""The table of crosscoders on planted models, against the truth and against float64 in NumPy."""

import dataclasses

import numpy as np
import pytest

from monosem_jax.analysis.relations.crosscoder import CROSSCODER, CrosscoderConfig
from monosem_jax.report.relations import markdown
from monosem_jax.runtime.errors import BadInput
from tests import planted
from tests.analysis.relations import studies, two_models
from tests.analysis.relations.two_models import BOTH, ONLY_A, ONLY_B, SHRUNK

CONFIG = CrosscoderConfig(loss_contexts=50)


def study_of(text, chosen, config=CONFIG, **changes):
    return studies.study_of(CROSSCODER, text, chosen, config, **changes)


@pytest.fixture(scope="module")
def study(text):
    return study_of(text, two_models.sets())


@pytest.fixture(scope="module")
def activations(text):
    """[n,F] float64 of the dictionaries and the crosscoder at all tokens but BOS, each model by itself."""
    tokens = text.tokens("heldout")
    real = np.asarray(tokens) != planted.BOS
    rows = [np.asarray(two_models.tapped(s).rows(tokens), np.float64)[real] for s in "ab"]

    def encoded(x, p):
        return np.maximum(x @ p["W_enc"].astype(np.float64) + p["b_enc"], 0)

    own = [encoded(x, two_models.dictionary_params(s)) for x, s in zip(rows, "ab", strict=True)]
    return [*own, encoded(np.concatenate(rows, axis=1), two_models.crosscoder_params())]


def correlations(f, g):
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.corrcoef(f.T, g.T)[: f.shape[1], f.shape[1] :]
    return np.where(np.isfinite(r) & np.outer(f.std(0) > 1e-6, g.std(0) > 1e-6), r, np.nan)


def best(r):
    return np.where(np.isnan(r).all(axis=1), np.nan, np.where(np.isnan(r), -2, r).max(axis=1))


def classes(row):
    return {c["class"]: c for c in row["classes"]}


def test_pair_sums_of_a_crosscoder_and_a_dictionary_are_those_of_numpy(study, activations):
    for side in (0, 1):
        sums = study.pair(2, side)
        np.testing.assert_allclose(sums.product, activations[2].T @ activations[side], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(sums.a.square, (activations[2] ** 2).sum(0), rtol=1e-4, atol=1e-6)
        assert sums.tokens == len(activations[0])


def test_what_was_planted_is_told(study):
    (row,) = study.tables["crosscoder"]
    assert (row["name"], row["a"], row["b"], row["architecture"]) == ("crosscoder", "a", "b", "crosscoder (relu)")
    assert not study.gaps and row["firing"] == planted.F - 1
    assert row["by_threshold"][1] == {"threshold": 0.1, "a": 3, "both": len(BOTH), "b": 2}
    assert row["exclusive"] == {"features": 5, "shrunk": 1, "decoupled": 0, "confirmed": 4, "undecided": 0}
    relative = study.arrays["crosscoder"]["crosscoder|relative_norm"]
    assert list(np.flatnonzero(relative < 0.1)) == sorted([SHRUNK, *ONLY_A])
    assert list(np.flatnonzero(relative > 0.9)) == list(ONLY_B)
    confirmed = study.arrays["crosscoder"]["crosscoder|confirmed"]
    assert list(np.flatnonzero(confirmed)) == sorted([*ONLY_A, *ONLY_B])
    a, b = (found["loss_recovered_zero"] for found in row["recovered"])
    assert a > 0.98 and b < 0.8  # B's half lacks the vector of SHRUNK


def test_matches_in_the_dictionaries_contradict_what_is_not_so(study):
    found = classes(study.tables["crosscoder"][0])
    assert found["a"]["contradicted"] == 1  # SHRUNK, which B's dictionary has
    assert found["b"]["contradicted"] == found["confirmed_a"]["contradicted"] == 0
    assert found["a"]["matched"] == {"both": 1, "a": 2, "b": 0, "neither": 0}
    assert found["b"]["matched"] == {"both": 0, "a": 0, "b": 2, "neither": 0}
    assert found["both"]["matched"]["both"] == len(BOTH) and found["both"]["contradicted"] is None
    assert found["confirmed_a"]["best"]["a"] > 0.999 and found["confirmed_a"]["best"]["b"] < 0.7
    assert found["confirmed_a"]["alone"]["a"] > 0.999 and found["both"]["alone"]["b"] > 0.99


def test_universality_of_the_dictionaries_by_class(study):
    rows = study.tables["crosscoder"][0]["dictionaries"]
    got = {side: {r["class"]: (r["features"], r["shared"]) for r in rows[side]} for side in "ab"}
    both = (len(BOTH), len(BOTH))
    assert got["a"] == {"a": (3, 1), "both": both, "b": (0, 0), "none": (0, 0)}
    assert got["b"] == {"a": (1, 1), "both": both, "b": (2, 0), "none": (0, 0)}


def test_every_number_is_that_of_numpy(study, activations):
    row, (a, b, both) = study.tables["crosscoder"][0], activations
    assert row["l0"] == pytest.approx((both > 0).sum(1).mean(), rel=1e-3)
    norms = np.stack([np.linalg.norm(w, axis=1) for w in np.split(two_models.crosscoder_params()["W_dec"], 2, 1)])
    rows = [np.asarray(two_models.tapped(s).rows(study.heldout.tokens), np.float64) for s in "ab"]
    real = np.asarray(study.heldout.tokens) != planted.BOS
    norms /= np.array([np.sqrt(np.mean(x[real] ** 2)) for x in rows])[:, None]
    relative = norms[1] / norms.sum(0)
    fires = (both > 0).any(0)
    masks = {"a": fires & (relative < 0.1), "b": fires & (relative > 0.9)}
    masks["both"] = fires & ~masks["a"] & ~masks["b"]
    in_a, in_b, across = best(correlations(both, a)), best(correlations(both, b)), best(correlations(a, b))
    for name, mask in masks.items():
        got = classes(row)[name]
        assert got["features"] == mask.sum()
        assert got["best"]["a"] == pytest.approx(np.nanmedian(in_a[mask]), abs=2e-4)
        assert got["best"]["b"] == pytest.approx(np.nanmedian(in_b[mask]), abs=2e-4)
        assert got["matched"]["both"] == (mask & (in_a >= 0.7) & (in_b >= 0.7)).sum()
    there = correlations(a, both)
    at = np.where(np.isnan(there), -2, there).argmax(axis=1)
    for got in row["dictionaries"]["a"][:3]:
        chosen = (best(there) >= 0.7) & masks[got["class"]][at]
        if chosen.any():
            assert got["median"] == pytest.approx(np.nanmedian(across[chosen]), abs=2e-4)


def test_pairs_that_do_not_fit_are_compared_by_candidates(study, text):
    found = study_of(text, two_models.sets(), most_bytes=100)
    assert not found.sums and not found.gaps
    both = (classes(s.tables["crosscoder"][0]) for s in (found, study))
    for one, other in zip(*(found.values() for found in both), strict=True):
        assert one["matched"] == other["matched"] and one["best"]["a"] == pytest.approx(other["best"]["a"], abs=2e-4)


def test_nothing_is_said_without_crosscoders_and_one_that_is_silent_is_a_gap(text):
    sets = two_models.sets()
    alone = study_of(text, sets[:2])
    assert not (alone.tables or alone.arrays or alone.gaps) and "Crosscoders" not in markdown(alone.tables)
    features = sets[2].features
    params = {**features.encoder.params, "b_enc": np.full(planted.F, -99.0, np.float32)}
    encoder = dataclasses.replace(features.encoder, params=params)
    silent = dataclasses.replace(sets[2], features=dataclasses.replace(features, name="silent", encoder=encoder))
    found = study_of(text, [*sets[:2], silent])
    assert "crosscoder" not in found.tables
    ((kind, reason),) = [(g["kind"], g["reason"]) for g in found.gaps]
    assert kind == "crosscoder" and reason.startswith("silent: ") and "expected some to compare" in reason


def test_crosscoders_are_shown_side_by_side_and_escaped(study):
    (row,) = study.tables["crosscoder"]
    shown = markdown({"crosscoder": [row, {**row, "name": "<b>|x"}]})
    assert shown.count("## Crosscoders") == 3
    assert "| <b>\\|x | a | b |" in shown
    line = next(x for x in shown.splitlines() if x.startswith("| crosscoder | a | b |"))
    assert "| 11 of 12 | 3 | 6 | 2 | 1 | 0 | 0 | 4 |" in line
    assert "| crosscoder | A alone | 3 |" in shown and "| crosscoder | a | both | 6 |" in shown
    assert "6 (100 %)" in shown


def test_impossible_settings_are_refused():
    for change in ({"contexts": 0}, {"loss_contexts": 0}):
        with pytest.raises(BadInput, match=rf"crosscoder\.{next(iter(change))}"):
            dataclasses.replace(CONFIG, **change).check()
