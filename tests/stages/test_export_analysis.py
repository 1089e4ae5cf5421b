"""Exports of an analysis: figures, what is refused, and the table of formats."""

import json
import shutil
import xml.etree.ElementTree

import pytest

import monosem_jax as mj
from monosem_jax.interop import WRITERS as OF_DICTIONARIES
from monosem_jax.interop.analyzed import Analyzed
from monosem_jax.report import publication
from monosem_jax.runtime.errors import BadInput
from monosem_jax.stages import export as stage
from monosem_jax.stages import export_analysis
from monosem_jax.stages.export import ExportConfig
from monosem_jax.stages.export_figures import write_figures
from tests import planted

FIGURES = {"density_spectrum", "proxies", "activations_hebrew", "activations_acgt", "concepts", "judges"}


def message(workdir, output, form, **changes) -> str:
    with pytest.raises(BadInput) as e:
        stage.export(workdir, ExportConfig(form, str(output), **changes))
    assert "\n" not in str(e.value)
    return str(e.value)


@pytest.fixture(scope="module")
def figures(small_analysis, tmp_path_factory):
    out = tmp_path_factory.mktemp("figures") / "out"
    stage.export(small_analysis, ExportConfig("figures", str(out)))
    return out


def test_every_figure_is_there_as_svg_and_pdf(figures):
    assert {p.name for p in figures.iterdir()} == {f"{name}.{kind}" for name in FIGURES for kind in ("svg", "pdf")}
    for name in FIGURES:
        assert (figures / f"{name}.pdf").read_bytes().startswith(b"%PDF-")
        tree = xml.etree.ElementTree.fromstring((figures / f"{name}.svg").read_bytes())
        assert tree.tag.endswith("svg")


def words(path) -> list[str]:
    tree = xml.etree.ElementTree.fromstring(path.read_bytes())
    return ["".join(e.itertext()).strip() for e in tree.iter() if e.tag.endswith("}text")]


def test_figures_say_what_they_show(small_analysis, figures):
    said = words(figures / "density_spectrum.svg")
    assert f"features (1 of {planted.F} dead)" in said and "neurons (0 of 20 dead)" in said
    assert {"hebrew", "acgt", "features", "neurons", "random"} <= set(words(figures / "proxies.svg"))
    feature = mj.load_analysis(small_analysis).summary["proxies"]["acgt"]["feature"]
    assert {f"feature {feature}", "on tokens of acgt", "on other tokens"} <= set(
        words(figures / "activations_acgt.svg")
    )
    assert "another feature's explanation" in words(figures / "judges.svg")


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        written = publication.write(tmp_path / name, "x", lambda: publication.grouped_bars(["g"], {"s": [1.0]}, "y"))
        assert written == ["x.svg", "x.pdf"]
    for name in written:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_bars_have_the_heights_of_the_numbers():
    figure = publication.grouped_bars(["a", "b"], {"x": [0.5, None], "y": [0.25, -1]}, "r", {"x": [0.1, None]}, "base")
    bars = [(round(b.get_x() + b.get_width() / 2, 6), b.get_height()) for b in figure.axes[0].patches]
    assert bars == [(-0.2, 0.5), (0.2, 0.25), (1.2, -1)]
    (line,) = figure.axes[0].collections
    assert [p[0][1] for p in line.get_segments()] == [0.1]


def test_an_activation_histogram_splits_firings_by_the_proxy():
    score = {"firings": [10, 4], "specificity": [0.25, None]}
    figure = publication.activation_histogram(3, "dna", 2.0, score)
    on, off, unknown = figure.axes[0].containers
    assert [b.get_height() for b in on] == [2.5, 0] and [b.get_height() for b in off] == [7.5, 0]
    assert [b.get_height() for b in unknown] == [0, 4]


def test_an_analysis_without_tables_has_the_densities_alone(small_analysis, tmp_path):
    shutil.copytree(small_analysis, tmp_path / "bare")
    for name in ("proxies", "probes", "judges"):
        (tmp_path / "bare" / f"{name}.json").unlink()
    (tmp_path / "out").mkdir()
    said = write_figures(tmp_path / "out", Analyzed(mj.load_analysis(tmp_path / "bare")))
    assert said == "1 figures as SVG and PDF (density_spectrum)"


@pytest.mark.parametrize("form", export_analysis.WRITERS)
def test_what_is_no_analysis_is_refused_and_nothing_is_left(small_analysis, tmp_path, form):
    root, out = small_analysis.parent, tmp_path / "out"
    if form == "parquet":
        pytest.importorskip("pyarrow")
    expected = "expected a finished analyze run"
    assert message(root / "sae", out, form).endswith(f"is a run of import: {expected}")
    shutil.copytree(small_analysis, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "summary.json").unlink()
    assert message(tmp_path / "unfinished", out, form).endswith(f"is an unfinished run of analyze: {expected}")
    assert "--step is given with" in message(small_analysis, out, form, step=3)
    assert message(small_analysis, "", form) == "--output is missing: give the folder to make"
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("precious")
    assert "exists and is not an empty folder" in message(small_analysis, tmp_path / "taken", form)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["taken", "unfinished"]


def test_the_formats_of_a_dictionary_do_not_take_an_analysis(small_analysis, tmp_path):
    for form in OF_DICTIONARIES:
        assert "is a run of analyze" in message(small_analysis, tmp_path / "out", form)
    assert not OF_DICTIONARIES.keys() & export_analysis.WRITERS.keys()


def test_records_that_are_missing_or_of_a_newer_format_are_said(small_analysis, tmp_path):
    shutil.copytree(small_analysis, tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "records")
    assert "holds no records: of a sweep's analysis, give the folder of one member" in message(
        tmp_path / "a", tmp_path / "out", "csv"
    )
    shutil.copytree(small_analysis, tmp_path / "b")
    header = json.loads((tmp_path / "b" / "records" / "records.json").read_text())
    (tmp_path / "b" / "records" / "records.json").write_text(json.dumps({**header, "format": 99}))
    assert "upgrade monosem_jax" in message(tmp_path / "b", tmp_path / "out", "neuronpedia")
    assert not (tmp_path / "out").exists()


def test_records_of_format_1_are_exported(small_analysis, tmp_path):
    """Early directories have features.json in place of the folder."""
    shutil.copytree(small_analysis, tmp_path / "old")
    records = mj.load_analysis(small_analysis).features
    shutil.rmtree(tmp_path / "old" / "records")
    (tmp_path / "old" / "features.json").write_text(json.dumps(records))
    stage.export(tmp_path / "old", ExportConfig("csv", str(tmp_path / "out")))
    stage.export(small_analysis, ExportConfig("csv", str(tmp_path / "new")))
    assert (tmp_path / "out" / "features.csv").read_bytes() == (tmp_path / "new" / "features.csv").read_bytes()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["features.csv"]
