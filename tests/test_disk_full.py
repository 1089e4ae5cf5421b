"""A disk that fills up while harvesting: one clear line, and nothing committed is lost."""

import contextlib
import json
import subprocess

import pytest

from monosem_jax.store.arrays import Store
from tests.experiments.tiny import HARVEST, TRANSFORMER, overrides, run, small_corpus


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


def test_a_full_disk_gives_one_line_and_the_store_goes_on_when_there_is_room(tmp_path):
    corpus = small_corpus(tmp_path / "docs.jsonl")
    model = tmp_path / "transformer"
    flags = overrides(TRANSFORMER | {"train.steps": 20, "text.corpus": corpus})
    assert run("train_transformer", f"--workdir={model}", *flags).returncode == 0
    wanted = HARVEST | {"n_rows": 60_000, "rows_per_context": 20, "bucket_rows": 8192}
    with small_disk(tmp_path / "disk", 4) as disk:
        command = (f"--workdir={disk}/store", f"--config.transformer={model}", *overrides(wanted, "harvest."))
        full = run("harvest", *command)
        assert full.returncode == 1, full.stderr
        assert "error: the disk is full" in full.stderr and "Traceback" not in full.stderr
        committed = Store(disk / "store")
        assert 0 < committed.n_rows < 60_000
        before = committed.read(0, committed.n_rows).tobytes()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert run("harvest", *command).returncode == 0
        whole = Store(disk / "store")
        assert whole.n_rows == json.loads((disk / "store" / "store.json").read_text())["n_rows"] == 60_000
        assert whole.read(0, committed.n_rows).tobytes() == before
