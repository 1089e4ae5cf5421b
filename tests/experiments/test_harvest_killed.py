"""The real harvest killed at any moment, and shared by several processes: always the same bytes in the end."""

import collections
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.experiments.tiny import ROOT, environment, overrides, run, start

CLOCK = {"rows_per_second", "wall_seconds", "versions", "git"}  # what may differ
SITES = ("mlp_out.0", "mlp_in.0")
BUCKETS = {"bucket_rows": 2048, "shard_rows": 1024, "dtype": "bfloat16"}


@pytest.fixture(scope="module")
def harvests(small_transformer, tmp_path_factory):
    """The flags of harvests in 32 buckets, and the finished directory of each, from a run left alone."""
    tmp = tmp_path_factory.mktemp("whole")
    values = np.random.default_rng(0).normal(size=(66_000, 64)).astype(np.float32)
    values[::1000, 3] = np.nan
    np.save(tmp / "x.npy", values)
    model = overrides({"rows_per_context": 24, "n_rows": 65_520, **BUCKETS}, "harvest.")
    flags = {
        "transformer": [f"--config.transformer={small_transformer}", *model],
        "array": [f"--from={tmp}/x.npy", "--skip_nonfinite", *overrides(BUCKETS, "harvest.")],
        "sites": [f"--config.transformer={small_transformer}", f"--config.harvest.site={','.join(SITES)}", *model],
    }
    for name, given in flags.items():
        done = run("harvest", f"--workdir={tmp}/{name}", *given)
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp / "array" / "summary.json").read_text())["skipped_nonfinite"] == 66
    return {name: (given, tmp / name) for name, given in flags.items()}


def contents(path: pathlib.Path) -> dict[str, bytes | dict | None]:
    """Every file and folder but the lock; without what only a clock or a checkout says."""
    found = {}
    for p in sorted(path.rglob("*")):
        if p.name in ("config.json", "summary.json"):
            values = json.loads(p.read_text())
            for parent in values.get("parents", {}).values():
                parent.pop("relative")
            found[str(p.relative_to(path))] = _timeless(values)
        elif p.name != ".lock":
            found[str(p.relative_to(path))] = p.read_bytes() if p.is_file() else None
    return found


def _timeless(values):
    if isinstance(values, dict):
        return {k: _timeless(v) for k, v in values.items() if k not in CLOCK}
    return values


def assert_same(path: pathlib.Path, finished: pathlib.Path) -> None:
    a, b = contents(path), contents(finished)
    assert a.keys() == b.keys()
    assert [name for name in a if a[name] != b[name]] == []


def rows_written(workdir: pathlib.Path) -> int | None:
    for _ in range(100):
        try:
            return json.loads((workdir / "store.json").read_text())["rows_written"]
        except FileNotFoundError:
            return None
        except json.JSONDecodeError:  # just renamed by TensorStore, and the end of a killed process's file not cut yet
            time.sleep(0.002)
    raise AssertionError("store.json stays invalid")


def traces(workdir: pathlib.Path) -> set[pathlib.Path]:
    """Files that are there only while something is written or waits for its commit."""
    return {p for p in workdir.rglob("*") if p.name.endswith("__lock") or p.parent.name == ".parts"}


def landed(workdir: pathlib.Path, old: set[pathlib.Path]) -> list[str]:
    """In what a kill broke, by what it left."""
    written, new = rows_written(workdir), traces(workdir) - old
    if written is None:
        return ["before store.json"]
    n_rows = json.loads((workdir / "store.json").read_text())["n_rows"]
    found = ["between first and last commit" if written < n_rows else "after the last commit"]
    found += ["while a shard was written"] * any(p.name == "0.__lock" for p in new)
    found += ["while a manifest or record was written"] * any("json.__lock" in p.name for p in new)
    return found + ["between a bucket and its commit"] * any(p.suffix == ".json" for p in new)


def kill_once(command: list[str], workdir: pathlib.Path, rng: random.Random) -> list[str]:
    """Starts the harvest and kills it: at any moment, or soon after it has begun to write or committed something."""
    before, old, choice = rows_written(workdir), traces(workdir), rng.random()
    process = start("harvest", f"--workdir={workdir}", *command)
    delay = rng.uniform(0.3, 1.8)
    if choice < 0.6:
        delay = rng.uniform(0.0, 0.1)
        while process.poll() is None and rows_written(workdir) == before:
            time.sleep(0.002)
    elif before is None:
        delay = 0.0
        while process.poll() is None and not (workdir / "activations").exists():
            time.sleep(0.001)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.kill()
    _, err = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), err
    return landed(workdir, old) if process.returncode else []


@pytest.mark.parametrize("name, kills", [("transformer", 8), ("array", 8)])
def test_killed_at_random_times_a_harvest_ends_with_the_same_bytes(harvests, tmp_path, name, kills):
    (command, finished), rng = harvests[name], random.Random(name)
    where, done, finishes = collections.Counter(), 0, 0
    while done < kills or not where["between first and last commit"]:  # how fast the machine is decides where they land
        assert done < 5 * kills, dict(where)
        found = kill_once(command, tmp_path / "run", rng)
        where.update(found)
        done += bool(found)
        if (tmp_path / "run" / "summary.json").exists():
            assert_same(tmp_path / "run", finished)
            shutil.rmtree(tmp_path / "run")
            finishes += 1
    print(f"\n{name}: {done} kills, {finishes} stores finished on the way;", dict(where))
    last = run("harvest", f"--workdir={tmp_path}/run", *command)
    assert last.returncode == 0, last.stderr
    assert_same(tmp_path / "run", finished)
    assert where["between first and last commit"] + where["before store.json"] >= kills // 4


def test_killed_again_and_again_the_stores_of_several_sites_end_with_the_same_bytes(harvests, tmp_path):
    (command, finished), rng, landed = harvests["sites"], random.Random("sites"), collections.Counter()
    while len(landed) < 4 and not (tmp_path / "run" / "summary.json").exists():
        before = rows_written(tmp_path / "run" / SITES[1])
        process = start("harvest", f"--workdir={tmp_path}/run", *command)
        while process.poll() is None and rows_written(tmp_path / "run" / SITES[1]) == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.05))
        process.kill()
        _, err = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), err
        landed[tuple(rows_written(tmp_path / "run" / site) or 0 for site in SITES)] += 1
    print("\nrows committed in each store at each kill:", dict(landed))
    last = run("harvest", f"--workdir={tmp_path}/run", *command)
    assert last.returncode == 0, last.stderr
    assert_same(tmp_path / "run", finished)
    assert any(0 < min(rows) < 65_520 for rows in landed)


def launch(n: int, workdir: pathlib.Path, flags: list[str]) -> subprocess.Popen:
    """Starts a harvest as n processes of one device."""
    command = [sys.executable, "-m", "launch.local", f"--processes={n}", "--devices_per_process=1", "--grace=1", "--"]
    command += ["experiments.harvest", f"--workdir={workdir}", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=ROOT, env=environment(), text=True, **pipes)


def finish(n: int, workdir: pathlib.Path, flags: list[str]) -> None:
    process = launch(n, workdir, flags)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out


@pytest.mark.parametrize("n, name", [(1, "transformer"), (2, "array"), (4, "transformer"), (2, "sites")])
def test_several_processes_make_the_same_bytes_together(harvests, tmp_path, n, name):
    flags, finished = harvests[name]
    finish(n, tmp_path / "run", flags)
    assert_same(tmp_path / "run", finished)


def test_a_process_without_a_bucket_waits_for_the_others(harvests, tmp_path):
    flags = [f for f in harvests["array"][0] if "_rows=" not in f]
    for n in (1, 3):
        finish(n, tmp_path / f"run{n}", flags)
    assert_same(tmp_path / "run3", tmp_path / "run1")


def test_rows_that_are_not_finite_end_all_processes_with_one_line(harvests, tmp_path):
    process = launch(2, tmp_path / "run", [f for f in harvests["array"][0] if f != "--skip_nonfinite"])
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 2 and "Traceback" not in out, out
    for who in re.findall(r"\[process (\d)\] activations", out):
        row = {"0": 0, "1": 3000}[who]
        assert re.search(rf"not finite: \d of rows \d+ to \d+, first at row {row} .*--skip_nonfinite", out)
    assert re.search(r"error: \[process \d\] activations are not finite", out)


@pytest.mark.parametrize("name, victim, n", [("array", "the launcher", 4), ("transformer", "a process", 1)])
def test_a_harvest_of_two_processes_that_was_killed_is_finished_by_another_number(harvests, tmp_path, name, victim, n):
    flags, finished = harvests[name]
    workdir = tmp_path / "run"
    process = launch(2, workdir, flags)
    while not rows_written(workdir):
        assert process.poll() is None
        time.sleep(0.005)
    children = [int(i) for i in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    os.kill(process.pid if victim == "the launcher" else children[1], signal.SIGKILL)
    process.communicate(timeout=100)
    assert process.returncode != 0
    while any(os.path.exists(f"/proc/{i}") for i in children):  # they end with the launcher, but nobody waits for them
        time.sleep(0.01)
    assert 0 < rows_written(workdir) < 65_000
    finish(n, workdir, flags)
    assert_same(workdir, finished)
