"""Families, trigrams and memorised passages on a text made by hand, and nothing where firings are shuffled."""

import dataclasses

import numpy as np
import pytest

from monosem_jax.analysis.motifs.families import families
from monosem_jax.analysis.motifs.memorised import memorised, passages
from monosem_jax.analysis.motifs.places import Places, firing_places
from monosem_jax.analysis.motifs.trigrams import candidates, trigrams
from monosem_jax.analysis.records import TokenInContext
from tests import planted

C, T, V, BOS = 120, 32, 40, 0
COVID, DASH, NINETEEN = 1, 2, 3
PASSAGE = np.arange(20, 36)
STRINGS = [f"<{v}>" for v in range(V)]
TRIGRAM, ONE_TOKEN, MEMORISED, OFTEN = range(4)


def text() -> np.ndarray:
    """Random tokens; in every context COVID DASH NINETEEN and DASH after others, in every third PASSAGE."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(4, 40, (C, T))
    tokens[:, 0] = BOS
    tokens[:, 2:5] = COVID, DASH, NINETEEN
    tokens[:, 8] = DASH
    tokens[::3, 12:28] = PASSAGE
    return tokens


def places() -> Places:
    """The trigram feature fires on DASH after COVID; `one_token` on every DASH; `memorised` on three tokens of PASSAGE
    inside it; `often` on one of them wherever it stands."""
    tokens = text()
    fires = np.zeros((4, C, T), bool)
    fires[TRIGRAM, :, 3] = True
    fires[ONE_TOKEN] = tokens == DASH
    fires[MEMORISED, ::3, 15:18] = True
    fires[OFTEN] = tokens == PASSAGE[4]
    feature, place = np.nonzero(fires.reshape(4, -1))
    documents = np.repeat(np.arange(C)[:, None], T, axis=1)
    return Places(tokens, documents, BOS, np.searchsorted(feature, np.arange(5)), place)


def weights(rows: np.ndarray) -> np.ndarray:
    w = np.zeros((len(rows), V - 1))
    w[:, NINETEEN - 1] = 3
    return w


def test_a_trigram_is_two_tokens_that_excite_and_one_that_is_raised():
    (found,) = trigrams(places(), weights, np.arange(1, V), STRINGS)
    assert (found.feature, found.first, found.second, found.third) == (TRIGRAM, "<1>", "<2>", "<3>")
    assert (found.share, found.rate, found.rate_elsewhere) == (1.0, 1.0, 0.0)
    assert (found.occurrences, found.documents, found.followed) == (C, C, 1.0)
    assert found.examples and all("<1><2><3>" in e for e in found.examples)
    flat = trigrams(places(), lambda rows: np.zeros((len(rows), V - 1)), np.arange(1, V), STRINGS)
    assert flat == [], "no token is raised"
    it, tokens = places(), places().tokens.copy()
    tokens[:, 4] = 5
    assert trigrams(dataclasses.replace(it, tokens=tokens), weights, np.arange(1, V), STRINGS) == []


def test_a_memorised_passage_is_repeated_and_holds_all_firings():
    (found,) = memorised(places(), STRINGS)
    assert (found.feature, found.share, found.documents, found.firings) == (MEMORISED, 1.0, C // 3, C)
    assert "<25><26>" in found.text
    inside = passages(places()).reshape(C, T) >= 0
    assert inside[::3, 12:28].all() and not inside[1::3, 5:].any()


def test_ruled_lines_and_rare_passages_do_not_count():
    it = places()
    tokens = it.tokens.copy()
    tokens[::3, 12:28] = 7
    assert memorised(dataclasses.replace(it, tokens=tokens), STRINGS) == []
    one = dataclasses.replace(it, documents=np.zeros_like(it.documents))
    assert memorised(one, STRINGS) == [] and candidates(one) == {}
    assert (passages(dataclasses.replace(it, tokens=tokens[:, :5])) == -1).all()


def test_shuffled_firings_have_neither():
    it = places()
    other = it.shuffled(1)
    flat = it.tokens.reshape(-1)
    for i in range(4):
        assert sorted(flat[it.of(i)]) == sorted(flat[other.of(i)]) and len(np.unique(other.of(i))) == len(it.of(i))
    assert candidates(it).keys() == {TRIGRAM}
    assert candidates(other) == {} and memorised(other, STRINGS) == []


@pytest.mark.parametrize("batch", [5, 32])
def test_places_are_where_features_fire(batch):
    it, tokens = planted.planted().features, planted.documents(12)[0]
    found = firing_places(it, tokens, tokens * 0, batch=batch)
    f = it.activations(tokens) > 0
    for i in range(planted.F):
        np.testing.assert_array_equal(found.of(i), np.flatnonzero(f[..., i]))


def test_families_are_features_of_one_token():
    def record(token, label, auc, share):
        return TokenInContext(token, STRINGS[token], 0.95, share, 100, label, auc)

    found = families({
        1: record(5, "law", 0.9, 0.2), 2: record(5, "mathematics", 0.8, 0.4), 3: record(5, "law", 0.6, 0.1),
        4: record(6, "law", 0.9, 0.5), 5: record(7, None, None, 0.3), 6: record(7, "law", 0.71, 0.3),
    })  # fmt: skip
    assert [(f.token, [i for i, _ in f.features], f.labels) for f in found] == [
        ("<5>", [2, 1, 3], ("law", "mathematics")), ("<7>", [5, 6], ("law",)),
    ]  # fmt: skip
