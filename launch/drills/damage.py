"""Damaged checkpoints, full disks, and directories that are in use or belong to another user."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

from launch.drills.ground import ROOT, Ground, Outcome, end, same, steps, wait_for_checkpoint

BAD_INPUT = 2


def damaged_checkpoint(ground: Ground, kind: str, times: int) -> Outcome:
    """The newest step loses a file or half a file, or one byte is flipped. The run names the step, uses the one before,
    and ends with the same bits."""
    undisturbed, _ = ground.reference(kind)
    outcome, done = Outcome(), dict.fromkeys(("missing", "truncated", "flipped"), 0)
    harmless = 0
    for i in range(times):
        path = ground.fresh(f"{kind}-damaged")
        process = ground.start(kind, path)
        while len(steps(path)) < 3 and wait_for_checkpoint(process, path):
            pass
        end(process)
        newest, how = steps(path)[-1], list(done)[i % 3]
        where = path / "checkpoints" / str(newest)
        file = ground.random.choice(sorted(p for p in where.rglob("*") if p.is_file() and p.stat().st_size))
        done[how] += 1
        _damage(ground, file, how)
        code = ground.run(kind, path)
        fault = same(path, undisturbed) if code == 0 else f"exit code {code}: {ground.log(path)[-800:]}"
        outcome.expect(not fault, f"{how} {file.relative_to(path)}: {fault}")
        began = json.loads((path / "summary.json").read_text())["resumed_from_step"] if code == 0 else -1
        named = f"checkpoint {where} " in ground.log(path)
        outcome.expect(
            named == (began < newest), f"{how} {file.relative_to(path)}: resumed from {began}, named: {named}"
        )
        harmless += not named  # the damage hit nothing that is read
    outcome.notes = {**done, "of no consequence": harmless}
    return outcome


def _damage(ground: Ground, file: pathlib.Path, how: str) -> None:
    data = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
        return
    if how == "truncated":
        del data[len(data) // 2 :]
    else:
        data[ground.random.randrange(len(data))] ^= 1 << ground.random.randrange(8)
    file.write_bytes(data)


def full_disk(ground: Ground, kind: str, policy: str, log_too: bool = False) -> Outcome:
    """The disk fills up while a run writes checkpoints, and has room again later. With `log_too` the program's output
    goes to the same disk, and is lost while the disk is full."""
    undisturbed, _ = ground.reference(kind)
    outcome, disk = Outcome(), ground.fresh("disk")
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], capture_output=True).returncode:
        outcome.notes = {"skipped": "no small disk can be mounted here"}
        return outcome
    path, balloon = (disk / "run" if log_too else disk), disk / ".balloon"
    try:
        process = ground.start(kind, path, f"--config.train.checkpoint.when_disk_full={policy}")
        while len(steps(path)) < 2 and wait_for_checkpoint(process, path):
            pass
        _fill(balloon)
        if policy == "continue":
            begin = time.monotonic()
            while "training goes on without" not in ground.log(path) and process.poll() is None:
                time.sleep(0.05)
                if log_too and time.monotonic() - begin > 1:
                    break
            balloon.unlink()
            outcome.expect(process.wait() == 0, f"it did not go on: {ground.log(path)[-1500:]}")
        else:
            code, whole = process.wait(), steps(path)
            outcome.expect(code == 1, f"exit code {code}: {ground.log(path)[-1500:]}")
            outcome.expect(log_too or "error: the disk is full" in ground.log(path), ground.log(path)[-1500:])
            outcome.expect(len(whole) >= 1, "no checkpoint is left")
            balloon.unlink()
            outcome.expect(ground.run(kind, path) == 0, f"it does not resume: {ground.log(path)[-1500:]}")
        fault = same(path, undisturbed)
        outcome.expect(not fault, fault)
        outcome.notes = {"checkpoints left out": ground.log(path).count("training goes on without")}
    finally:
        subprocess.run(["umount", str(disk)], check=False)
    return outcome


def _fill(balloon: pathlib.Path) -> None:
    with open(balloon, "wb", buffering=0) as f, contextlib.suppress(OSError):
        while f.write(bytes(4096)):
            pass


def not_ours(ground: Ground, kind: str) -> Outcome:
    """A directory in use, a read-only one, and another user's: one clear line each, and nothing is changed."""
    outcome = Outcome()
    path = ground.fresh("in-use")
    process = ground.start(kind, path)
    wait_for_checkpoint(process, path)
    code, log = _try(ground, kind, path, ())
    outcome.expect(code == BAD_INPUT and "is in use by another run" in log, f"in use: {code}, {log}")
    end(process)
    finished, _ = ground.reference(kind)
    if os.getuid() == 0:
        other = ground.fresh("of-another")
        shutil.copytree(finished, other)
        (other / "summary.json").unlink()
        before = _listing(other)
        code, log = _try(ground, kind, other, ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
        outcome.expect(code == BAD_INPUT and "cannot be written" in log, f"of another user: {code}, {log}")
        outcome.expect(_listing(other) == before, "a directory of another user was changed")
    outcome.notes = {"lines": outcome.tried}
    return outcome


def _try(ground: Ground, kind: str, path: pathlib.Path, prefix: tuple[str, ...]) -> tuple[int, str]:
    experiment, own = ground.command(kind)
    command = [*prefix, sys.executable, "-m", f"experiments.{experiment}", f"--workdir={path}", *own]
    environment = {**ground.environment(), "HOME": "/nonexistent"} | {"JAX_COMPILATION_CACHE_DIR": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr.strip()


def _listing(path: pathlib.Path) -> list[tuple[str, int, int]]:
    return sorted(_entries(path))


def _entries(path: pathlib.Path) -> Iterator[tuple[str, int, int]]:
    for p in path.rglob("*"):
        yield str(p), p.stat().st_size, p.stat().st_mtime_ns
