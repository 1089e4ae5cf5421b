"""Crosscoders in a comparison, from directories to tables, and what is refused before any work."""

import dataclasses
import json
import shutil

import pytest

import monosem_jax as mj
from monosem_jax.activations.store.store import source_identity
from monosem_jax.runtime.config import to_dict
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_json
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.stages.compare import CompareRunConfig, compare
from tests import planted
from tests.analysis.relations import two_models

CONFIG = CompareRunConfig(
    batch_contexts=50,
    least_tokens=1000,
    without=("universality", "splitting", "map", "automata", "motifs"),
)


def write_store(path, transformer, **changes) -> None:
    """What a crosscoder's opening reads of a store."""
    text, summary = (
        json.loads((transformer / name).read_text(encoding="utf-8")) for name in ("text/text.json", "summary.json")
    )
    manifest = {"format": 3, "complete": True, "n_rows": 1, "rows_written": 1, "width": planted.M, "dtype": "float32",
                "site": planted.SITE, "model": summary["params_sha256"]}  # fmt: skip
    manifest |= {key: text[key] for key in ("tokenizer_sha256", "corpus_sha256")}
    path.mkdir(parents=True)
    write_json(path / "store.json", {**manifest, **changes})


def write_crosscoder(path, sources, *, finished=True) -> str:
    names = ("source", "source_2")
    parents = {name: source_identity(str(source)) for name, source in zip(names, sources, strict=False)}
    with RunDir(path, "train_sae", {"sae": to_dict(two_models.CONFIG), "seed": 0}, parents) as rundir:
        planted._checkpoint(rundir.path, two_models.crosscoder_params())
        site = "+".join([planted.SITE] * 2)
        about = {"input_scale": [1.0, 1.0], "site": site, "width": sum(two_models.PARTS), "widths": two_models.PARTS}
        write_json(rundir.path / "input.json", {**about, "published": True})
        if finished:
            rundir.finish({"l0": 1.0})
    return str(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    for side in "ab":
        values, dictionary = two_models.model_params(side), two_models.dictionary_params(side)
        planted.write_runs(root / side, values=values, dictionary=dictionary)
        write_store(root / side / "store", root / side / "transformer")
    write_crosscoder(root / "crosscoder", [root / side / "store" for side in "ab"])
    return root


@pytest.fixture(scope="module")
def config(root):
    return dataclasses.replace(CONFIG, runs=f"{root / 'a' / 'sae'},{root / 'b' / 'sae'}")


def test_a_crosscoder_is_compared_with_the_dictionaries_of_its_models(root, config):
    shutil.copytree(root / "crosscoder", root / "again" / "crosscoder")
    paths = [root / "crosscoder", root / "again" / "crosscoder"]
    compare(root / "relations", dataclasses.replace(config, crosscoder=",".join(map(str, paths))))
    found = mj.load_comparison(root / "relations")
    assert [run.path for run in found.crosscoders] == paths and len(found.dictionaries) == 2
    first, second = found.table("crosscoder")
    names = [f"crosscoder {root.name}/crosscoder", "crosscoder again/crosscoder"]
    assert [first["name"], second["name"]] == names
    assert {**first, "name": ""} == {**second, "name": ""} and (first["a"], first["b"]) == ("a/sae", "b/sae")
    assert first["exclusive"] == {"features": 5, "shrunk": 1, "decoupled": 0, "confirmed": 4, "undecided": 0}
    assert [c["contradicted"] for c in first["classes"]] == [1, None, 0, 0, 0]
    assert f"{names[1]}|feature_a" in found.arrays("crosscoder")
    rows = {row["name"]: row for row in found.table("sets")}
    assert rows[names[0]]["run"] == str(paths[0]) and rows[names[1]]["run"] == str(paths[1])
    assert (rows[names[0]]["role"], rows[names[0]]["architecture"]) == ("crosscoder", "crosscoder (relu)")
    assert rows["neurons"]["run"] is None and rows["a/sae"]["run"] == str(root / "a" / "sae")
    assert "## Crosscoders: features of two models" in (found.path / "relations.md").read_text(encoding="utf-8")
    assert [gap["kind"] for gap in found.table("gaps")] == ["tokens"]


def test_the_order_of_the_dictionaries_does_not_matter(root, config, tmp_path):
    turned = ",".join(config.runs.split(",")[::-1])
    compare(tmp_path / "out", dataclasses.replace(config, runs=turned, crosscoder=str(root / "crosscoder")))
    (row,) = mj.load_comparison(tmp_path / "out").table("crosscoder")
    assert (row["a"], row["b"]) == ("a/sae", "b/sae") and row["by_threshold"][1]["a"] == 3


def test_without_a_crosscoder_nothing_is_said(config, tmp_path):
    compare(tmp_path / "out", config)
    found = mj.load_comparison(tmp_path / "out")
    assert "crosscoder" not in found.tables and not found.crosscoders
    assert [gap["kind"] for gap in found.table("gaps")] == ["tokens"]


def test_what_cannot_be_compared_is_refused_in_a_line(root, config, tmp_path):
    a, b = (root / side / "store" for side in "ab")
    write_store(tmp_path / "tokens", root / "b" / "transformer", tokenizer_sha256="x")
    write_store(tmp_path / "corpus", root / "b" / "transformer", corpus_sha256="x")
    write_store(tmp_path / "site", root / "b" / "transformer", site="mlp_out.0")
    write_store(tmp_path / "third", root / "b" / "transformer", model="0123456789abcdef")
    write_store(tmp_path / "foreign", root / "b" / "transformer", model=None)
    write_store(tmp_path / "gone", root / "b" / "transformer")
    made = {name: write_crosscoder(tmp_path / "made" / name, [a, tmp_path / name])
            for name in ("tokens", "corpus", "site", "third", "foreign", "gone")}  # fmt: skip
    shutil.rmtree(tmp_path / "gone")
    same, one = (write_crosscoder(tmp_path / "made" / name, [a, a][:n]) for n, name in ((2, "same"), (1, "one")))
    unfinished = write_crosscoder(tmp_path / "made" / "unfinished", [a, b], finished=False)
    good = str(root / "crosscoder")
    for crosscoder, message in (
        (made["tokens"], "was trained with another tokenizer than config.runs"),
        (made["corpus"], "was trained with another corpus than config.runs"),
        (made["site"], r"reads mlp_out\.0 of the transformer .*: expected a dictionary of it in config.runs"),
        (made["third"], "of the transformer 0123456789ab: expected a dictionary"),
        (made["foreign"], r"not trained on two stores of transformers, .*config\.source=STORE_A,STORE_B"),
        (made["gone"], "which does not exist any more or has changed"),
        (same, "two sites of one transformer: expected stores of two"),
        (one, "was not trained on two stores"),
        (unfinished, "is not a finished train_sae run"),
        (str(root / "a" / "transformer"), "transformer is not a finished train_sae run"),
        (str(root / "a" / "sae"), r"is relu with parts of widths \(20,\): expected a crosscoder of two models"),
        (f"{good},{good}", "twice: expected different runs"),
        (str(tmp_path / "nothing"), "nothing"),
    ):
        with pytest.raises(BadInput, match=message) as e:
            compare(tmp_path / "out", dataclasses.replace(config, crosscoder=crosscoder))
        assert "\n" not in str(e.value)
    with pytest.raises(
        BadInput, match=r"config\.runs has .*crosscoder, a crosscoder of several models: .*config\.cross"
    ):
        compare(tmp_path / "out", dataclasses.replace(config, runs=f"{config.runs},{good}"))
    only = dataclasses.replace(config, runs=str(root / "a" / "sae"), crosscoder=good)
    with pytest.raises(BadInput, match=r"expected a dictionary of it in config\.runs, which are of mlp_hidden\.0 of"):
        compare(tmp_path / "out", only)
    assert not (tmp_path / "out").exists()
