"""Other libraries' steps: the losses fall, the rows are counted, and missing libraries are named."""

import sys

import numpy as np
import pytest

from experiments.bench import peers
from experiments.bench.material import make_bench_rows

WIDTH, FEATURES = 16, 64


def one(name: str) -> peers.Peer:
    version = peers.versions()[name]
    if version.startswith("missing"):
        pytest.skip(f"{name} is {version}")
    return peers.ways(rows(), FEATURES, "cpu")[name]


def rows() -> np.ndarray:
    return np.asarray(make_bench_rows(3, 128, WIDTH, np.float32))


@pytest.mark.parametrize("name", peers.PEERS)
def test_its_trainer_learns(name):
    peer = one(name)
    before = peer.loss()
    assert peer() == 3 * 128
    assert peer(times=60) == 60 * 3 * 128
    assert peer.loss() < 0.9 * before


@pytest.mark.parametrize("name", peers.PEERS)
def test_its_package_can_be_imported_whole_afterwards(name):
    one(name)
    assert peers.PEERS[name].replace("-", "_") not in sys.modules


def test_a_peer_that_is_not_installed_is_named_and_left_out(monkeypatch):
    def broken():
        raise ModuleNotFoundError("No module named 'x'")

    monkeypatch.setattr(peers, "PEERS", {"X": "a-distribution-that-nobody-has"})
    monkeypatch.setattr(peers, "_MAKERS", {"X": (broken, None, False)})
    assert peers.versions()["X"].startswith("missing: No module named")
    assert peers.ways(rows(), FEATURES, "cpu") == {}
