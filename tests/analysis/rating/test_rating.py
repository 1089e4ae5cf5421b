"""Blind material, ratings read back strictly, and their summary."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from monosem_jax.analysis.examples import ExampleText
from monosem_jax.analysis.rating.material import KEY, MATERIAL, write_material
from monosem_jax.analysis.rating.ratings import Rating, Ratings, read_ratings, summarise
from monosem_jax.analysis.rating.rubric import RUBRIC
from monosem_jax.runtime.errors import BadInput
from tests.analysis.autointerp.planted import DEAD, VOCAB, brute_scan, planted_set, planted_text

SETS = (planted_set("features"), planted_set("neurons"))
PLANTED = planted_text()
TEXT = ExampleText(PLANTED.tokens, PLANTED.documents, PLANTED.strings, PLANTED.sources)
WEIGHTS = np.random.default_rng(0).normal(size=(6, VOCAB))
LOGITS = dict.fromkeys(("features", "neurons"), lambda features: WEIGHTS[features])


@pytest.fixture(scope="module")
def scans():
    return [brute_scan(s, TEXT.tokens) for s in SETS]


@pytest.fixture
def folder(tmp_path, scans):
    write_material(tmp_path, SETS, scans, TEXT, LOGITS, n_per_set=4, seed=0)
    return tmp_path


def read(path):
    return json.loads(path.read_text())


def test_items_are_mixed_and_tell_nothing_about_their_set(folder):
    material, key = read(folder / MATERIAL), read(folder / KEY)["items"]
    ids = [item["id"] for item in material["items"]]
    assert len(ids) == len(set(ids)) == 8 and set(ids) == set(key)
    sets = [key[i]["set"] for i in ids]
    assert sets.count("features") == sets.count("neurons") == 4 and sets not in (sorted(sets), sorted(sets)[::-1])
    text = (folder / MATERIAL).read_text()
    for word in ("features", "neurons", "origin", "file ", "family", "context", "density", '"set"'):
        assert word not in text
    examples = [e for item in material["items"] for i in item["intervals"] for e in i["examples"]]
    assert examples and all(0 <= a <= 1 for e in examples for a in e["activations"])


def test_examples_are_those_of_the_intervals_and_logits_those_of_the_feature(folder, scans):
    material, key = read(folder / MATERIAL), read(folder / KEY)["items"]
    f = SETS[0].activations(TEXT.tokens)
    for item in material["items"]:
        feature = key[item["id"]]["feature"]
        assert feature != DEAD
        assert [i["interval"] for i in item["intervals"]] == list(range(10, -1, -1))
        r = scans[0].intervals[11]
        for i in item["intervals"]:
            n = i["interval"]
            count = int(min((r.context[feature, n] >= 0).sum(), 5))
            assert len(i["examples"]) == count
            for e, c, p in zip(i["examples"], r.context[feature, n], r.position[feature, n], strict=False):
                assert e["tokens"][e["peak"]] == TEXT.strings[TEXT.tokens[c, p]]
                share = f[c, p, feature] / f[..., feature].max()
                assert e["activations"][e["peak"]] == pytest.approx(share, abs=1e-4)
                assert n / 11 < share + 1e-6 and share <= (n + 1) / 11 + 1e-6
        order = np.argsort(-WEIGHTS[feature])[:10]
        assert [t for t, _ in item["logits"]] == [TEXT.strings[t] for t in order] and item["logits"][0][1] == 1


def test_the_same_seed_gives_the_same_material(folder, scans, tmp_path):
    before = (folder / MATERIAL).read_bytes()
    write_material(tmp_path, SETS, scans, TEXT, LOGITS, n_per_set=4, seed=0)
    assert (tmp_path / MATERIAL).read_bytes() == before
    write_material(tmp_path, SETS, scans, TEXT, LOGITS, n_per_set=4, seed=1)
    assert (tmp_path / MATERIAL).read_bytes() != before


def test_where_one_set_has_no_logits_no_item_has_them(scans, tmp_path):
    write_material(tmp_path, SETS, scans, TEXT, {"features": LOGITS["features"]}, n_per_set=2, seed=0)
    assert all(item["logits"] == [] for item in read(tmp_path / MATERIAL)["items"])


def test_nothing_that_fires_is_refused(tmp_path, scans):
    silent = dataclasses.replace(scans[0], fired=np.zeros(6, int))
    with pytest.raises(BadInput, match="nothing to rate: no feature of any set fires"):
        write_material(tmp_path, SETS[:1], [silent], TEXT, {}, n_per_set=4, seed=0)
    with pytest.raises(BadInput, match=r"has intervals \[12\]: expected 11"):
        only = dataclasses.replace(scans[0], intervals={12: scans[0].intervals[12]})
        write_material(tmp_path, SETS[:1], [only], TEXT, {}, n_per_set=4, seed=0)


def best(item) -> dict:
    """All points for every interval with examples."""
    every = {str(i["interval"]): {"consistency": 5, "specificity": 3} for i in item["intervals"] if i["examples"]}
    return {"id": item["id"], "interpretation": "a thing", "confidence": 3, "logits": 3, "intervals": every}


def rated(folder, *ratings) -> Ratings:
    (folder / "ratings.json").write_text(json.dumps({"ratings": ratings}))
    return read_ratings(folder / "ratings.json", folder)


def test_the_rubric_has_14_points(folder):
    item = read(folder / MATERIAL)["items"][0]
    found = rated(folder, best(item))
    assert {r.points for r in found.points} == {14}
    worst = {**best(item), "confidence": 0, "logits": 2, "logits_separated": 1}
    assert {r.points for r in rated(folder, worst).points} == {0 + 2 + 1 + 5 + 3}
    assert {q["key"] for q in read(folder / MATERIAL)["rubric"]} == {q.key for q in RUBRIC}
    assert {q.key for q in RUBRIC if q.each_interval} == {"consistency", "specificity"}


def test_what_was_not_rated_is_listed(folder):
    items = read(folder / MATERIAL)["items"]
    two = [best(i) for i in items[:2]]
    left = next(iter(two[0]["intervals"]))
    del two[0]["intervals"][left]
    if not two[0]["intervals"]:
        two[0]["intervals"] = {}
    found = rated(folder, *two)
    assert found.missing == (*[i["id"] for i in items[2:]], f"{items[0]['id']}, interval {left}")
    assert found.interpretations == {i["id"]: "a thing" for i in items[:2]}


MISTAKES = {
    "unknown item": ({"id": "zzz"}, "item 'zzz' is not in"),
    "no item": (3, "item 3 is not in"),
    "confidence 4": ({"confidence": 4}, "confidence is 4: expected a whole number from 0 to 3"),
    "confidence -1": ({"confidence": -1}, "confidence is -1: expected"),
    "confidence 2.5": ({"confidence": 2.5}, "confidence is 2.5: expected"),
    "confidence true": ({"confidence": True}, "confidence is True: expected"),
    "confidence missing": ({"confidence": None}, "confidence is None: expected"),
    "no words": ({"interpretation": " "}, "interpretation is ' ': expected a sentence"),
    "unknown answer": ({"beauty": 3}, "has 'beauty': expected interpretation, confidence, logits, logits_separated"),
    "separation not asked": ({"logits_separated": 1}, "logits_separated is 1: it is not asked where logits has all"),
    "separation missing": ({"logits": 1}, "logits_separated is None: expected a whole number from 0 to 1"),
    "no intervals": ({"intervals": None}, "has no intervals: expected ratings by their numbers"),
    "interval 11": ({"intervals": {"11": {}}}, "interval 11 has no examples: expected "),
    "interval of words": ({"intervals": {"10": "good"}}, "interval 10 is 'good': expected answers by their keys"),
    "too consistent": (
        {"intervals": {"10": {"consistency": 6, "specificity": 0}}},
        "interval 10: consistency is 6: expected a whole number from 0 to 5",
    ),
    "nothing": ({"intervals": {}}, "rates no interval of any item"),
}


@pytest.mark.parametrize(("change", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(folder, change, message):
    item = next(i for i in read(folder / MATERIAL)["items"] if i["intervals"][0]["examples"])
    with pytest.raises(BadInput, match=message) as e:
        rated(folder, {**best(item), **change} if isinstance(change, dict) else change)
    assert "\n" not in str(e.value)


def test_an_item_cannot_be_rated_twice_and_a_file_must_be_one(folder):
    item = read(folder / MATERIAL)["items"][0]
    with pytest.raises(BadInput, match=f"item {item['id']} is rated twice"):
        rated(folder, best(item), best(item))
    (folder / "ratings.json").write_text("{")
    with pytest.raises(BadInput, match="is not valid JSON"):
        read_ratings(folder / "ratings.json", folder)


def test_the_summary_compares_sets_by_their_medians(folder):
    key = read(folder / KEY)["items"]
    own = {name: [i for i in key if key[i]["set"] == name] for name in ("features", "neurons")}
    rng = np.random.default_rng(0)
    points = {i: rng.integers(9, 15, 5).tolist() for i in own["features"]}
    points |= {i: rng.integers(0, 6, 5).tolist() for i in own["neurons"]}
    one = Ratings(tuple(Rating(i, n, p) for i, ps in points.items() for n, p in enumerate(ps)), {}, ())
    (features, neurons), (difference,) = summarise([one], folder)
    for found, name in ((features, "features"), (neurons, "neurons")):
        every = [p for i in own[name] for p in points[i]]
        assert (found.set, found.items, found.intervals) == (name, 4, 20)
        assert found.median == np.median(every) and found.low <= found.median <= found.high
        assert found.good == np.mean(np.asarray(every) > 8)
    assert difference.sets == ("features", "neurons") and difference.value == features.median - neurons.median
    assert 0 < difference.low <= difference.value <= difference.high
    twice = summarise([one, one], folder)[0][0]
    assert twice.intervals == 40 and twice.items == 4 and twice.median == features.median
    with pytest.raises(BadInput, match="has no item abc: it belongs to other material"):
        summarise([Ratings((Rating("abc", 1, 3),), {}, ())], folder)


def test_the_bootstrap_resamples_items(folder):
    """Five equal intervals of an item are one observation: the interval is as wide as that of the items."""
    key = read(folder / KEY)["items"]
    items = [i for i in key if key[i]["set"] == "features"]
    wide = Ratings(tuple(Rating(i, n, 3 * k) for k, i in enumerate(items) for n in range(50)), {}, ())
    (found,), _ = summarise([wide], folder)
    assert found.low <= 1.5 and found.high >= 7.5
