"""What the browser's data files of a comparison hold equals the arrays and tables of the comparison."""

import base64
import gzip
import json
import struct

import numpy as np
import pytest

from monosem_jax.report.browser import relations_matches, relations_plane, relations_splitting
from monosem_jax.report.browser.container import unpacked, write_arrays_chunk
from monosem_jax.report.browser.material import ComparisonMaterial
from monosem_jax.report.browser.relations import PREFIX, write_relations
from monosem_jax.runtime.errors import BadInput

SIZES = {"small": 40, "</script>large": 90, "neurons": 8}
PAIR = "small|</script>large"
KINDS = {"i4": np.dtype("<i4"), "f4": np.dtype("<f4"), "u1": np.dtype("u1")}


def read(folder, key):
    """The arrays of a data file."""
    text = (folder / "data" / f"{key}.js").read_text(encoding="ascii")
    data = gzip.decompress(base64.b64decode(text.split('","')[1].split('"')[0]))
    (length,) = struct.unpack("<I", data[:4])
    found, at = {}, -(-(4 + length) // 4) * 4
    for name, kind, size in json.loads(data[4 : 4 + length]):
        found[name] = np.frombuffer(data, KINDS[kind], size, at)
        at = -(-(at + found[name].nbytes) // 4) * 4
    assert at >= len(data) > at - 4 or at == len(data)
    return found


def matches(rng, a, b):
    """Matches both ways, with dead features and an assignment."""
    found = {}
    for x, y in ((a, b), (b, a)):
        feature = rng.integers(SIZES[y], size=SIZES[x]).astype(np.int32)
        feature[:2] = -1
        correlation = np.where(feature < 0, np.nan, rng.uniform(-0.2, 1, SIZES[x])).astype(np.float32)
        found |= {f"{x}|{y}|feature": feature, f"{x}|{y}|correlation": correlation}
    one = rng.permutation(SIZES[b])[: SIZES[a]].astype(np.int32)
    found[f"{a}|{b}|one_to_one"] = one
    found[f"{a}|{b}|one_to_one_correlation"] = rng.uniform(size=SIZES[a]).astype(np.float32)
    return found


def splitting(rng):
    edges = np.unique(rng.integers([40, 90], size=(700, 2)), axis=0)
    parent, child = edges.T
    similarity = rng.uniform(0.4, 1, len(edges)).astype(np.float32)
    best = np.zeros(len(edges), bool)
    for c in np.unique(child):
        here = np.flatnonzero(child == c)
        best[here[np.argmax(similarity[here])]] = True
    figures = {name: rng.uniform(size=len(edges)) for name in ("chance", "cosine", "child_to_parent", "matched")}
    figures |= {name: rng.uniform(size=len(edges)) for name in ("parent_to_child", "mass")}
    cover = {f"cover_{name}": rng.uniform(size=40) for name in ("share", "mass", "within", "together")}
    arrays = {"parent": parent, "child": child, "best": best, "similarity": similarity, **figures, **cover}
    return {f"step0_{name}": x for name, x in arrays.items()}


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    n = 100
    plane = {
        "set": np.repeat([0, 1], [30, 70]).astype(np.int32),
        "feature": np.concatenate([np.arange(30), np.arange(70)]).astype(np.int32),
        "plane": rng.normal(size=(n, 2)).astype(np.float32),
        "cluster": rng.integers(-1, 5, n).astype(np.int32),
        "order": rng.permutation(n).astype(np.int32),
    }
    stability = rng.uniform(size=40).astype(np.float32)
    stability[3] = np.nan
    return {
        "matches": matches(rng, "small", "</script>large"),
        "splitting_edges": splitting(rng),
        "map": plane,
        "stability": {"stability": stability},
    }


def material(arrays, **tables):
    sets = [
        {
            "name": name,
            "role": "dictionary",
            "n_features": n,
            "run": "/home/someone/" + name,
            "dictionary": None,
            "set": "features",
        }
        for name, n in SIZES.items()
    ]
    names = ["small", "</script>large"]
    known = {
        "universality": [{"a": "small", "b": "</script>large", "median": 0.5}],
        "stability": {"of": "small", "seeds": ["x"], "features": 40},
        "splitting": {
            "sets": names,
            "sizes": [40, 90],
            "rule": {"threshold": 0.4},
            "steps": [],
            "told": [{"why": "label"}],
        },
        "map": {"sets": names, "sizes": [40, 90], "clusters": 5},
        "automata": {"small": {"set": "small", "automata": []}},
        "motifs": {"set": "small", "families": []},
        "gaps": [{"kind": "tokens", "reason": "few"}],
    }
    return ComparisonMaterial(sets, {**known, **tables}, arrays.get, {"compared_tokens": 12_345})


@pytest.fixture(scope="module")
def written(arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    limits = {(relations_matches, "MATCHES"): 16, (relations_splitting, "EDGES"): 7, (relations_plane, "POINTS"): 33}
    limits |= {(relations_splitting, "CHILDREN"): 5, (relations_splitting, "PARENTS"): 4}
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), value in limits.items():
            patch.setattr(module, name, value)
        return folder, write_relations(folder, material(arrays))


def all_chunks(folder, name):
    files = sorted((folder / "data" / PREFIX / name).glob("*.js"))
    parts = [read(folder, f"{PREFIX}/{name}/{file.stem}") for file in files]
    assert [int(file.stem) for file in files] == list(range(len(files))) and files
    return parts


def test_matches_are_those_of_the_arrays_with_the_way_back(written, arrays):
    folder, manifest = written
    assert manifest["universality"] == {"pairs": [[0, 1], [1, 0]], "chunk": 16}
    for i, j, pair, way_back in (
        (0, 1, "small|</script>large", "</script>large|small"),
        (1, 0, "</script>large|small", "small|</script>large"),
    ):
        parts = all_chunks(folder, f"match-{i}-{j}")
        assert {len(p["feature"]) for p in parts[:-1]} == {16}
        found = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        given = {kind: arrays["matches"].get(f"{pair}|{kind}") for kind in ("feature", "correlation", "one_to_one")}
        np.testing.assert_array_equal(found["feature"], given["feature"])
        np.testing.assert_array_equal(found["correlation"], given["correlation"])
        expected = np.full(len(found["feature"]), -1) if given["one_to_one"] is None else given["one_to_one"]
        np.testing.assert_array_equal(found["one_to_one"], expected)
        for k, match in enumerate(given["feature"]):
            back = -1 if match < 0 else arrays["matches"][f"{way_back}|feature"][match]
            assert found["back"][k] == back
            r = np.nan if match < 0 else arrays["matches"][f"{way_back}|correlation"][match]
            np.testing.assert_array_equal(found["back_correlation"][k], np.float32(r))


@pytest.mark.parametrize(("side", "n", "most"), [("parent", 40, 5), ("child", 90, 4)])
def test_every_feature_has_its_most_similar_edges_best_parents_first(written, arrays, side, n, most):
    folder, manifest = written
    edges = {k.removeprefix("step0_"): x for k, x in arrays["splitting_edges"].items()}
    parts = all_chunks(folder, "children-0" if side == "parent" else "parents-0")
    assert (manifest["splitting"]["most_children"], manifest["splitting"]["most_parents"]) == (5, 4)
    other, seen = ("child" if side == "parent" else "parent"), 0
    for feature in range(n):
        part, at = parts[feature // 7], feature % 7
        here = slice(part["start"][at], part["start"][at + 1])
        own = np.flatnonzero(edges[side] == feature)
        expected = sorted(own, key=lambda e: (not edges["best"][e], -edges["similarity"][e]))[:most]
        assert part["total"][at] == len(own)
        np.testing.assert_array_equal(part["other"][here], edges[other][expected])
        np.testing.assert_array_equal(part["best"][here], edges["best"][expected])
        for name in relations_splitting.FIGURES:
            np.testing.assert_array_equal(part[name][here], edges[name][expected].astype(np.float32))
        if side == "parent":
            assert part["cover_within"][at] == np.float32(edges["cover_within"][feature])
        seen += len(expected)
    assert seen > n  # there are some


def test_the_map_and_stability_are_those_of_the_arrays(written, arrays):
    folder, manifest = written
    parts = all_chunks(folder, "map")
    assert [len(p["x"]) for p in parts] == [33, 33, 33, 1] and manifest["map"]["points"] == 100
    assert manifest["map"]["places"] == [0, 1]
    for name in ("set", "feature", "cluster", "order"):
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), arrays["map"][name])
    for k, name in enumerate("xy"):
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), arrays["map"]["plane"][:, k])
    (part,) = all_chunks(folder, "stability")
    np.testing.assert_array_equal(part["stability"], arrays["stability"]["stability"])


def test_tables_are_passed_on_and_the_places_of_runs_are_not(written):
    folder, manifest = written
    data = folder / "data" / PREFIX
    assert unpacked(data / "universality.js")[0]["median"] == 0.5
    assert "told" not in unpacked(data / "splitting.js") and unpacked(data / "told.js") == [{"why": "label"}]
    assert unpacked(data / "automata.js")["small"]["set"] == "small" and unpacked(data / "motifs.js")["set"] == "small"
    assert all(manifest["has"].values()) and manifest["absent"] == {} and manifest["tokens"] == 12_345
    assert "/home/someone" not in json.dumps(manifest)
    assert [s["name"] for s in manifest["sets"]] == list(SIZES)


def test_what_is_not_there_has_its_reason(tmp_path, arrays):
    left = {"splitting": None, "map": None, "automata": None}
    gaps = [{"kind": "splitting", "reason": "one size"}, {"kind": "automata of small", "reason": "too few tokens"}]
    found = write_relations(tmp_path, material(arrays, gaps=gaps, **left))
    assert not found["has"]["splitting"] and found["absent"]["splitting"] == "one size"
    assert found["absent"]["automata"] == "too few tokens"
    assert found["absent"]["map"] == "the comparison was made without it"
    assert found["has"]["motifs"] and "splitting" not in found
    assert not (tmp_path / "data" / PREFIX / "children-0").exists()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("matches", lambda a: a.update({PAIR + "|correlation": np.zeros(3)}), "has the shape (3,): expected (40,)"),
        ("matches", lambda a: a.update({PAIR + "|feature": np.full(40, 90)}), "expected numbers below 90"),
        ("splitting_edges", lambda a: a.pop("step0_mass"), "step0_mass is missing"),
        ("splitting_edges", lambda a: a.update(step0_child=np.full(len(a["step0_child"]), 90)), "expected 0 to 89"),
        ("map", lambda a: a.pop("order"), "no array order"),
        ("map", lambda a: a.update(plane=np.zeros((5, 2))), "expected (100, 2)"),
        ("stability", lambda a: a.clear(), "no array stability"),
    ],
)  # fmt: skip
def test_damaged_arrays_are_refused_by_name(tmp_path, arrays, name, change, message):
    damaged = {key: dict(values) for key, values in arrays.items()}
    change(damaged[name])
    with pytest.raises(BadInput) as e:
        write_relations(tmp_path, material(damaged))
    assert message in str(e.value) and name.partition("_")[0] in str(e.value)


def test_arrays_of_every_kind_come_back(tmp_path):
    given = {
        "bytes": np.arange(5, dtype=np.uint8), "yes": np.array([True, False, True]), "none": np.zeros(0, np.float32),
        "whole": np.array([-(2**31) + 1, 2**31 - 1]), "real": np.array([[0.1, np.nan], [np.inf, -3.0]]),
    }  # fmt: skip
    write_arrays_chunk(tmp_path, "k", given)
    found = read(tmp_path, "k")
    assert list(found) == list(given)
    for name, x in given.items():
        np.testing.assert_array_equal(found[name], x.ravel().astype(found[name].dtype))
    with pytest.raises(ValueError, match="beyond 32 bits"):
        write_arrays_chunk(tmp_path, "k", {"n": np.array([2**31])})
    with pytest.raises(ValueError, match="expected numbers"):
        write_arrays_chunk(tmp_path, "k", {"n": np.array(["a"])})
