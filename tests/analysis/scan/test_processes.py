"""Two processes with four devices each find what one finds, and so after a crash."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.analysis.scan.material import N_FEATURES, found
from tests.analysis.scan.test_invariance import CONSTANT
from tests.analysis.scan.worker import MESHES, flat, pairs
from tests.experiments.tiny import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two processes have written what they found."""
    path = tmp_path_factory.mktemp("scans")
    with socket.create_server(("127.0.0.1", 0)) as s:
        address = f"127.0.0.1:{s.getsockname()[1]}"
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "MONOSEM_COORDINATOR": address}
    env["MONOSEM_NUM_PROCESSES"] = "2"
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.analysis.scan.worker", str(path)],
            cwd=ROOT,
            env={**env, "MONOSEM_PROCESS_ID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    try:
        outputs = [p.communicate(timeout=300)[0] for p in processes]
    finally:
        for p in processes:
            p.kill()
    assert not any(p.returncode for p in processes), "\n".join(outputs)
    return path


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("process", [0, 1])
def test_two_processes_find_what_one_finds(folder, mesh, process):
    with np.load(folder / f"{mesh}-{process}.npz") as got:
        expected = flat(found())
        assert set(got.files) == set(expected)
        for name, y in expected.items():
            x = got[name]
            if N_FEATURES in y.shape:  # the last bit of an activation depends on the batch, and so do ties
                x, y = (np.delete(v, CONSTANT, axis=y.shape.index(N_FEATURES)) for v in (x, y))
            if y.dtype.kind == "f":
                np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6, err_msg=name)
            else:
                np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.parametrize("process", [0, 1])
def test_two_processes_sum_the_pairs_of_features_that_one_sums(folder, process):
    with np.load(folder / f"pairs-{process}.npz") as got:
        for name, expected in pairs().items():
            np.testing.assert_allclose(got[name], expected, rtol=2e-5, atol=2e-6, err_msg=name)


def test_both_processes_have_the_same_bits(folder):
    for mesh in MESHES:
        with np.load(folder / f"{mesh}-0.npz") as a, np.load(folder / f"{mesh}-1.npz") as b:
            for name in a.files:
                np.testing.assert_array_equal(a[name], b[name])
