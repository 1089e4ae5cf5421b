"""The index of a set: equal to that of the records, in segments."""

import dataclasses
import gzip
import json

import pytest

from monosem_jax.analysis.records_io import Records
from monosem_jax.report.browser.container import unpacked
from monosem_jax.report.browser.dictionary import chunks
from monosem_jax.report.browser.index import LONGEST_TEXT, SetIndex
from monosem_jax.runtime.errors import BadInput
from tests.report.browser.made import ARABIC, CHINESE, HOSTILE, LABELS, PROXIES, SIZES, feature, write_records


def test_the_columns_are_those_of_the_records(tmp_path, monkeypatch):
    monkeypatch.setattr(SetIndex, "SEGMENT", 20)
    write_records(tmp_path / "records")
    for name, n in SIZES.items():
        index = SetIndex(tmp_path, f"id/{name}", LABELS, PROXIES)
        for _, _, records in chunks(tmp_path / "records", name):
            for record in records:
                index.add(record, "here")
        index.close()
        folder = tmp_path / "data" / "id" / name
        parts = [unpacked(folder / f"index-{i}.js") for i in range(-(-n // 20))]
        assert index.records == n and len(list(folder.glob("index-*"))) == len(parts)
        found = {column: [value for part in parts for value in part[column]] for column in parts[0]}
        expected = Records(tmp_path / "records").index(name)
        for column in expected:
            if column != "density":
                assert found[column] == expected[column], column
        assert found["density"] == [float(f"{feature(i, name).density:.9g}") for i in range(n)]
        assert [i for i, label in enumerate(found["best"]) if label >= 0] == [ARABIC, CHINESE]
        assert found["best"][CHINESE] == LABELS.index("chinese")
        assert found["text"][0] == "text of the kind arabic" and max(map(len, found["text"])) <= LONGEST_TEXT
        assert name != "features" or found["text"][HOSTILE].startswith("<script>")


@pytest.mark.parametrize(
    "change",
    [
        {"examples": [{"tokens": 3, "peak": 0}]},
        {"examples": 5},
        {"intervals": [{}]},
        {"density": None},
        {"largest": "much"},
        {"explanations": [{"text": 7}]},
        {"top_tokens": ["a"]},
        {"scores": [[]]},
        {"proxies": [{"pearson": "high", "proxy": "arabic"}]},
        {"nearest_label": [1]},
        {"stability": float("inf")},
    ],
)
def test_what_is_no_record_is_named(tmp_path, change):
    index = SetIndex(tmp_path, "id/features", LABELS, PROXIES)
    record = json.loads(json.dumps(dataclasses.asdict(feature(12))))
    index.add(record, "a.json.gz")
    with pytest.raises(BadInput, match=r"a\.json\.gz is damaged: feature 12 is no record \("):
        index.add({**record, **change}, "a.json.gz")


def test_numbers_that_no_browser_reads_are_refused(tmp_path):
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "00000.json.gz").write_bytes(gzip.compress(b'[{"feature": 0, "density": NaN}]'))
    with pytest.raises(BadInput, match=r"00000\.json\.gz is damaged: NaN is no JSON"):
        list(chunks(tmp_path, "features"))
