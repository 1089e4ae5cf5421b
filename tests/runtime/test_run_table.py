"""Opened runs in a notebook: a table whose texts are escaped, and a tree for Treescope."""

import json
import sys

import pytest

import monosem_jax as mj
from monosem_jax.runtime.markup import Html, element, joined, style
from monosem_jax.runtime.run_table import figures, run_table

EVIL = "<script>alert(1)</script>\" onload='x' \u202e \x00 </style>"


def test_texts_are_escaped_and_markup_is_not():
    inner = element("b", "a<b")
    assert inner == "<b>a&lt;b</b>" and isinstance(inner, Html)
    assert (
        element("p", inner, EVIL[:8], None, title='"x"') == '<p title="&quot;x&quot;"><b>a&lt;b</b>&lt;script&gt;</p>'
    )
    assert element("rect", x=1, aria_label="a", class_="b") == '<rect x="1" aria-label="a" class="b"/>'
    assert element("p", class_=None) == "<p></p>"
    assert joined("<", style("p {}")) == "&lt;<style>p {}</style>"


@pytest.fixture
def run(tmp_path):
    """A run directory whose every text is hostile."""
    folder = tmp_path / "<img src=x>"
    folder.mkdir()
    record = {
        "format": 3, "experiment": "else<i>", "config": {"a": EVIL}, "identity": "x",
        "parents": {EVIL: {"path": EVIL, "relative": EVIL, "file": "summary.json", "sha256": ""}},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(record))
    (folder / "summary.json").write_text(json.dumps({"l0": 19.60716, EVIL: 3, "text": EVIL, "n_features": 2048}))
    return mj.load_run(folder)


def test_a_run_is_a_table_of_its_figures(run):
    shown = run._repr_html_()
    assert shown == run_table(run)
    assert "<td>19.61</td>" in shown and "<td>2,048</td>" in shown and "else&lt;i&gt;" in shown
    assert "<script" not in shown and "<img" not in shown and "onload='" not in shown
    assert "\u202e" not in shown and "\0" not in shown
    (run.path / "summary.json").unlink()
    assert "unfinished" in run._repr_html_()
    (run.path / "summary.json").write_text("{")
    assert "unfinished" in run._repr_html_()  # damaged, but a cell is shown


def test_the_figures_asked_first_come_first():
    summary = {"wall_seconds": 3.0, "other": 1, "dead": 0, "l0": 2.0, "flag": True, "text": "x", "none": None}
    assert figures(summary) == [("l0", 2.0), ("dead", 0), ("other", 1)]
    assert len(figures({str(i): i for i in range(50)})) == 8


def test_runs_are_shown_without_treescope(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "treescope", None)
    assert "l0" in run._repr_html_() and "LoadedRun" not in repr(run)


def test_runs_unfold_in_treescope(run):
    treescope = pytest.importorskip("treescope")
    text = treescope.render_to_text(run)
    assert "n_features" in text and "2048" in text and "LoadedRun(" in text
    assert "<script>alert" not in treescope.render_to_html(run)
