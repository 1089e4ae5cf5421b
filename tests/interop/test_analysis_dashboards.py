"""Dashboards equal the records: read by what the formats say, they give the same numbers."""

import dataclasses
import json
import re
import shutil

import jsonschema
import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.analysis.records import Feature, Neighbour
from monosem_jax.interop import dashboards, saedashboard
from monosem_jax.interop.analyzed import Analyzed, Shown
from monosem_jax.stages import export as stage
from monosem_jax.stages.export import ExportConfig
from tests import planted
from tests.interop.dashboard_schemas import BATCH, FEATURE
from tests.small_analysis import CONTEXTS


@pytest.fixture(scope="module")
def run(small_analysis):
    return mj.load_analysis(small_analysis)


@pytest.fixture(scope="module")
def batches(small_analysis, tmp_path_factory):
    """The batches of SAEDashboard, of 5 features each."""
    out = tmp_path_factory.mktemp("saedashboard") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saedashboard, "BATCH", 5)
        stage.export(small_analysis, ExportConfig("saedashboard", str(out)))
    return [json.loads(p.read_text("utf-8")) for p in sorted(out.iterdir(), key=lambda p: int(p.stem.split("-")[1]))]


@pytest.fixture(scope="module")
def pages(small_analysis, tmp_path_factory):
    """Neuronpedia's features by number."""
    out = tmp_path_factory.mktemp("neuronpedia") / "out"
    stage.export(small_analysis, ExportConfig("neuronpedia", str(out)))
    files = list((out / "transformer" / "0-sae").iterdir())
    assert {p for p in out.rglob("*") if p.is_file()} == set(files)
    return {int(p.stem): json.loads(p.read_text("utf-8")) for p in files}


def test_batches_and_features_are_what_the_programs_read(batches, pages):
    for batch in batches:
        jsonschema.validate(batch, BATCH)
    for page in pages.values():
        jsonschema.validate(page, FEATURE)


def test_the_schemas_refuse_what_the_programs_would_refuse(batches, pages):
    for value, schema in ((batches[0], BATCH), (pages[0], FEATURE)):
        for change in ({"more": 1}, {next(iter(value)): 1.5}):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate({**value, **change}, schema)


def test_every_feature_is_in_one_batch_and_has_one_page(batches, pages):
    assert [len(b["features"]) for b in batches] == [5, 5, 2]
    assert [f["feature_index"] for b in batches for f in b["features"]] == list(range(planted.F)) == sorted(pages)
    assert {(b["model_id"], b["layer"], b["sae_set"]) for b in batches} == {("transformer", 0, "sae")}
    assert {(p["modelId"], p["layer"], p["index"]) for p in pages.values()} == {
        ("transformer", "0-sae", str(i)) for i in pages
    }


def test_statistics_are_those_of_the_records(run, batches, pages):
    found = {f["feature_index"]: f for b in batches for f in b["features"]}
    directions, params = planted.directions(), run.dictionary.params
    for r in run.records.all():
        for f in (found[r.feature], pages[r.feature]):
            assert f["frac_nonzero"] == r.density
            assert list(zip(f["pos_str"], f["pos_values"], strict=True)) == [tuple(x) for x in r.top_logits]
            assert list(zip(f["neg_str"], f["neg_values"], strict=True)) == [tuple(x) for x in r.bottom_logits]
            assert len(f["freq_hist_data_bar_values"]) == len(f["freq_hist_data_bar_heights"])
            assert sum(f["freq_hist_data_bar_heights"]) == r.fired
            np.testing.assert_allclose(f["vector"], params["W_dec"][r.feature], atol=1e-8)
            np.testing.assert_allclose(f["vector"], directions[r.feature], atol=1e-6)
            largest = np.argsort(-directions[r.feature])[:3]
            assert f["neuron_alignment_indices"] == largest.tolist()
            np.testing.assert_allclose(f["neuron_alignment_values"], directions[r.feature][largest], atol=1e-6)
            shares = directions[r.feature][largest] / np.abs(directions[r.feature]).sum()
            np.testing.assert_allclose(f["neuron_alignment_l1"], shares, atol=1e-6)
        assert found[r.feature]["n_prompts_total"] == CONTEXTS
        assert found[r.feature]["n_tokens_in_prompt"] == planted.T
        assert pages[r.feature]["maxActApprox"] == r.largest
        assert pages[r.feature]["hookName"] == "blocks.0.mlp.hook_post"


def test_the_histogram_of_logit_weights_is_of_the_tokens_that_the_record_counts(run, pages):
    """A planted feature raises its tokens, of which one is rare here, by 4, and does nothing to the others."""
    r, page = run.feature(planted.SET_FEATURE), pages[planted.SET_FEATURE]
    values, heights = page["logits_hist_data_bar_values"], page["logits_hist_data_bar_heights"]
    assert sum(heights) == r.logits.n_tokens
    raised = sum(v > 3 for _, v in r.top_logits)
    assert 0 < raised <= len(planted.EFFECT)
    assert sum(h for v, h in zip(values, heights, strict=True) if v > 3) == raised
    assert sum(h for v, h in zip(values, heights, strict=True) if abs(v) < 0.2) == r.logits.n_tokens - raised


def test_examples_and_their_intervals_are_those_of_the_records(run, batches, pages):
    found = {f["feature_index"]: f for b in batches for f in b["features"]}
    for r in run.records.all():
        groups = [(-1, r.largest, -1, r.examples)]
        groups += [(i.low, i.high, i.count / run.summary["scanned_tokens"], i.examples) for i in r.intervals]
        expected = [(low, high, share, e) for low, high, share, some in groups for e in some]
        for got, page, (low, high, share, e) in zip(
            found[r.feature]["activations"], pages[r.feature]["activations"], expected, strict=True
        ):
            assert (got["bin_min"], got["bin_max"], got["bin_contains"]) == (low, high, share)
            assert (page["binMin"], page["binMax"], page["binContains"]) == (low, high, share)
            assert got["tokens"] == page["tokens"] == list(e.tokens)
            assert got["values"] == page["values"] == list(e.activations)
            assert got["qualifying_token_index"] == page["qualifyingTokenIndex"] == e.peak
            assert page["maxValue"] == max(e.activations) == page["values"][page["maxValueTokenIndex"]]
            assert page["dataSource"] == e.origin and page["lossValues"] == list(e.loss_effects)


def test_explanations_come_with_the_scores_of_their_judge(run, pages):
    r, page = run.feature(planted.SET_FEATURE), pages[planted.SET_FEATURE]
    assert [(e["typeName"], e["description"]) for e in page["explanations"]] == [
        (e.judge, e.text) for e in r.explanations
    ]
    assert r.explanations
    for explanation in page["explanations"]:
        scores = [s for s in r.scores if s.judge == explanation["typeName"] and s.value is not None]
        assert [s["value"] for s in explanation["scores"]] == [s.value for s in scores]
        assert [json.loads(s["jsonDetails"])["shuffled"] for s in explanation["scores"]] == [s.shuffled for s in scores]


def test_batches_are_written_while_records_are_read(run, tmp_path, monkeypatch):
    """Memory does not grow with the number of features: a batch is on disk before the next one is read."""
    records, most = list(run.records.all()), 0

    class Many(Analyzed):
        def shown(self):
            for n in range(100):
                nonlocal most
                most = max(most, n - 4 * len(list(tmp_path.glob("batch-*.json"))))
                yield Shown(dataclasses.replace(records[n % len(records)], feature=n), None, None)

    monkeypatch.setattr(saedashboard, "BATCH", 4)
    assert saedashboard.write(tmp_path, Many(run)) == "100 features in 25 batches"
    assert most <= 4


def test_a_transformer_that_is_gone_leaves_out_what_needs_it(tmp_path, small_analysis, capsys):
    shutil.copytree(small_analysis, tmp_path / "analysis")
    record = json.loads((tmp_path / "analysis" / "config.json").read_text())
    record["parents"]["run"] |= {"path": "/nowhere/../My SAE", "relative": "../nowhere"}
    (tmp_path / "analysis" / "config.json").write_text(json.dumps(record))
    for form in ("saedashboard", "neuronpedia"):
        stage.export(tmp_path / "analysis", ExportConfig(form, str(tmp_path / form)))
    batch = json.loads((tmp_path / "saedashboard" / "batch-0.json").read_text())
    jsonschema.validate(batch, BATCH)
    assert {len(f["vector"]) for f in batch["features"]} == {0} and batch["sae_set"] == "my-sae"
    page = json.loads((tmp_path / "neuronpedia" / "model" / "0-my-sae" / "4.json").read_text())
    jsonschema.validate(page, FEATURE)
    assert page["hasVector"] is False and page["logits_hist_data_bar_heights"] == []
    said = capsys.readouterr().out
    assert said.count("note: the dictionary is left out") == 2


def test_texts_that_a_database_refuses_are_shown_by_symbols():
    assert dashboards.plain_text("a\0b\ud800c\n") == "a\u2400b\ufffdc\n"
    assert dashboards.plain_text("مكتبة </script> \\xe6") == "مكتبة </script> \\xe6"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sae", "sae"), ("../../etc", "etc"), ("My SAE (2)", "my-sae-2"), ("ß/日本", "unnamed"), ("..", "unnamed")],
)
def test_names_of_folders_lead_nowhere_else(name, expected):
    assert dashboards.url_name(name) == expected and re.fullmatch(r"[a-z0-9._-]+", expected)


def test_cosines_that_are_not_known_are_left_out():
    near = (Neighbour("neurons", 3, 0.9, None), Neighbour("neurons", 4, None, None), Neighbour("features", 5, 0.4, 0.3))
    record = Feature(0, 0.1, 1.0, None, None, (), (), (), neighbours=near)
    found = dashboards.statistics(Shown(record, None, None))
    assert (found["correlated_neurons_indices"], found["correlated_neurons_pearson"]) == ([3], [0.9])
    assert found["correlated_neurons_l1"] == [] and found["correlated_features_l1"] == [0.3]
