"""A disk that is too small, or fills up while harvesting or training: one clear line, nothing committed is lost."""

import contextlib
import json
import re
import subprocess
import time

import numpy as np
import pytest

from monosem_jax.activations.store.store import Store
from monosem_jax.activations.store.verify import verify_store
from monosem_jax.runtime.checkpoint import checkpoint_steps, load_params
from monosem_jax.runtime.errors import disk_full
from monosem_jax.runtime.kvstore import Location
from monosem_jax.runtime.metric_writers import MetricWriters, read_metrics
from tests import small_loop as toy
from tests.activations.sources.tiny import state
from tests.experiments.tiny import overrides, run, start
from tests.runtime.test_metric_writers import shown, told

ROWS, WIDTH = 100_000, 100
BUCKETS = overrides({"bucket_rows": 2048, "shard_rows": 1024, "dtype": "float32"}, "harvest.")  # 49 of 0.8 MB


@contextlib.contextmanager
def small_disk(path, megabytes):
    """A tmpfs of a few megabytes; skips where the user may not mount one."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {mounted.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    path = tmp_path_factory.mktemp("array") / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32))
    return path


def assert_holds(store: Store, array) -> None:
    rows, origin = store.read(0, store.n_rows), store.origin(0, store.n_rows)[:, 0]
    assert len(np.unique(origin)) == store.n_rows and np.array_equal(rows, np.load(array)[origin])


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(array, tmp_path):
    with small_disk(tmp_path / "disk", 30) as disk:
        command = (f"--workdir={disk}/store", f"--from={array}", *BUCKETS)
        for more in ((), ("--plan",)):
            refused = run("harvest", *command, *more)
            assert refused.returncode == 2 and "Traceback" not in refused.stderr
            (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
            told = re.fullmatch(rf"error: the store takes (\S+) GB more, but the disk of {disk}\S+ has (\S+) GB", line)
            assert float(told[1]) == pytest.approx(ROWS * (WIDTH * 4 + 8) / 1e9, rel=0.01)
            assert float(told[2]) == pytest.approx(30 * 2**20 / 1e9, rel=0.01)
        assert not [p for p in disk.rglob("*") if p.is_file() and p.name != ".lock"]


def test_a_disk_that_fills_up_keeps_what_is_committed_and_the_harvest_goes_on_when_there_is_room(array, tmp_path):
    with small_disk(tmp_path / "disk", 48) as disk:
        command = (f"--workdir={disk}/store", f"--from={array}", *BUCKETS)
        process = start("harvest", *command)
        while not (disk / "store" / "store.json").exists():
            assert process.poll() is None
            time.sleep(0.001)
        with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as f:  # another user's file
            for _ in range(30):
                f.write(bytes(1 << 20))
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1 and "Traceback" not in err, err
        (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert line == "error: the disk is full; what was committed is kept: free space, then the same command resumes"
        assert 0 <= json.loads((disk / "store" / "store.json").read_text())["rows_written"] < ROWS
        assert verify_store(Location(disk / "store"))[0] == []
        refused = run("harvest", *command)
        assert refused.returncode == 2 and "GB more, but the disk of" in refused.stderr
        (disk / "filler").unlink()
        assert run("harvest", *command).returncode == 0
        assert Store(disk / "store").n_rows == ROWS and verify_store(Location(disk / "store")) == ([], ROWS)
        assert_holds(Store(disk / "store"), array)


class Balloon:
    """A file that takes all the room of a disk but for some bytes, until it is let out."""

    def __init__(self, disk):
        self.file = disk / "balloon"

    def fill(self, left: int = 0) -> None:
        with contextlib.suppress(OSError), open(self.file, "wb", buffering=0) as f:
            while True:
                f.write(bytes(4096))
        with open(self.file, "r+b") as f:
            f.truncate(self.file.stat().st_size - left)

    def let_out(self) -> None:
        self.file.unlink()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed")
    return path, toy.train(path, steps=60, keep=9, reports=[toy.act_at(-1, lambda: None)]).states[0]


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", 2) as disk:
        yield disk


def after(disk, step: int, act):
    """`act` once the checkpoint of a step is there, which a thread writes."""

    def wait():
        while not (disk / "run" / "checkpoints" / str(step)).exists():
            time.sleep(0.001)
        act()

    return wait


def train(disk, *acts, **changes):
    """Trains on the disk; `acts` are (step, what is done there)."""

    def numbers(state):
        [act() for step, act in acts if step == int(state.step)]
        return {}

    return toy.train(disk / "run", steps=60, keep=9, reports=[toy.Report(1, numbers)], **changes)


def assert_like(path, undisturbed, found) -> None:
    """The state and the logs of a run are those of the undisturbed one."""
    toy.assert_same(found.states[0], undisturbed[1])
    assert toy.lines(path) == toy.lines(undisturbed[0])
    assert shown(path) == told(path)


@pytest.mark.parametrize("left", [0, 24 << 10])
def test_training_stops_on_a_full_disk_and_goes_on_when_there_is_room(disk, undisturbed, left):
    """With some room left, the logs are written, but no checkpoint."""
    balloon = Balloon(disk)
    with pytest.raises(Exception) as e:
        train(disk, (16, after(disk, 10, lambda: balloon.fill(left))))
    assert disk_full(e.value)
    path = disk / "run" / "checkpoints"
    assert checkpoint_steps(path) == [0, 10]
    assert load_params(path)["params"]["w"].shape == (3,)
    balloon.let_out()
    assert_like(disk / "run", undisturbed, train(disk))


@pytest.mark.parametrize("left", [0, 24 << 10])
def test_training_goes_on_without_checkpoints_where_it_is_told_to(disk, undisturbed, capsys, left):
    balloon = Balloon(disk)
    found = train(
        disk, (16, after(disk, 10, lambda: balloon.fill(left))), (46, balloon.let_out), when_disk_full="continue"
    )  # fmt: skip
    steps = checkpoint_steps(disk / "run" / "checkpoints")
    assert steps in ([0, 10, 50, 60], [0, 10, 40, 50, 60])  # the thread that writes step 40 may come after the room
    assert_like(disk / "run", undisturbed, found)
    err = capsys.readouterr().err
    for step in (20, 30, 40):
        line = f"the disk is full: no checkpoint of step {step} in {disk / 'run' / 'checkpoints'}, training goes on"
        assert err.count(line) == (step not in steps)
    assert "Traceback" not in err
    waited = err.count(f"the disk is full: the logs in {disk / 'run'} wait for room")
    assert waited == 1 if left == 0 else waited <= 1  # a checkpoint that is begun takes what is left for a moment


def test_the_last_checkpoint_is_needed(disk, undisturbed, capsys):
    balloon = Balloon(disk)
    with pytest.raises(Exception) as e:
        train(disk, (46, after(disk, 40, lambda: balloon.fill(24 << 10))), when_disk_full="continue")
    assert disk_full(e.value)
    assert checkpoint_steps(disk / "run" / "checkpoints") == [0, 10, 20, 30, 40]
    assert "no checkpoint of step 50" in capsys.readouterr().err
    balloon.let_out()
    assert_like(disk / "run", undisturbed, train(disk, when_disk_full="continue"))


def test_lines_that_waited_are_on_the_disk_before_the_next_checkpoint(disk, undisturbed):
    """A crash after it leaves no gap."""
    balloon = Balloon(disk)
    with pytest.raises(toy.Crash):
        train(
            disk, (11, balloon.fill), (19, balloon.let_out), (24, after(disk, 20, toy.crash)), when_disk_full="continue"
        )
    assert checkpoint_steps(disk / "run" / "checkpoints")[-1] == 20
    assert_like(disk / "run", undisturbed, train(disk, when_disk_full="continue"))


def test_many_lines_wait_for_room_and_none_is_lost(disk, capsys):
    """More than the buffers of Python's files hold."""
    logs, balloon = MetricWriters(disk, patient=True), Balloon(disk)
    logs.write(1, {"loss": 1.0})
    balloon.fill()
    for step in range(2, 500):
        logs.write(step, {"loss": float(step), "l0": 2.0})
    assert len(read_metrics(disk)) < 100
    balloon.let_out()
    logs.flush()
    logs.close()
    assert [step for step, _ in read_metrics(disk)] == [*range(1, 500)]
    assert shown(disk) == told(disk)
    assert capsys.readouterr().err == f"the disk is full: the logs in {disk} wait for room\n"


def test_lines_that_find_no_room_to_the_end_are_told(disk, capsys):
    logs, balloon = MetricWriters(disk, patient=True), Balloon(disk)
    balloon.fill()
    for step in range(500):
        logs.write(step, {"loss": 1.0})
    logs.close()
    lost = f"the last lines of the logs in {disk} are lost: No space left on device\n"
    assert capsys.readouterr().err == f"the disk is full: the logs in {disk} wait for room\n" + 2 * lost


def test_logs_that_are_not_patient_raise(disk):
    logs, balloon = MetricWriters(disk), Balloon(disk)
    balloon.fill()
    with pytest.raises(OSError, match="No space left"):
        for step in range(500):
            logs.write(step, {"loss": 1.0})
    balloon.let_out()
    logs.close()


def test_the_program_says_in_one_line_that_the_disk_is_full_and_the_same_command_resumes(tmp_path):
    array = tmp_path / "rows.npy"
    np.save(array, np.random.default_rng(0).normal(size=(2000, WIDTH)).astype(np.float32))

    def command(workdir, *more):
        values = {"sae.n_features": 1024, "train.steps": 40, "train.batch_size": 64, "train.steps_per_dispatch": 5}
        values |= {"train.checkpoint_every": 10, "train.log_every": 5, "train.checkpoint.keep": 9}
        values |= {"resample.steps": "()"}
        return ("train_sae", f"--workdir={workdir}", f"--config.source={array}", *overrides(values), *more)

    whole = tmp_path / "whole"
    undisturbed = start(*command(whole))
    with small_disk(tmp_path / "disk", 8) as disk:  # a checkpoint takes 2.5 MB
        stopped = run(*command(disk / "run"))
        assert stopped.returncode == 1 and "Traceback" not in stopped.stderr, stopped.stderr
        (line,) = [line for line in stopped.stderr.splitlines() if line.startswith("error: ")]
        assert line == "error: the disk is full; what was committed is kept: free space, then the same command resumes"
        steps = checkpoint_steps(disk / "run" / "checkpoints")
        assert steps[0] == 0 and steps[-1] < 40
        assert load_params(disk / "run" / "checkpoints", steps[-1])
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert run(*command(disk / "run")).returncode == 0
        undisturbed.communicate(timeout=120)
        for a, b in zip(state(disk / "run"), state(whole), strict=True):
            np.testing.assert_array_equal(a, b)
        assert toy.lines(disk / "run") == toy.lines(whole)
