"""Several sweeps in one table and one figure."""

import csv

import pytest

from monosem_jax.report import comparison
from monosem_jax.report.comparison import table, write_comparison
from monosem_jax.runtime.errors import BadInput
from monosem_jax.stages import sweep


def members(better: float) -> list[dict]:
    rows = []
    for k in (8, 16):
        row = {"name": f"f64_k{k}_s0", "n_features": 64, "k": k, "seed": 0, "l0": float(k), "mse": 0.01 / k, "dead": 0}
        rows.append({**row, "variance_explained": 0.9 + better, "loss_recovered_zero": 0.9 + better + k / 1000})
    return rows


def test_all_members_are_in_one_file_and_one_figure(tmp_path):
    sweeps = {"topk": members(0.05), "relu": members(0.0)}
    files = write_comparison(tmp_path, sweeps)
    assert [f.name for f in files] == [
        "comparison.csv", "compare_loss.png", "compare_loss.svg", "compare_variance.png", "compare_variance.svg"
    ]  # fmt: skip
    assert all(f.stat().st_size > 200 for f in files)
    rows = list(csv.DictReader(files[0].open(newline="")))
    assert [(r["sweep"], r["name"], round(float(r["loss_recovered_zero"]), 6)) for r in rows] == [
        ("topk", "f64_k8_s0", 0.958), ("relu", "f64_k8_s0", 0.908), ("topk", "f64_k16_s0", 0.966),
        ("relu", "f64_k16_s0", 0.916),
    ]  # fmt: skip
    svg = files[2].read_text()
    assert "topk" in svg and "relu" in svg
    first = [f.read_bytes() for f in files]
    write_comparison(tmp_path, sweeps)
    assert [f.read_bytes() for f in files] == first
    assert table(sweeps).splitlines()[0] == "topk" and "95.80 %" in table(sweeps) and "k" in table(sweeps).split()


def test_sweeps_without_a_transformer_are_compared_by_their_variance(tmp_path):
    rows = [{k: v for k, v in row.items() if not k.startswith("loss")} for row in members(0.0)]
    assert [f.name for f in write_comparison(tmp_path, {"a": rows})] == [
        "comparison.csv", "compare_variance.png", "compare_variance.svg"
    ]  # fmt: skip


def test_the_front_is_of_what_explains_most_with_the_fewest_features(tmp_path, monkeypatch):
    fronts = {}

    def write(directory, name, draw):
        _, fronts[name], *_ = draw.args
        return []

    monkeypatch.setattr(comparison, "write_figure", write)
    write_comparison(tmp_path, {"relu": members(0.0), "topk": members(0.05)})
    assert fronts["compare_loss"] == [(8.0, pytest.approx(0.958)), (16.0, pytest.approx(0.966))]
    assert fronts["compare_variance"] == [(8.0, pytest.approx(0.95))]


def test_a_folder_without_sweeps_is_refused(tmp_path):
    with pytest.raises(BadInput, match="holds no finished sweep"):
        sweep.compare(tmp_path, sweep.SweepRunConfig())
