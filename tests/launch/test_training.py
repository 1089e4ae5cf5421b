"""Twenty steps and a resampling event, of a sweep with two sizes, on one process and on several."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from monosem_jax import load_run
from tests.activations.sources.tiny import metrics
from tests.experiments.tiny import ROOT, environment, overrides

LR = 0.1  # so that features are dead by step 12 where L1 is 30
SWEEP = {
    "sweep.sizes": "(32,64)", "sweep.l1_coefficients": "(0.01,30.)", "sweep.seeds": "(0,)", "train.steps": 20,
    "train.batch_size": 64, "train.steps_per_dispatch": 4, "train.log_every": 4, "train.checkpoint_every": 10,
    "train.learning_rate": LR, "train.evaluate_every": 4, "resample.steps": "(12,)", "resample.window": 2,
    "resample.n_inputs": 384, "sae.input_scale": "unit_rms",
}  # fmt: skip
PROCESSES = {"2x4": (2, 4, "data=2,model=4")}  # four of them: launch.drill


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("rows") / "x.npy"
    np.save(path, np.maximum(np.random.default_rng(0).normal(size=(4096, 24)), 0).astype(np.float32))
    return path


def sweep(path: pathlib.Path, source: pathlib.Path, launcher: list[str], mesh: str = "") -> None:
    flags = [f"--workdir={path}", f"--config.source={source}", *overrides({**SWEEP, "train.mesh": mesh})]
    command = [sys.executable, "-m", *launcher, "experiments.sweep", *flags]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def alone(source, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("alone") / "sweep"
    sweep(path, source, [])
    return path


@pytest.mark.drill
@pytest.mark.parametrize("name", PROCESSES)
def test_several_processes_train_the_members_that_one_does(alone, source, tmp_path, name):
    processes, devices, mesh = PROCESSES[name]
    launcher = ["launch.local", f"--processes={processes}", f"--devices_per_process={devices}", "--"]
    sweep(tmp_path / "sweep", source, launcher, mesh)
    members, others = load_run(alone).members, load_run(tmp_path / "sweep").members
    assert members.keys() == others.keys() and len(members) == 4
    for key, member in members.items():
        other = others[key]
        for p in member.params:
            np.testing.assert_allclose(other.params[p], member.params[p], atol=1e-3, err_msg=f"{key} {p}")
        for a, b in zip(metrics(member.path), metrics(other.path), strict=True):
            assert b == pytest.approx(a, rel=1e-3, abs=1e-6)
        for figure in ("l0", "mse", "dead", "steps_skipped"):
            assert other.summary[figure] == pytest.approx(member.summary[figure], rel=1e-2, abs=1e-3)


def test_features_were_dead_and_resampled_in_what_is_compared(alone):
    members = load_run(alone).members
    silent = {name: [line["silent"] for line in metrics(m.path) if "silent" in line] for name, m in members.items()}
    assert {name for name, s in silent.items() if max(s[:3]) > 8} == {"f32_l30_s0", "f64_l30_s0"}
    # An input has no negative entry, a random vector has many.
    found = members["f64_l30_s0"].params["W_dec"]
    assert np.mean(found.min(axis=1) > -0.2) > 0.5
