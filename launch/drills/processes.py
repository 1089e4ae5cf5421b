"""One of several processes is lost: the others must end in time and name it, and a restart must continue the work."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time

import numpy as np

from launch.drills.ground import Ground, Outcome, same, steps, wait_for_checkpoint

HEARTBEAT = 5  # seconds of silence, for the drill with a process that hangs


def lose_one(ground: Ground, processes: int, victim: int, number: int = signal.SIGKILL) -> Outcome:
    """Kills (or stops) one of the processes during training, then runs the same command again."""
    launcher = _launcher(processes)
    undisturbed, _ = ground.reference("dictionary", launcher)
    outcome, path = Outcome(), ground.fresh(f"lost-{victim}-of-{processes}")
    job = ground.start("dictionary", path, launcher=launcher, MONOSEM_HEARTBEAT_SECONDS=str(HEARTBEAT))
    if not (wait_for_checkpoint(job, path) and wait_for_checkpoint(job, path)):
        raise RuntimeError(f"the job ended by itself: {ground.log(path)[-2000:]}")
    begin = time.monotonic()
    children = _children(job)
    os.kill(children[victim], number)
    survivors = {pid for who, pid in children.items() if who != victim}
    while survivors & set(_children(job).values()) and time.monotonic() - begin < 120:
        time.sleep(0.01)
    seconds = time.monotonic() - begin
    if number == signal.SIGSTOP:
        os.kill(children[victim], signal.SIGKILL)
    job.wait()
    log = ground.log(path)
    named = len(re.findall(rf"error: \[process \d+\] process {victim} is gone \(", log))
    outcome.expect(named == processes - 1, f"{named} of {processes - 1} survivors named it: {log[-1500:]}")
    outcome.expect(not re.search(r"@ +0x", log), f"a survivor was aborted: {log[-1500:]}")
    outcome.expect(seconds < HEARTBEAT + 5, f"the survivors took {seconds:.1f} s to end")
    code = ground.run("dictionary", path, launcher=launcher)
    fault = same(path, undisturbed) if code == 0 else f"it ended with exit code {code}: {ground.log(path)[-800:]}"
    outcome.expect(not fault, fault)
    outcome.notes = {"seconds until the survivors ended": round(seconds, 2)}
    return outcome


def stop_one(ground: Ground, processes: int, victim: int) -> Outcome:
    """SIGTERM reaches one process only: all of them stop at the same step, and resume to the same bits."""
    launcher = _launcher(processes)
    undisturbed, _ = ground.reference("dictionary", launcher)
    outcome, path = Outcome(), ground.fresh(f"stopped-{victim}-of-{processes}")
    job = ground.start("dictionary", path, launcher=launcher)
    if not wait_for_checkpoint(job, path):
        raise RuntimeError(f"the job ended by itself: {ground.log(path)[-2000:]}")
    begin = time.monotonic()
    os.kill(_children(job)[victim], signal.SIGTERM)
    code = job.wait()
    stopped = re.findall(r"stopped by SIGTERM: step (\d+) of", ground.log(path))
    outcome.expect(code == 75 and len(stopped) == processes and len(set(stopped)) == 1, f"{code}, steps {stopped}")
    outcome.notes = {"seconds until all stopped": round(time.monotonic() - begin, 2)}
    code = ground.run("dictionary", path, launcher=launcher)
    fault = same(path, undisturbed) if code == 0 else f"it ended with exit code {code}: {ground.log(path)[-800:]}"
    outcome.expect(not fault, fault)
    return outcome


def elastic(ground: Ground, sizes: tuple[int, ...] = (4, 2, 4)) -> Outcome:
    """Kills the job and restarts it with a different number of processes each time; compares with a single process."""
    from monosem_jax.load import load_run

    alone, _ = ground.reference("elastic")
    outcome, path = Outcome(), ground.fresh("elastic")
    for processes in sizes[:-1]:
        job, begun = ground.start("elastic", path, launcher=_launcher(processes)), max(steps(path), default=0)
        while max(steps(path), default=0) == begun and wait_for_checkpoint(job, path):
            pass
        time.sleep(ground.random.uniform(0, 0.5 * ground.length))
        outcome.expect(job.poll() is None, f"with {processes} processes it ended: {ground.log(path)[-1500:]}")
        for pid in _children(job).values():
            os.kill(pid, signal.SIGKILL)
        job.wait()
    code = ground.run("elastic", path, launcher=_launcher(sizes[-1]))
    outcome.expect(code == 0, f"it ended with exit code {code}: {ground.log(path)[-1500:]}")
    if code == 0:
        a, b = load_run(alone).params, load_run(path).params
        worst = max(float(np.abs(a[name] - b[name]).max()) for name in a)
        outcome.expect(worst < 1e-4, f"parameters differ by {worst:.2g} from those of one process")
        outcome.notes = {"processes": "->".join(map(str, sizes)), "largest difference to one process": f"{worst:.1e}"}
        outcome.notes["resumed from step"] = resumed = load_run(path).summary["resumed_from_step"]
        outcome.expect(resumed > 0, "it began anew")
    return outcome


def _launcher(processes: int) -> tuple[str, ...]:
    return ("launch.local", f"--processes={processes}", "--devices_per_process=1", "--grace=60", "--")


def _children(job: subprocess.Popen) -> dict[int, int]:
    """number -> pid of the launcher's processes that are alive."""
    found = {}
    for task in pathlib.Path(f"/proc/{job.pid}/task").glob("*/children"):
        for pid in map(int, task.read_text().split()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                status = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                entries = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                number = dict(entry.partition(b"=")[::2] for entry in entries).get(b"MONOSEM_PROCESS_ID")
                if status != "Z" and number is not None:
                    found[int(number)] = pid
    return found
