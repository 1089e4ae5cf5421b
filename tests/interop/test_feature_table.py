"""Tables of features equal the records, and no cell is a formula."""

import csv
import json
import sys

import pytest

import monosem_jax as mj
from monosem_jax.analysis.records import Explanation, Feature, ProxyScore, Score, TopToken
from monosem_jax.analysis.records_parse import plain
from monosem_jax.interop import feature_table
from monosem_jax.runtime.errors import BadInput
from monosem_jax.stages import export as stage
from monosem_jax.stages.export import ExportConfig

SETS = ("features", "neurons", "random")
HOSTILE = ("=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\rx", "'quoted", 'a,"b"\nc', "plain", "", "مكتبة", "\0")


def made(number: int, text: str) -> Feature:
    """A record full of one text."""
    return Feature(
        number, 0.1, 1.5, text, -0.5, ((text, 1.0),), ((text, -1.0),), (), nearest_label=text,
        top_tokens=(TopToken(1, text, 3, 0.5, 1.0, 0.7),), explanations=(Explanation("j", text, 1, "words"),),
        scores=(Score("j", "simulation", -0.25, None, 0.0, 10),),
        proxies=(ProxyScore("arabic", "sign", 0.4, (), (), 1.0, None, None, 0.2, 5),),
    )  # fmt: skip


class Made:
    """What a writer needs of an analysis."""

    sets = ("features",)

    def __init__(self, records):
        self._records = records

    def records(self, name):
        return iter(self._records)

    def unchecked(self, name):
        return map(plain, self.records(name))


def rows_of(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def text_of(cell: str) -> str:
    """The text of a cell, as the module says."""
    return cell.removeprefix("'")


def close(written: str, value) -> bool:
    return written == ("" if value is None else str(value))


def test_csv_has_a_row_for_every_record_with_its_values(small_analysis, tmp_path):
    stage.export(small_analysis, ExportConfig("csv", str(tmp_path / "out")))
    run = mj.load_analysis(small_analysis)
    assert sorted(p.stem for p in (tmp_path / "out").iterdir()) == sorted(SETS)
    for name in SETS:
        rows, records = rows_of(tmp_path / "out" / f"{name}.csv"), list(run.records.all(name))
        assert [int(row["feature"]) for row in rows] == [r.feature for r in records]
        for row, r in zip(rows, records, strict=True):
            for column in ("density", "fired", "largest", "mean", "label_correlation", "stability"):
                assert close(row[column], getattr(r, column)), column
            assert text_of(row["label"]) == (r.label or "")
            assert json.loads(row["top_tokens"]) == [t.token for t in r.top_tokens]
            assert json.loads(row["top_logit_weights"]) == [v for _, v in r.top_logits]
            for p in r.proxies:
                assert close(row[f"proxy_{p.proxy}_pearson"], p.pearson)
            for s in r.scores:
                assert close(row[f"score_{s.judge}_{s.kind}"], s.value)
                assert close(row[f"score_{s.judge}_{s.kind}_shuffled"], s.shuffled)
            assert text_of(row["explanation"]) == (r.explanations[0].text if r.explanations else "")


def test_the_index_columns_are_there(small_analysis, tmp_path):
    stage.export(small_analysis, ExportConfig("csv", str(tmp_path / "out")))
    index = mj.load_analysis(small_analysis).records.index()
    rows = rows_of(tmp_path / "out" / "features.csv")
    for key in ("density", "largest"):
        assert [float(f"{float(row[key]):.3g}") for row in rows] == index[key]
    assert [row["best_proxy_pearson"] and round(float(row["best_proxy_pearson"]), 2) for row in rows] == [
        "" if x is None else x for x in index["proxy_correlation"]
    ]


def test_no_text_is_a_formula_and_every_text_comes_back(tmp_path):
    feature_table.write_csv(tmp_path, Made([made(i, text) for i, text in enumerate(HOSTILE)]))
    rows = rows_of(tmp_path / "features.csv")
    assert len(rows) == len(HOSTILE)
    for row, text in zip(rows, HOSTILE, strict=True):
        plain = text.replace("\0", "\u2400")
        for column in ("label", "nearest_label", "explanation"):
            assert not row[column].startswith(("=", "+", "-", "@", "\t", "\r"))
            assert text_of(row[column]) == plain
        assert json.loads(row["top_tokens"]) == [plain]
        assert row["label_correlation"] == "-0.5" and row["score_j_simulation"] == "-0.25"  # numbers stay numbers


def test_rows_are_written_one_after_another(tmp_path):
    """Memory does not grow with the number of features: a record is let go before many more are read."""
    read = 0

    class Lazy(Made):
        def records(self, name):
            nonlocal read
            for i in range(3000):
                read += 1
                size = (tmp_path / "features.csv").stat().st_size if (tmp_path / "features.csv").exists() else 0
                if read > 3000 + 1500:
                    assert size > 0
                yield made(i, "x" * 50)

    assert feature_table.write_csv(tmp_path, Lazy([])) == "features (3000 rows)"
    assert read == 6000


def test_parquet_has_the_values_of_csv(small_analysis, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(feature_table, "ROWS", 5)
    stage.export(small_analysis, ExportConfig("parquet", str(tmp_path / "out")))
    run = mj.load_analysis(small_analysis)
    for name in SETS:
        file = parquet.ParquetFile(tmp_path / "out" / f"{name}.parquet")
        rows, records = file.read().to_pylist(), list(run.records.all(name))
        assert file.num_row_groups == -(-len(records) // 5)
        for row, r in zip(rows, records, strict=True):
            expected = feature_table.row(r)
            assert row == {column: expected.get(column) for column in row}
            assert row["feature"] == r.feature and row["top_tokens"] == [t.token for t in r.top_tokens]


def test_parquet_takes_any_text(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    feature_table.write_parquet(tmp_path, Made([made(i, text) for i, text in enumerate((*HOSTILE, "\ud800"))]))
    labels = [row["label"] for row in parquet.read_table(tmp_path / "features.parquet").to_pylist()]
    assert labels == [*(t.replace("\0", "\u2400") for t in HOSTILE), "\ufffd"]


def test_a_missing_pyarrow_is_said_before_any_work(small_analysis, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInput, match=r"needs pyarrow: pip install 'monosem_jax\[parquet\]'"):
        stage.export(small_analysis, ExportConfig("parquet", str(tmp_path / "out")))
    assert not list(tmp_path.iterdir())
