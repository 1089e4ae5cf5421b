"""Kills processes at random times and starts them again until the work is done: the bits must be the same."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import time

from launch.drills.ground import Ground, Outcome, end, same


def kill_at_random(ground: Ground, kind: str, times: int) -> Outcome:
    """kill -9 at random times, also while the program starts or finishes."""
    return _again_and_again(ground, kind, times, lambda process, path, seconds: _sleep(process, seconds))


def kill_while_writing(ground: Ground, kind: str, times: int) -> Outcome:
    """kill -9 while a checkpoint is being written, shortly after its unfinished directory appears."""

    def wait(process: subprocess.Popen, path: pathlib.Path, seconds: float) -> None:
        begun = time.monotonic()
        seen = _unfinished(path)  # left by processes killed earlier
        while process.poll() is None and time.monotonic() - begun < 60:
            if _unfinished(path) - seen and time.monotonic() - begun > min(seconds, 5):
                break
            time.sleep(0.001)
        time.sleep(ground.random.uniform(0, 0.05))

    return _again_and_again(ground, kind, times, wait)


def _again_and_again(ground: Ground, kind: str, times: int, wait) -> Outcome:
    if kind in ("harvest", "online"):
        ground.transformer()
    undisturbed, seconds = ground.reference(kind)
    outcome, killed, unfinished, ended = Outcome(), 0, 0, 0
    path = ground.fresh(kind)
    begin = time.monotonic()
    while killed < times:
        process = ground.start(kind, path)
        wait(process, path, ground.random.uniform(0.5, 2 + 0.6 * seconds))
        if process.poll() is None:
            end(process)
            killed += 1
            unfinished += bool(_unfinished(path))
        elif process.returncode == 0:  # it had already finished: compare, and start another
            ended += 1
            outcome.expect(not (fault := same(path, undisturbed)), fault)
            path = ground.fresh(kind)
        else:
            outcome.expect(False, f"{kind} ended with exit code {process.returncode}: {ground.log(path)[-800:]}")
            path = ground.fresh(kind)
    code = ground.run(kind, path)
    fault = same(path, undisturbed) if code == 0 else f"{kind} ended with exit code {code}: {ground.log(path)[-800:]}"
    outcome.expect(not fault, fault)
    outcome.notes = {"kills": killed, "in a half-written checkpoint": unfinished, "runs compared": ended + 1}
    outcome.notes["seconds"] = round(time.monotonic() - begin)
    return outcome


def _sleep(process: subprocess.Popen, seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _unfinished(path: pathlib.Path) -> set[str]:
    """The checkpoints that are being written, or were being written when their process was killed."""
    found = set()
    for folder in (path / "checkpoints", *path.glob("members/*/checkpoints")):
        with contextlib.suppress(FileNotFoundError):
            found |= {f"{folder.parent.name} {p.name}" for p in folder.iterdir() if ".orbax-checkpoint-tmp" in p.name}
    return found
