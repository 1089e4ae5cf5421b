"""The records of an analysis: written records read back unchanged and fit the schema, and nothing else is accepted."""

from __future__ import annotations

import dataclasses
import gzip
import json
import pathlib

import jsonschema
import pytest

from monosem_jax.analysis import records_io
from monosem_jax.analysis.records import (
    FORMAT,
    Category,
    Example,
    Explanation,
    Feature,
    Histogram,
    Interval,
    Neighbour,
    ProxyScore,
    Score,
    Source,
    Sources,
    TopToken,
)
from monosem_jax.analysis.records_io import CHUNK, Records, RecordWriter, write_header
from monosem_jax.analysis.records_parse import plain
from monosem_jax.analysis.run import AnalyzeRun
from monosem_jax.load import load_run
from monosem_jax.runtime.errors import BadInput, NewerFormat

SCHEMA = pathlib.Path(records_io.__file__).with_name("records.schema.json")
SOURCES = Sources(1.25, 0.25, 0.5, 0.5, (Source(17, "<b>", 0.5, 0.125, 0), Source(0, "a", 0.0, 0.375, 1)))
TOP_EXAMPLE = Example(4, 17, 0, ("<b>",), (1.25,), "", "", sources=SOURCES)
EXAMPLE = Example(4, 17, 2, ("a", "\n", "<b>"), (0.0, 0.5, 1.25), "x.txt#3", "prose", (5, 6, 7), (0.0, -0.125, 0.5))
FEATURES = [
    Feature(7, 0.25, 1.25, "prose", 0.5, (("a", 0.5), ("b", 0.25)), (("c", -0.5),), (EXAMPLE,)),
    Feature(9, 0.0, 0.0, None, None, (), (), ()),
]
RICH = Feature(
    CHUNK + 3, 0.123456, 1.25, "prose", 0.5, (("a", 0.5),), (("c", -0.5),), (EXAMPLE, TOP_EXAMPLE),
    fired=11,
    nearest_label="prose",
    nearest_label_correlation=0.456,
    linear_histogram=Histogram((0.0, 0.5, 1.25), (8, 3)),
    intervals=(Interval(0.0, 0.5, 8, (EXAMPLE,)),),
    top_tokens=(TopToken(6, "<b>", 9, 0.75, 0.5, 1.0),),
    proxies=(ProxyScore("dna", "sign", 0.789, (None, 1.0), (0, 20), 1.0, 0.5, 0.75, 0.25, 40),),
    neighbours=(Neighbour("neurons", 3, 0.25, None),),
    explanations=(Explanation("graph", "b after a", 3, "edges"),),
    scores=(Score("graph", "simulation", 0.678, 0.5, 0.01, 540),),
)  # fmt: skip
CATEGORIES = [Category("prose", 120, 7, 0.5, 3, 0.25)]
V1 = {"feature", "density", "largest", "label", "label_correlation", "top_logits", "bottom_logits", "examples"}


def validate(values, name: str) -> None:
    whole = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(whole)
    jsonschema.validate(values, {**whole, "$ref": f"#/$defs/{name}"}, jsonschema.Draft202012Validator)


def write(folder: pathlib.Path, features=(*FEATURES, RICH), sets=("features", "neurons")) -> pathlib.Path:
    found = {}
    for name in sets:
        writer = RecordWriter(folder, name, ["code", "prose"], ["dna"])
        for record in features:
            writer.add(record)
        found[name] = writer.close(200, 1000)
    write_header(folder, found, ["code", "prose"], ["dna"], ["x", "<b>"])
    return folder


def chunk(folder: pathlib.Path, number: int) -> list:
    return json.loads(gzip.decompress((folder / "features" / f"{number:05d}.json.gz").read_bytes()))


def test_what_is_written_is_read_again(tmp_path):
    found = Records(write(tmp_path))
    assert found.sets == ("features", "neurons") and found.vocabulary() == ["x", "<b>"]
    assert list(found.all()) == [*FEATURES, RICH]
    assert [found.feature(i, "neurons") for i in (9, CHUNK + 3, 7)] == [FEATURES[1], RICH, FEATURES[0]]


def test_a_chunk_holds_neighbouring_features_and_fits_the_schema(tmp_path):
    write(tmp_path)
    assert [[r["feature"] for r in chunk(tmp_path, n)] for n in (0, 1)] == [[7, 9], [CHUNK + 3]]
    for number in (0, 1):
        validate(chunk(tmp_path, number), "chunk")


def test_a_feature_is_found_without_reading_other_chunks(tmp_path):
    write(tmp_path)
    (tmp_path / "features" / "00000.json.gz").write_bytes(b"damaged")
    assert Records(tmp_path).feature(CHUNK + 3) == RICH


def test_the_index_has_what_lists_need_in_a_hundred_bytes_per_feature(tmp_path):
    many = [dataclasses.replace(RICH, feature=i) for i in range(1000)]
    found = Records(write(tmp_path, many, ["features"])).index()
    assert set(found) == set(records_io.INDEX_COLUMNS)
    assert {column: values[3] for column, values in found.items()} == {
        "feature": 3, "density": 0.123, "largest": 1.25, "tokens": [6], "label": 1, "label_correlation": 0.46,
        "proxy": 0, "proxy_correlation": 0.79, "score": 0.68, "shuffled": 0.01, "stability": None,
    }  # fmt: skip
    size = len(gzip.decompress((tmp_path / "features" / "index.json.gz").read_bytes()))
    assert size <= 100 * 1000


def test_numbers_that_are_not_finite_become_null():
    assert plain(dataclasses.replace(RICH, stability=float("nan")))["stability"] is None


def test_equal_records_give_equal_files(tmp_path):
    first, second = (write(tmp_path / name) for name in ("a", "b"))
    for file in first.rglob("*.*"):
        assert file.read_bytes() == (second / file.relative_to(first)).read_bytes()


@pytest.mark.parametrize(
    "damage", [{"density": "1"}, {"top_logits": [["a"]]}, {"examples": [{}]}, {"label": 3}, {"feature": 1.5}]
)
def test_both_the_schema_and_the_reader_refuse_other_types(tmp_path, damage):
    write(tmp_path)
    values = chunk(tmp_path, 0)
    values[1] |= damage
    (tmp_path / "features" / "00000.json.gz").write_bytes(gzip.compress(json.dumps(values).encode()))
    with pytest.raises(jsonschema.ValidationError):
        validate(values, "chunk")
    with pytest.raises(BadInput, match=rf"00000\.json\.gz\[1\]\.{next(iter(damage))}"):
        list(Records(tmp_path).all())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is damaged"),
        (b"no gzip", "is damaged"),
        (gzip.compress(b"[1, 2", mtime=0), "is damaged"),
        (gzip.compress(b"[]", mtime=0)[:-6], "is damaged"),
        (gzip.compress(b"{}", mtime=0), "expected a list"),
        (gzip.compress(b" " * (records_io.LARGEST + 1)), "is damaged"),
    ],
)
def test_a_damaged_chunk_is_one_line(tmp_path, data, message):
    write(tmp_path)
    (tmp_path / "features" / "00000.json.gz").write_bytes(data)
    with pytest.raises(BadInput, match=message) as e:
        list(Records(tmp_path).all())
    assert "\n" not in str(e.value)


def test_what_is_not_there_is_named(tmp_path):
    found = Records(write(tmp_path))
    with pytest.raises(BadInput, match="has no record of feature 8 of features: it has 3 records"):
        found.feature(8)
    with pytest.raises(BadInput, match="control"):
        found.feature(7, "control")
    with pytest.raises(BadInput, match="does not exist"):
        Records(tmp_path / "nothing")


def test_the_shipped_schema_is_that_of_the_records():
    """After a change of the records: SCHEMA.write_text(json.dumps(records_io.schema(), indent=1) + "\\n")."""
    assert json.loads(SCHEMA.read_text()) == records_io.schema()


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
    (tmp_path / records_io.CATEGORIES).write_text(json.dumps([value]))
    with pytest.raises(BadInput) as e:
        records_io.read_categories(tmp_path)
    assert message in str(e.value) and "\n" not in str(e.value)


def test_fields_of_later_versions_are_ignored_and_whole_numbers_are_numbers(tmp_path):
    value = {**vars(CATEGORIES[0]), "feature_correlation": 1, "later": [1, 2]}
    (tmp_path / records_io.CATEGORIES).write_text(json.dumps([value]))
    assert records_io.read_categories(tmp_path) == [Category("prose", 120, 7, 1, 3, 0.25)]


def test_categories_are_read_again_and_fit_the_schema(tmp_path):
    records_io.write_categories(tmp_path, CATEGORIES)
    values = json.loads((tmp_path / records_io.CATEGORIES).read_text())
    assert records_io.read_categories(tmp_path) == CATEGORIES
    assert list(values[0]) == [*("label", "tokens", "feature", "feature_correlation", "neuron", "neuron_correlation")]
    validate(values, records_io.CATEGORIES)


@pytest.mark.parametrize("number", [FORMAT + 1, "2", None])
def test_a_newer_format_is_refused(tmp_path, number):
    with pytest.raises(NewerFormat, match="records_format"):
        records_io.check_format(tmp_path, number)


@pytest.fixture
def opened(tmp_path):
    """The function that opens a finished analysis with this summary."""
    record = {"format": 1, "experiment": "analyze", "config": {}, "parents": {}}
    records_io.write_categories(tmp_path, CATEGORIES)

    def open_with(**summary) -> AnalyzeRun:
        for name, value in {"config": record, "summary": summary}.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(value))
        return load_run(tmp_path)

    return open_with


def test_an_opened_analysis_has_typed_records(opened, tmp_path):
    write(tmp_path / records_io.FOLDER)
    run = opened(records_format=2)
    assert (run.feature_records, run.category_records) == ([*FEATURES, RICH], CATEGORIES)
    assert run.feature(9) == FEATURES[1] and run.feature(CHUNK + 3, "neurons") == RICH
    assert run.features[0]["examples"][0]["tokens"] == ["a", "\n", "<b>"]
    with pytest.raises(BadInput, match="has no record of feature 8 of features: it has 3 records"):
        run.feature(8)


@pytest.mark.parametrize("summary", [{}, {"records_format": 1}])
def test_an_analysis_of_format_1_opens(opened, tmp_path, summary):
    values = [{k: v for k, v in plain(f).items() if k in V1} for f in FEATURES]
    for value in values:
        for example in value["examples"]:
            del example["token_ids"], example["loss_effects"]
    (tmp_path / records_io.FEATURES).write_text(json.dumps(values))
    validate(values, records_io.FEATURES)
    run = opened(**summary)
    assert [r.feature for r in run.feature_records] == [7, 9] and run.feature(7).top_logits == FEATURES[0].top_logits
    assert run.feature(7).examples[0].activations == EXAMPLE.activations and run.feature(7).intervals == ()
    with pytest.raises(BadInput, match="has no record of feature 8: it has 2 records"):
        run.feature(8)
    with pytest.raises(BadInput, match="format 1"):
        _ = run.records


def test_an_opened_analysis_of_a_newer_format_is_refused(opened, tmp_path):
    write(tmp_path / records_io.FOLDER)
    run = opened(records_format=FORMAT + 1)
    for read in (lambda: run.feature_records, lambda: run.category_records, lambda: run.records):
        with pytest.raises(NewerFormat, match=f"records_format has format {FORMAT + 1}"):
            read()
