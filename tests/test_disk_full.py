"""A disk that is too small, or fills up while harvesting: one clear line, and nothing committed is lost."""

import contextlib
import json
import re
import subprocess
import time

import numpy as np
import pytest

from monosem_jax.store.arrays import Store
from monosem_jax.store.location import Location
from monosem_jax.store.verify import verify_store
from tests.experiments.tiny import overrides, run, start

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
