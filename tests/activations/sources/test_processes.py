"""Several processes get the same batches as a single one, and each reads only what its own devices need."""

import dataclasses
import os
import pathlib
import pickle
import socket
import subprocess
import sys

import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.activations.stream.order import BLOCK_ROWS
from monosem_jax.activations.stream.stream import StreamConfig
from monosem_jax.sae.architectures.matryoshka import MatryoshkaConfig
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.config import SaeConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages import train_sae
from tests.activations.sources.tiny import BATCH, TRAIN, F, M, config, figures, metrics, online_config, state
from tests.activations.sources.worker import take
from tests.conftest import mesh_of
from tests.experiments.tiny import ROOT

GROUPS = {2: (2, "data=2,model=2"), 4: (1, "data=4")}  # processes: (devices of each, mesh)


SCALED = {"n_features": F, "input_scale": "unit_rms"}
TRAINED = {
    "relu by two": ReluConfig(**SCALED),
    "matryoshka by two": MatryoshkaConfig(**SCALED, k=4, k_aux=4, dead_rows=64, groups=(0.25, 0.75)),
}
ROWS = 72_009  # 71 blocks, and no whole number of batches


def jobs(root: pathlib.Path) -> dict:
    """name -> (configuration, requests): an epoch, and batches around the ends of epochs or fillings."""
    store = [(0, ROWS // BATCH), (ROWS // BATCH - 1, 3), (3 * ROWS // BATCH - 1, 3)]
    return {
        "disk": (config(root / "big.npy", stream=StreamConfig("disk", window_blocks=32)), store),
        "resident": (config(root / "big.npy", stream=StreamConfig("resident", window_blocks=32)), store),
        "online": (online_config(root), [(0, 2), (5, 13), (1, 1)]),
    }


@pytest.fixture(scope="module", autouse=True)
def big(root) -> None:
    """An array whose row i is [i, -i]; a tenth of it is not trained on."""
    i = np.arange(ROWS + ROWS // 9, dtype=np.float32)
    np.save(root / "big.npy", np.stack([i, -i], axis=1))


def start(n: int, devices: int, folder: pathlib.Path) -> list[subprocess.Popen]:
    """n processes of the worker that know each other."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        address = f"127.0.0.1:{s.getsockname()[1]}"
    common = {
        **os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices), 
        "MONOSEM_COORDINATOR": address, "MONOSEM_NUM_PROCESSES": str(n),
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.activations.sources.worker", str(folder)]
    return [
        subprocess.Popen(
            command, cwd=ROOT, env={**common, "MONOSEM_PROCESS_ID": str(i)}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        ) for i in range(n)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def one(root) -> dict:
    """What one process with one device takes."""
    return {name: take(*job, mesh_of(1, 1)) for name, job in jobs(root).items()}


@pytest.fixture(scope="module")
def several(root, tmp_path_factory) -> dict[int, list[dict]]:
    """number of processes -> what each of them takes; two processes train a dictionary after that."""
    found = {}
    for n, (devices, mesh) in GROUPS.items():
        folder = tmp_path_factory.mktemp(f"processes{n}")
        train = [(root / name, two_config(root, mesh, sae)) for name, sae in TRAINED.items()] if n == 2 else []
        (folder / "jobs.pkl").write_bytes(pickle.dumps({"take": jobs(root), "mesh": mesh, "train": train}))
        processes = start(n, devices, folder)
        try:
            outputs = [p.communicate(timeout=120)[0] for p in processes]
        finally:
            for p in processes:
                p.kill()
        assert not any(p.returncode for p in processes), "\n".join(outputs)
        found[n] = [pickle.loads((folder / f"{i}.pkl").read_bytes()) for i in range(n)]
    return found


def two_config(root: pathlib.Path, mesh: str, sae: SaeConfig):
    short = dataclasses.replace(TRAIN, steps=4, mesh=mesh)
    return online_config(root, train=short, resample=ResampleConfig(steps=()), sae=sae)


def assembled(parts: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """[n,B,M] from the parts of all devices; those of the same slots are equal."""
    slots: dict[int, np.ndarray] = {}
    for first, rows in parts:
        np.testing.assert_array_equal(slots.setdefault(first, rows), rows)
    return np.concatenate([slots[first] for first in sorted(slots)], axis=1)


@pytest.mark.parametrize("n", GROUPS)
@pytest.mark.parametrize("name", ["disk", "resident", "online"])
def test_several_processes_take_the_batches_of_one(one, several, name, n):
    assert one[name]["kind"] == name
    for i, whole in enumerate(one[name]["parts"]):
        found = assembled([part for process in several[n] for part in process[name]["parts"][i]])
        if name == "online":
            np.testing.assert_allclose(found, whole[0][1], rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(found, whole[0][1])


@pytest.mark.parametrize("n", GROUPS)
@pytest.mark.parametrize("name", ["disk", "resident", "online"])
def test_every_process_knows_the_sample(one, several, name, n):
    for process in several[n]:
        np.testing.assert_allclose(process[name]["sample"], one[name]["sample"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", GROUPS)
def test_each_process_reads_its_share_of_a_store_on_disk(several, n):
    """A block in which two lanes meet is read in parts, by each its own."""
    blocks = -(-ROWS // BLOCK_ROWS)
    for process in several[n]:
        reads = process["disk"]["reads"]
        assert sum(z - a for a, z in reads) == pytest.approx(ROWS / n, abs=BATCH)
        assert len({row // BLOCK_ROWS for a, z in reads for row in (a, z - 1)}) <= blocks / n + 2


@pytest.mark.parametrize("name", TRAINED)
def test_two_processes_train_the_dictionary_that_one_does(root, several, tmp_path, name):
    """BatchTopK selects over the rows and features of both, Matryoshka's groups end within one's features."""
    train_sae.train_sae(tmp_path, two_config(root, "", TRAINED[name]))
    for x, y in zip(state(tmp_path), state(root / name), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    for one, two in zip(metrics(tmp_path), metrics(root / name), strict=True):
        assert two == pytest.approx(one, rel=1e-3)
    assert len(load_run(root / name).encode(np.zeros(M))) == F
    assert figures(root / name)["ce_reconstructed"] == pytest.approx(figures(tmp_path)["ce_reconstructed"], rel=1e-3)
