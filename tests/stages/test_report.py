"""The browser of an analysis of planted features, from directories to files, and what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil

import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.analysis.kinds.table import KINDS
from monosem_jax.report.browser.container import unpacked
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_json
from monosem_jax.stages.analyze import AnalyzeRunConfig, analyze
from monosem_jax.stages.report import ReportRunConfig, report
from tests import planted

CHEAP = ("health", "categories", "logits", "tokens")
CONFIG = AnalyzeRunConfig(
    training_contexts=50, batch_contexts=50, without=tuple(name for name in KINDS if name not in CHEAP)
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A planted dictionary, its analysis, and the analysis of the same dictionary in another directory."""
    root = tmp_path_factory.mktemp("planted")
    planted.write_runs(root)
    analyze(root / "analysis", dataclasses.replace(CONFIG, run=str(root / "sae")))
    return root


@pytest.fixture
def copy(root, tmp_path):
    """A copy of the analysis that a test may change."""
    shutil.copytree(root / "analysis", tmp_path / "analysis")
    record = json.loads((tmp_path / "analysis" / "config.json").read_text())
    for parent in record["parents"].values():
        parent.pop("relative", None)
    write_json(tmp_path / "analysis" / "config.json", record)
    return tmp_path / "analysis"


def browser(root, tmp_path, **settings):
    config = ReportRunConfig(**{"analysis": str(root / "analysis"), **settings})
    return report(tmp_path / "report", config)


def test_the_browser_holds_every_record_as_it_is(root, tmp_path, capsys):
    summary = browser(root, tmp_path, title="Planted")
    site = unpacked(tmp_path / "report" / "data" / "site.js")
    (shown,) = site["dictionaries"]
    assert site["title"] == "Planted" and shown["id"] == "sae" and shown["site"] == planted.SITE
    for name in mj.load_analysis(root / "analysis").records.sets:
        for file in (root / "analysis" / "records" / name).glob("0*.json.gz"):
            found = unpacked(tmp_path / "report" / "data" / "sae" / name / file.name.replace(".json.gz", ".js"))
            assert found == json.loads(gzip.decompress(file.read_bytes()))
    assert summary["records"] == sum(s["records"] for s in shown["sets"].values())
    assert summary["bytes"] == pytest.approx(
        sum(f.stat().st_size for f in (tmp_path / "report").rglob("*") if f.is_file()), rel=0.05
    )
    assert f"{tmp_path / 'report' / 'index.html'} opens in a browser" in capsys.readouterr().out
    assert mj.load_report(tmp_path / "report").page.exists()


def test_the_decoder_vectors_are_those_of_the_dictionary(root, tmp_path):
    import base64

    browser(root, tmp_path)
    text = (tmp_path / "report" / "data" / "sae" / "vectors" / "00000.js").read_text()
    data = gzip.decompress(base64.b64decode(text.split('"')[3]))
    expected = mj.load_sae(root / "sae").params["W_dec"]
    np.testing.assert_array_equal(np.frombuffer(data, "<f4").reshape(expected.shape), expected.astype(np.float32))


def test_again_it_is_finished_and_again_elsewhere_it_is_the_same(root, tmp_path, capsys):
    browser(root, tmp_path)
    browser(root, tmp_path)
    assert "is finished: nothing to do" in capsys.readouterr().out
    browser(root, tmp_path / "again")
    one, two = (
        {p.relative_to(r): p.read_bytes() for p in r.rglob("*") if p.is_file() and p.suffix in (".js", ".html", ".css")}
        for r in (tmp_path / "report", tmp_path / "again" / "report")
    )
    assert one == two


def test_analyses_of_a_sweep_are_shown_together(root, tmp_path):
    for name in ("small", "large"):
        shutil.copytree(root / "analysis", tmp_path / "sweep" / name)
    report(tmp_path / "report", ReportRunConfig(analysis=str(tmp_path / "sweep")))
    site = unpacked(tmp_path / "report" / "data" / "site.js")
    assert [d["id"] for d in site["dictionaries"]] == ["sae", "sae-2"]


def refused(tmp_path, message, **settings):
    with pytest.raises(BadInput, match=message):
        report(tmp_path / "report", ReportRunConfig(**settings))
    assert not (tmp_path / "report" / "index.html").exists()


def test_what_is_no_finished_analysis_is_refused_before_anything_is_made(root, tmp_path):
    refused(tmp_path, "config.analysis is empty")
    refused(tmp_path, "sae is not a finished analyze run", analysis=str(root / "sae"))
    twice = f"{root / 'analysis'},{root / 'analysis'}"
    refused(tmp_path, "has .*analysis twice: expected each analysis once", analysis=twice)
    refused(tmp_path, "is not a finished compare run", analysis=str(root / "analysis"), compare=str(root / "analysis"))
    assert not (tmp_path / "report").exists()


def test_records_of_a_newer_format_are_refused(copy, tmp_path):
    header = json.loads((copy / "records" / "records.json").read_text())
    write_json(copy / "records" / "records.json", {**header, "format": 99})
    refused(tmp_path, r"records\.json.*99", analysis=str(copy))


def test_damaged_records_are_named(copy, tmp_path):
    (copy / "records" / "features" / "00000.json.gz").write_bytes(b"\x1f\x8bno")
    refused(tmp_path, r"features/00000\.json\.gz is damaged", analysis=str(copy))


def test_a_chunk_that_is_missing_is_named(copy, tmp_path):
    (copy / "records" / "neurons" / "00000.json.gz").unlink()
    refused(tmp_path, r"neurons holds 0 records, its header says 20: expected the same number", analysis=str(copy))
