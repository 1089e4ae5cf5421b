"""Directories that may not be written: one clear line for a run in them, and nothing in the way of reading them."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from monosem_jax.runtime.checkpoint import checkpoint_steps
from monosem_jax.runtime.workdir import RunDir
from tests.experiments.tiny import ROOT, environment, overrides

# Root, but bound by permission bits as everybody else is: another user may not be able to read the interpreter.
POWERS = "-dac_override,-dac_read_search,-fowner"
BOUND = ["setpriv", f"--bounding-set={POWERS}", f"--inh-caps={POWERS}"]
SOMEBODY = 65534
TINY = overrides({
    "sae.n_features": 16, "train.steps": 20, "train.batch_size": 16, "train.steps_per_dispatch": 5,
    "train.checkpoint_every": 10, "train.log_every": 5, "resample.steps": "(10,)", "resample.window": 5,
    "resample.n_inputs": 16,
})  # fmt: skip


@pytest.fixture
def program(tmp_path):
    """Runs a program as somebody who is bound by permission bits; skips where that cannot be done."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    if os.getuid() == 0:
        if not shutil.which("setpriv") or subprocess.run([*BOUND, "true"], capture_output=True).returncode:
            pytest.skip("root cannot give up its powers here")
        prefix = BOUND
    else:
        prefix = []
    touched = subprocess.run([*prefix, "touch", locked / "file"], capture_output=True)
    assert touched.returncode, "permission bits do not bind"
    locked.rmdir()

    def program(name: str, *flags: str) -> subprocess.CompletedProcess:
        command = [*prefix, sys.executable, "-m", f"experiments.{name}", *flags]
        return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)

    return program


def rows(path: pathlib.Path) -> pathlib.Path:
    np.save(path / "rows.npy", np.random.default_rng(0).normal(0.2, 1, (2048, 8)).astype(np.float32))
    return path / "rows.npy"


def everything(path: pathlib.Path) -> dict[str, tuple]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size, p.stat().st_mode) for p in [path, *path.rglob("*")]}


def empty(path):
    path.mkdir(mode=0o555)


def of_somebody_else(path):
    path.mkdir(mode=0o755)
    os.chown(path, SOMEBODY, SOMEBODY)


def begun(path):
    RunDir(path, "train_sae", {}, {}).close()
    path.chmod(0o555)
    (path / ".lock").chmod(0o444)


def inside(path):
    """A directory that is to be made in one that may not be written."""
    path.parent.chmod(0o555)


@pytest.mark.parametrize("make", [empty, of_somebody_else, begun, inside])
def test_a_workdir_that_may_not_be_written_is_refused_in_one_line(tmp_path, program, make):
    if make is of_somebody_else and os.getuid():
        pytest.skip("only root may give a directory to somebody else")
    array, parent = rows(tmp_path), tmp_path / "parent"
    parent.mkdir()
    make(parent / "run")
    before = everything(tmp_path)
    refused = program("train_sae", f"--workdir={parent}/run", f"--config.source={array}", *TINY)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert line == f"error: workdir {parent}/run cannot be written: Permission denied"
    assert everything(tmp_path) == before


def test_a_store_that_may_not_be_written_can_be_trained_from(tmp_path, program):
    array = rows(tmp_path)
    store = overrides({"bucket_rows": 1024, "shard_rows": 1024, "dtype": "float32"}, "harvest.")
    assert program("harvest", f"--workdir={tmp_path}/store", f"--from={array}", *store).returncode == 0
    for p in [tmp_path / "store", *(tmp_path / "store").rglob("*")]:
        p.chmod(0o555 if p.is_dir() else 0o444)
    before = everything(tmp_path / "store")
    done = program("train_sae", f"--workdir={tmp_path}/run", f"--config.source={tmp_path}/store", *TINY)
    assert done.returncode == 0, done.stderr
    assert checkpoint_steps(tmp_path / "run" / "checkpoints") == [0, 10, 20]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["rows_trained"] == 320
    assert everything(tmp_path / "store") == before
