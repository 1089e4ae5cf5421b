"""The records of an analysis: written records read back unchanged and fit the schema, and nothing else is accepted."""

from __future__ import annotations

import json
import pathlib

import jsonschema
import numpy as np
import pytest

from monosem_jax.analysis import collect, records
from monosem_jax.analysis.examples import ExampleText
from monosem_jax.analysis.label_scan import scan
from monosem_jax.analysis.records import Category, Example, Feature
from monosem_jax.analysis.run import AnalyzeRun
from monosem_jax.load import load_run
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput, NewerFormat
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.text.directory import Source
from tests import reference
from tests.engine import relu_sae

SCHEMA = pathlib.Path(records.__file__).with_name("records.schema.json")
BOS, N_FEATURES = 0, 12
EXAMPLE = Example(4, 17, 2, ("a", "\n", "<b>"), (0.0, 0.5, 1.25), "x.txt#3", "prose")
FEATURES = [
    Feature(7, 0.25, 1.25, "prose", 0.5, (("a", 0.5), ("b", 0.25)), (("c", -0.5),), (EXAMPLE,)),
    Feature(9, 0.0, 0.0, None, None, (), (), ()),
]
CATEGORIES = [Category("prose", 120, 7, 0.5, 3, 0.25)]


def validate(folder: pathlib.Path, file: str) -> None:
    whole = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(whole)
    values = json.loads((folder / file).read_text())
    jsonschema.validate(values, {**whole, "$ref": f"#/$defs/{file}"}, jsonschema.Draft202012Validator)


def test_what_is_written_is_read_again(tmp_path):
    records.write_features(tmp_path, FEATURES)
    records.write_categories(tmp_path, CATEGORIES)
    assert records.read_features(tmp_path) == FEATURES
    assert records.read_categories(tmp_path) == CATEGORIES


def test_the_files_have_the_keys_that_they_always_had(tmp_path):
    records.write_features(tmp_path, FEATURES)
    records.write_categories(tmp_path, CATEGORIES)
    features, categories = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("features", "categories"))
    assert list(features[0]) == [
        *("feature", "density", "largest", "label", "label_correlation", "top_logits", "bottom_logits", "examples")
    ]
    assert list(features[0]["examples"][0]) == [
        *("context", "position", "peak", "tokens", "activations", "origin", "label")
    ]
    assert features[0]["top_logits"] == [["a", 0.5], ["b", 0.25]] and features[1]["label"] is None
    assert list(categories[0]) == [
        *("label", "tokens", "feature", "feature_correlation", "neuron", "neuron_correlation")
    ]


def test_what_is_written_fits_the_shipped_schema(tmp_path):
    records.write_features(tmp_path, FEATURES)
    records.write_categories(tmp_path, CATEGORIES)
    validate(tmp_path, records.FEATURES)
    validate(tmp_path, records.CATEGORIES)


@pytest.mark.parametrize(
    "damage", [{"density": "1"}, {"top_logits": [["a"]]}, {"examples": [{}]}, {"label": 3}, {"feature": 1.5}]
)
def test_both_the_schema_and_the_reader_refuse_other_types(tmp_path, damage):
    records.write_features(tmp_path, FEATURES)
    values = json.loads((tmp_path / records.FEATURES).read_text())
    values[1] |= damage
    (tmp_path / records.FEATURES).write_text(json.dumps(values))
    with pytest.raises(jsonschema.ValidationError):
        validate(tmp_path, records.FEATURES)
    with pytest.raises(BadInput, match=rf"features\.json\[1\]\.{next(iter(damage))}"):
        records.read_features(tmp_path)


def test_the_shipped_schema_is_that_of_the_records():
    """After a change of the records: SCHEMA.write_text(json.dumps(records.schema(), indent=1) + "\\n")."""
    assert json.loads(SCHEMA.read_text()) == records.schema()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"label": "a"}, "categories.json[0] has no tokens: expected label, tokens, feature, feature_correlation"),
        ([], "categories.json[0] has no label: expected"),
        ({**vars(CATEGORIES[0]), "tokens": True}, "categories.json[0].tokens is True: expected a whole number"),
        ({**vars(CATEGORIES[0]), "label": {"a": 1}}, "categories.json[0].label is a dict: expected a text"),
        ({**vars(CATEGORIES[0]), "neuron": "x" * 99}, f"[0].neuron is '{'x' * 76}…: expected a whole number"),
    ],
)
def test_the_first_wrong_value_is_named(tmp_path, value, message):
    (tmp_path / records.CATEGORIES).write_text(json.dumps([value]))
    with pytest.raises(BadInput) as e:
        records.read_categories(tmp_path)
    assert message in str(e.value) and "\n" not in str(e.value)


def test_fields_of_later_versions_are_ignored_and_whole_numbers_are_numbers(tmp_path):
    value = {**vars(CATEGORIES[0]), "feature_correlation": 1, "later": [1, 2]}
    (tmp_path / records.CATEGORIES).write_text(json.dumps([value]))
    assert records.read_categories(tmp_path) == [Category("prose", 120, 7, 1, 3, 0.25)]


@pytest.mark.parametrize("summary", [None, {}, {"records_format": 1}])
def test_directories_of_this_format_and_of_before_it_was_numbered_are_read(tmp_path, summary):
    records.check_format(tmp_path, summary)


@pytest.mark.parametrize("number", [records.FORMAT + 1, "2", None])
def test_a_newer_format_is_refused(tmp_path, number):
    with pytest.raises(NewerFormat, match="records_format"):
        records.check_format(tmp_path, {"records_format": number})


@pytest.fixture
def opened(tmp_path):
    """The function that opens a finished analysis with this summary."""
    record = {"format": 1, "experiment": "analyze", "config": {}, "parents": {}}
    records.write_features(tmp_path, FEATURES)
    records.write_categories(tmp_path, CATEGORIES)

    def open_with(**summary) -> AnalyzeRun:
        for name, value in {"config": record, "summary": summary}.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(value))
        return load_run(tmp_path)

    return open_with


def test_an_opened_analysis_has_typed_records(opened):
    run = opened(records_format=1)
    assert (run.feature_records, run.category_records) == (FEATURES, CATEGORIES)
    assert run.feature(9) == FEATURES[1]
    assert run.features[0]["examples"][0]["tokens"] == ["a", "\n", "<b>"]
    with pytest.raises(BadInput, match="has no record of feature 8: it has 2 records"):
        run.feature(8)


def test_an_analysis_of_before_formats_were_numbered_opens(opened):
    assert opened(scanned_tokens=3).feature(7) == FEATURES[0]


def test_an_opened_analysis_of_a_newer_format_is_refused(opened):
    run = opened(records_format=2)
    for read in (lambda: run.feature_records, lambda: run.category_records, lambda: run.feature(7)):
        with pytest.raises(NewerFormat, match="records_format has format 2, this version reads up to 1"):
            read()


def contexts() -> np.ndarray:
    tokens = np.random.default_rng(0).integers(1, 40, size=(10, 12))
    tokens[:, 0] = BOS
    return tokens


@pytest.fixture(scope="module")
def analysed(tiny):
    """(model, dictionary, text, scan): feature 5 never fires."""
    p = reference.random_dictionary(2, 32, N_FEATURES)
    p["W_enc"][:, 5], p["b_enc"][5] = 0, -1
    tapped, sae = TappedModel(*tiny, "mlp_hidden.0", BOS), PublishedSAE(relu_sae(32, N_FEATURES), p)
    documents = np.repeat(np.arange(5), 2)[:, None] + np.zeros((10, 12), int)
    sources = [Source(f"file {i}", "even" if i % 2 == 0 else "") for i in range(5)]
    text = ExampleText(contexts(), documents, [f"<{i}>" for i in range(40)], sources)
    labels = np.where(documents % 2 == 0, 0, -1)
    return tapped, sae, text, scan(tapped, sae, contexts(), labels, n_labels=1, batch=4, n_top=3)


def test_collected_records_agree_with_the_scan_and_fit_the_schema(analysed, tmp_path):
    tapped, sae, text, found = analysed
    categories = [Category("even", 55, 3, 0.5, 1, 0.25), Category("odd", 50, 3, 0.25, 2, 0.5)]
    features, common = [3, 5, 0], np.asarray([2, 4, 6, 8])
    got = collect.collect_features(tapped, sae, text, found, categories, features, common=common, batch=4, n_examples=2)
    assert [r.feature for r in got] == features
    assert [(r.label, r.label_correlation) for r in got] == [("even", 0.5), (None, None), (None, None)]
    for r in got:
        assert (r.density, r.largest) == (found.density[r.feature], found.top_value[r.feature, 0])
        values = [v for _, v in r.top_logits]
        assert values == sorted(values, reverse=True)
        assert {t for t, _ in r.top_logits} == {"<2>", "<4>", "<6>", "<8>"}
        assert r.bottom_logits == r.top_logits[::-1]
    assert [len(r.examples) for r in got] == [min(2, np.sum(found.top_value[i] > 0)) for i in features]
    records.write_features(tmp_path, got)
    validate(tmp_path, records.FEATURES)
    assert records.read_features(tmp_path) == got


def test_common_tokens_are_those_seen_often_enough():
    tokens = np.asarray([[1] * collect.COMMON_TOKEN, [2] * (collect.COMMON_TOKEN - 1) + [3]])
    assert list(collect.common_tokens(tokens, 5)) == [1]
