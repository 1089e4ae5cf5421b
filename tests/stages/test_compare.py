"""A comparison of planted dictionaries, from directories to tables."""

import dataclasses
import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.analysis.examples import ExampleText
from monosem_jax.analysis.joint.pair_sums import Pair
from monosem_jax.analysis.relations.base import Relation, Relations
from monosem_jax.analysis.relations.table import RELATIONS
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_json
from monosem_jax.stages.compare import CompareRunConfig, compare
from monosem_jax.stages.compared_sets import check_controls, compared_sets, open_runs
from tests import planted

CONFIG = CompareRunConfig(batch_contexts=50, least_tokens=1000)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The planted dictionary, and the same one again in another directory."""
    root = tmp_path_factory.mktemp("planted")
    planted.write_runs(root)
    shutil.copytree(root / "sae", root / "again" / "sae")
    record = json.loads((root / "again" / "sae" / "config.json").read_text())
    record["config"]["seed"] = 1
    write_json(root / "again" / "sae" / "config.json", record)
    return root


@pytest.fixture(scope="module")
def runs(root):
    return f"{root / 'sae'},{root / 'again' / 'sae'}"


@pytest.fixture(scope="module")
def found(root, runs):
    compare(root / "relations", dataclasses.replace(CONFIG, runs=runs))
    return mj.load_comparison(root / "relations")


def test_every_kind_of_relation_was_looked_for(found, root):
    assert set(RELATIONS) <= set(found.summary["seconds"])
    reasons = {gap["kind"]: gap["reason"] for gap in found.table("gaps") if gap["kind"] in RELATIONS}
    # Both dictionaries have one size, and few features; umap-learn need not be installed.
    few = "expected 17 or more" if importlib.util.find_spec("umap") else "pip install 'monosem_jax[map]'"
    assert "one size" in reasons.pop("splitting") and few in reasons.pop("map")
    assert not reasons
    rows = found.table("sets")
    assert [(row["name"], row["role"]) for row in rows] == [
        (f"{root.name}/sae", "dictionary"), ("again/sae", "dictionary"), ("neurons", "neurons")
    ]  # fmt: skip
    assert [run.path for run in found.dictionaries] == [root / "sae", root / "again" / "sae"] and not found.controls
    assert "What is compared" in (found.path / "relations.md").read_text(encoding="utf-8")
    assert {"universality.png", "universality.svg"} <= {p.name for p in (found.path / "figures").iterdir()}
    with pytest.raises(BadInput, match="the table"):
        found.table("nothing")
    with pytest.raises(BadInput, match=r"^the name of the arrays is 'nothing': expected "):
        found.arrays("nothing")


def test_a_comparison_that_was_stopped_goes_on_with_the_kind_that_is_left(root, runs, found, monkeypatch, capsys):
    """The files are those of a comparison that was not stopped, and what was found is not looked for again."""
    config, again, asked = dataclasses.replace(CONFIG, runs=runs), root / "stopped", []

    def watched(name, needs, find):
        def stop(study, config):
            asked.append(name)
            if len(asked) == 3:
                raise KeyboardInterrupt
            find(study, config)

        return Relation(needs, stop)

    for name, relation in RELATIONS.items():
        monkeypatch.setitem(RELATIONS, name, watched(name, relation.needs, relation.find))
    with pytest.raises(KeyboardInterrupt):
        compare(again, config)
    compare(again, config)
    names = [name for name in RELATIONS if name != "map" or importlib.util.find_spec("umap")]
    assert asked == [*names[:3], *names[2:]] and f"note: {names[0]}: found by" in capsys.readouterr().out
    whole = {p.relative_to(found.path): p for p in found.path.rglob("*") if p.is_file()}
    stopped = {p.relative_to(again): p for p in again.rglob("*") if p.is_file()}
    assert whole.keys() == stopped.keys()
    for name, path in whole.items():
        if path.suffix == ".npz":
            with np.load(path) as a, np.load(stopped[name]) as b:
                assert a.files == b.files
                for key in a.files:
                    np.testing.assert_array_equal(a[key], b[key])
        elif path.name not in ("summary.json", "config.json"):  # which have times
            assert path.read_bytes() == stopped[name].read_bytes(), name


def test_what_is_not_installed_is_said_before_the_work(root, runs, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "umap", None)
    without = tuple(name for name in RELATIONS if name not in ("map", "splitting"))
    summary = compare(root / "without_umap", dataclasses.replace(CONFIG, runs=runs, without=without))
    said = capsys.readouterr().out
    assert said.index("note: map: the map needs umap-learn") < said.index("relation: splitting")
    assert summary["seconds"]["map"] == 0 and "relation: map" not in said


def test_sets_share_what_they_can(runs):
    opened, _ = open_runs(runs, "config.runs")
    sets = compared_sets(opened, [])
    assert sets[0].features.tapped.params is sets[1].features.tapped.params is sets[2].features.tapped.params
    assert sets[0].neurons == sets[1].neurons == 2 and sets[0].same_space(sets[1])
    text = opened[0].run.transformer.text
    study = Relations(sets, text, ExampleText.of(text, "heldout"), text.path, 0, 50)
    assert study.dictionaries == [0, 1] and study.sizes == [0] and study.seeds == [1]
    for change in ({"seed": sets[0].seed}, {"recipe": "another"}, {"model": "another"}):
        other = dataclasses.replace(sets[1], **change)
        assert dataclasses.replace(study, sets=[sets[0], other, sets[2]]).seeds == []
    assert study.fits(Pair(0, 1, True))
    assert not dataclasses.replace(study, most_bytes=100).fits(Pair(0, 1))
    scan = study.scanned(0)
    assert scan is study.scanned(0) and np.array_equal(scan.fired > 0, np.arange(planted.F) != planted.DEAD_FEATURE)
    shutil.rmtree(text.path / "scan")
    with pytest.raises(BadInput, match="too many pairs"):
        study.pair(0, 1)


def altered(root, tmp_path, change) -> str:
    """A copy of the runs whose text `change` alters."""
    shutil.copytree(root / "transformer", tmp_path / "transformer")
    shutil.copytree(root / "sae", tmp_path / "sae")
    change(tmp_path / "transformer" / "text")
    record = json.loads((tmp_path / "sae" / "config.json").read_text())
    record["parents"]["transformer"] |= {"path": str(tmp_path / "transformer")}
    write_json(tmp_path / "sae" / "config.json", record)
    return f"{root / 'sae'},{tmp_path / 'sae'}"


def manifest(key):
    def change(text):
        found = json.loads((text / "text.json").read_text())
        write_json(text / "text.json", {**found, key: "another"})

    return change


def fewer_tokens(text):
    tokens = np.load(text / "heldout_tokens.npy")
    np.save(text / "heldout_tokens.npy", tokens[:50])


@pytest.mark.parametrize(
    "change, message",
    [
        (manifest("tokenizer_sha256"), "with another tokenizer: expected the same"),
        (manifest("corpus_sha256"), "with another corpus: expected the same"),
        (fewer_tokens, r"another heldout split \(200 and 50 contexts\)"),
    ],
)
def test_runs_of_other_texts_are_refused(root, tmp_path, change, message):
    with pytest.raises(BadInput, match=message):
        compare(tmp_path / "out", dataclasses.replace(CONFIG, runs=altered(root, tmp_path, change)))
    assert not (tmp_path / "out" / "config.json").exists()


def test_impossible_configurations_are_refused(root, runs, tmp_path):
    for change, message in (
        ({"runs": ""}, "config.runs is ''"),
        ({"runs": f"{root / 'sae'},{root / 'sae'}"}, "twice: expected different runs"),
        ({"least_tokens": 10**6}, "tokens to compare on: expected config.least_tokens, 1000000"),
        ({"contexts": 10}, "has 230 tokens to compare on"),
        ({"without": ("nothing",)}, "config.without"),
        ({"without": tuple(RELATIONS)}, "config.without has all kinds"),
        ({"control": str(root / "sae")}, "which was trained: expected one of a transformer"),
        ({"table_gb": 0.0}, "table_gb"),
    ):
        with pytest.raises(BadInput, match=message):
            compare(tmp_path / "out", dataclasses.replace(CONFIG, **{"runs": runs, **change}))
    assert not (tmp_path / "out").exists()


def test_a_control_among_the_runs_is_refused(root, tmp_path):
    control = altered(root, tmp_path, lambda text: None).split(",")[1]
    path = tmp_path / "transformer" / "config.json"
    record = json.loads(path.read_text())
    record["parents"]["shuffle_of"] = {"path": str(root / "transformer"), "sha256": "x"}
    write_json(path, record)
    config = dataclasses.replace(CONFIG, runs=f"{root / 'sae'},{control}")
    with pytest.raises(
        BadInput, match=rf"config\.runs has {control}, a dictionary of a control .*: expected it in config"
    ):
        compare(tmp_path / "out", config)
    assert not (tmp_path / "out").exists()
    for runs, controls in ((control, ""), (str(root / "sae"), control)):
        opened = [open_runs(paths, "config.runs")[0] if paths else [] for paths in (runs, controls)]
        check_controls(*opened)


def test_members_of_a_sweep_come_by_size_without_those_that_diverged(root, tmp_path):
    sweep = tmp_path / "sweep"
    (sweep / "members").mkdir(parents=True)
    for name in ("big", "small"):
        shutil.copytree(root / "sae", sweep / "members" / name)
        record = json.loads((sweep / "members" / name / "config.json").read_text())
        record["parents"]["transformer"] |= {"path": str(root / "transformer")}
        write_json(sweep / "members" / name / "config.json", record)
    record = {"format": 3, "experiment": "sweep", "config": {}, "parents": {}}
    write_json(sweep / "config.json", record)
    with pytest.raises(BadInput, match="is an unfinished sweep"):
        open_runs(str(sweep), "config.runs")
    rows = [
        {"name": "big", "n_features": 9},
        {"name": "lost", "n_features": 5, "diverged_at_step": 7},
        {"name": "small", "n_features": 3},
    ]
    write_json(sweep / "summary.json", {"members": rows})
    opened, left_out = open_runs(f"{sweep},{root / 'sae'}", "config.runs")
    assert [o.run.path.name for o in opened] == ["small", "big", "sae"] and [o.name for o in opened][:2] == [
        "small",
        "big",
    ]
    assert left_out == [f"lost of {sweep} diverged at step 7: left out"]
