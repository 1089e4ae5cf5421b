"""A sweep is analyzed dictionary by dictionary, and the figures stand in its table."""

from __future__ import annotations

import csv
import dataclasses

import pytest

from monosem_jax.analysis.kinds.table import KINDS
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json
from monosem_jax.runtime.workdir import RunDir
from monosem_jax.stages.analyze import AnalyzeRunConfig, analyze
from tests import planted

CONFIG = AnalyzeRunConfig(
    random_directions=0,
    training_contexts=60,
    heldout_contexts=60,
    n_features=2,
    without=tuple(k for k in KINDS if k not in ("health", "probes")),
)


@pytest.fixture
def sweep(tmp_path):
    """Two members that are the planted dictionary, and one that diverged."""
    members = []
    for name, diverged in (("f12_a", None), ("f12_b", None), ("f12_c", 30)):
        folder = tmp_path / "sweep" / "members" / name
        if diverged is None:
            planted.write_runs(tmp_path / name, contexts=60)
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.symlink_to(tmp_path / name / "sae")
        members.append(
            {"name": name, "n_features": 12, "l1_coefficient": 0.1, "seed": 0, "l0": 3.0, "loss_recovered_zero": 0.9,
             "diverged_at_step": diverged}
        )  # fmt: skip
    with RunDir(tmp_path / "sweep", "sweep", {}, {}) as rundir:
        rundir.finish({"members": members})
    return tmp_path / "sweep"


def test_every_member_has_an_analysis_and_a_line_with_its_figures(sweep, tmp_path):
    found = analyze(tmp_path / "out", dataclasses.replace(CONFIG, run=str(sweep)))
    rows = {row["name"]: row for row in found["members"]}
    assert rows["f12_a"]["fms_1"] == rows["f12_b"]["fms_1"] > 0 and rows["f12_a"]["twins"] == 0
    assert "fms_1" not in rows["f12_c"] and not (tmp_path / "out" / "f12_c").exists()
    summary = read_json(tmp_path / "out" / "f12_a" / "summary.json")
    assert summary["fms_1"] == rows["f12_a"]["fms_1"]
    with open(tmp_path / "out" / "sweep.csv", newline="") as f:
        written = {row["name"]: row for row in csv.DictReader(f)}
    assert float(written["f12_b"]["fms_1"]) == summary["fms_1"] and written["f12_c"]["fms_1"] == ""
    assert (tmp_path / "out" / "pareto_fms.svg").exists()


def test_an_unfinished_sweep_is_refused(tmp_path):
    with RunDir(tmp_path / "sweep", "sweep", {}, {}):
        pass
    with pytest.raises(BadInput, match="unfinished sweep"):
        analyze(tmp_path / "out", dataclasses.replace(CONFIG, run=str(tmp_path / "sweep")))
