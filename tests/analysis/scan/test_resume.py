"""A scan that is killed between any two batches, or while it saves its state, gives the same bits in the end."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from monosem_jax.analysis.scan import checkpoints
from monosem_jax.runtime.errors import BadInput
from tests.analysis.scan.material import assert_same, features, found, others, scanned

N_BATCHES = 7


class Crash(Exception):
    pass


def crash_after(n: int):
    """An `advance` that ends the scan after so many batches of both passes."""
    left = [n]

    def advance(contexts: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise Crash

    return advance


SETTINGS = {"exact": {}, "sketch and sample": {"pairs": 0, "token_pairs": 0}}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("at", range(1, 2 * N_BATCHES + 1))
def test_a_scan_that_ends_after_any_batch_continues_with_the_same_bits(tmp_path, at, settings):
    changes = {**SETTINGS[settings], "checkpoint_every": 1}
    with pytest.raises(Crash):
        scanned(more={"folder": tmp_path, "advance": crash_after(at)}, **changes)
    done: list[int] = []
    resumed = scanned(more={"folder": tmp_path, "advance": done.append}, **changes)
    assert_same(resumed, found() if settings == "exact" else whole(settings))
    assert sum(done) == 2 * 50 and done[0] == min(8 * min(at, N_BATCHES), 50)


_whole: dict[str, object] = {}


def whole(settings: str):
    if settings not in _whole:
        _whole[settings] = scanned(**SETTINGS[settings])
    return _whole[settings]


def test_a_finished_scan_is_not_computed_again(tmp_path, monkeypatch):
    scanned(more={"folder": tmp_path})

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr("monosem_jax.analysis.scan.encoding.Encoding.start", refuse)
    assert_same(scanned(more={"folder": tmp_path}), found())


def test_states_are_saved_as_often_as_asked_and_two_are_kept(tmp_path, monkeypatch):
    saved = []
    save = checkpoints.Checkpoints.save

    def noted(self, number, done, accumulators):
        saved.append((number, done))
        save(self, number, done, accumulators)

    monkeypatch.setattr(checkpoints.Checkpoints, "save", noted)
    scanned(more={"folder": tmp_path}, checkpoint_every=3)
    assert saved == [(p, n) for p in (1, 2) for n in (3, 6, 7)]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"pass{p}-{n:08d}-p0.npz" for p in (1, 2) for n in (6, 7)
    ]  # fmt: skip


KILL = """
import os, signal, sys
from monosem_jax.runtime import files
from tests.analysis.scan.material import scanned
files_replace, left = os.replace, [int(sys.argv[2])]
def replace(a, b):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    files_replace(a, b)
os.replace = replace
scanned(more={"folder": sys.argv[1]}, checkpoint_every=1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", [4, 9])
def test_a_process_that_is_killed_while_it_saves_leaves_the_state_before(tmp_path, at):
    env = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[3]), "JAX_PLATFORMS": "cpu"}
    env["JAX_NUM_CPU_DEVICES"] = "8"
    done = subprocess.run([sys.executable, "-c", KILL, str(tmp_path), str(at)], env=env, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any(p.name.endswith(".tmp") for p in tmp_path.iterdir())
    assert_same(scanned(more={"folder": tmp_path}, checkpoint_every=1), found())


@pytest.mark.parametrize("other", [{"per_interval": 4}, {"seed": 3}, {"more": {"against": ()}}, {"batch_contexts": 9}])
def test_the_state_of_another_scan_is_refused(tmp_path, other):
    scanned(more={"folder": tmp_path})
    more = {"folder": tmp_path, **other.pop("more", {})}
    with pytest.raises(BadInput, match=r"pass1-00000007-p0\.npz is the state of another scan"):
        scanned(more=more, **other)


def test_the_state_of_other_parameters_is_refused(tmp_path):
    scanned(more={"folder": tmp_path})
    with pytest.raises(BadInput, match="is the state of another scan"):
        scanned(features(8), more={"folder": tmp_path, "against": others()})


def test_a_damaged_state_is_named(tmp_path):
    scanned(more={"folder": tmp_path})
    path = tmp_path / "pass2-00000007-p0.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadInput, match=r"pass2-00000007-p0\.npz is not a readable \.npz archive"):
        scanned(more={"folder": tmp_path})
