"""SIGTERM, Ctrl-C and other notices: the first lets the program write a checkpoint, the second does not."""

from __future__ import annotations

import signal
import time

from launch.drills.ground import Ground, Outcome, end, same, wait_for_checkpoint
from monosem_jax.runtime.signals import NOTICE

STOPPED, INTERRUPTED = 75, 130
BOUND = 60.0  # seconds in which a process must stop after it was asked to


def stop_and_resume(ground: Ground, kind: str, times: int) -> Outcome:
    """Sends notices to one run at random times, `times` in all; the run must end with the same bits."""
    if kind in ("harvest", "online"):
        ground.transformer()
    undisturbed, seconds = ground.reference(kind)
    outcome, path, waits = Outcome(), ground.fresh(kind), []
    while len(waits) < times:
        process = ground.start(kind, path)
        time.sleep(ground.random.uniform(3, 3 + 0.5 * seconds))
        if process.poll() is not None:
            outcome.expect(process.returncode == 0 and not same(path, undisturbed), f"{kind} ended otherwise")
            path = ground.fresh(kind)
            continue
        begin = time.monotonic()
        code = end(process, ground.random.choice(NOTICE))
        waits.append(time.monotonic() - begin)
        done = code == -signal.SIGINT and (path / "summary.json").exists()  # while the interpreter ended
        outcome.expect(
            done or code in (STOPPED, 0), f"{kind}: a signal ended in exit code {code}: {ground.log(path)[-800:]}"
        )
        outcome.expect(waits[-1] < BOUND, f"{kind}: it took {waits[-1]:.1f} s to stop")
    code = ground.run(kind, path)
    fault = same(path, undisturbed) if code == 0 else f"{kind} ended with exit code {code}: {ground.log(path)[-800:]}"
    outcome.expect(not fault, fault)
    outcome.notes = {"signals": len(waits), "slowest stop, s": round(max(waits), 2)}
    return outcome


def interrupt_twice(ground: Ground, kind: str, times: int) -> Outcome:
    """Sends Ctrl-C twice: the program exits at once, and the resumed run still ends with the same bits."""
    undisturbed, _ = ground.reference(kind)
    outcome, path, waits = Outcome(), ground.fresh(kind), []
    for _ in range(times):
        process = ground.start(kind, path)
        if not wait_for_checkpoint(process, path):
            break
        time.sleep(ground.random.uniform(0, 1))
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
        begin = time.monotonic()
        code = end(process, signal.SIGINT)
        waits.append(time.monotonic() - begin)
        # It may stop so fast that the first signal is enough.
        outcome.expect(
            code in (INTERRUPTED, STOPPED, 0), f"two Ctrl-C ended in exit code {code}: {ground.log(path)[-800:]}"
        )
        outcome.expect(waits[-1] < 5, f"after the second Ctrl-C it took {waits[-1]:.1f} s")
    code = ground.run(kind, path)
    fault = same(path, undisturbed) if code == 0 else f"{kind} ended with exit code {code}: {ground.log(path)[-800:]}"
    outcome.expect(not fault, fault)
    outcome.notes = {"double Ctrl-C": len(waits), "slowest, s": round(max(waits, default=0), 2)}
    return outcome
