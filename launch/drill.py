"""Drills: experiments are killed, stopped, starved and damaged, and must end with the bits of an undisturbed run.

  python -m launch.drill --workdir=runs/drill                 all of them: about 25 minutes on two cores
  python -m launch.drill --workdir=runs/drill --only=kill     those whose name has "kill" in it
  python -m launch.drill --workdir=runs/drill --scale=0.2     fewer repetitions

Writes drill.json into the directory, prints one line per drill, and exits with code 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable

from launch.drills import damage, figures, kills, processes, signals
from launch.drills.ground import Ground, Outcome
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import local_path

KILLS = {"transformer": 10, "harvest": 8, "dictionary": 12, "online": 8, "sweep": 8}
WRITING = {"dictionary": 8, "sweep": 4}


def drills(scale: float) -> dict[str, Callable[[Ground], Outcome]]:
    """name -> drill."""
    times = lambda n: max(round(n * scale), 1)  # noqa: E731
    found: dict[str, Callable[[Ground], Outcome]] = {}
    for kind, n in KILLS.items():
        found[f"kill -9 at random: {kind}"] = functools.partial(kills.kill_at_random, kind=kind, times=times(n))
    for kind, n in WRITING.items():
        name = f"kill -9 while checkpoints are written: {kind}"
        found[name] = functools.partial(kills.kill_while_writing, kind=kind, times=times(n))
    for kind in KILLS:
        name = f"SIGTERM or Ctrl-C: {kind}"
        found[name] = functools.partial(signals.stop_and_resume, kind=kind, times=times(3))
    found["Ctrl-C twice"] = functools.partial(signals.interrupt_twice, kind="dictionary", times=times(4))
    lost = {"killed: 1 of 2": (2, 1), "killed: 2 of 4": (4, 2), "coordinator killed, of 2": (2, 0)}
    for name, (n, victim) in {**lost, "coordinator killed, of 4": (4, 0)}.items():
        found[name] = functools.partial(processes.lose_one, processes=n, victim=victim)
    found["stopped (silent): 1 of 2"] = functools.partial(
        processes.lose_one, processes=2, victim=1, number=signal.SIGSTOP
    )
    found["SIGTERM to 1 of 2"] = functools.partial(processes.stop_one, processes=2, victim=1)
    found["elastic restart"] = processes.elastic
    found["damaged checkpoint"] = functools.partial(damage.damaged_checkpoint, kind="dictionary", times=times(15))
    for policy in ("stop", "continue"):
        for log_too in (False, True):
            name = f"full disk: {policy}" + ", its log as well" * log_too
            found[name] = functools.partial(damage.full_disk, kind="dictionary", policy=policy, log_too=log_too)
    found["directories of others"] = functools.partial(damage.not_ours, kind="dictionary")
    return {**found, "costs": figures.costs}


def main(argv: list[str]) -> int:
    """Runs the drills and returns the exit code."""
    parser = argparse.ArgumentParser("python -m launch.drill", "%(prog)s --workdir=DIR [options]")
    parser.add_argument("--workdir", required=True, help="where everything is made")
    parser.add_argument("--only", default="", help="a part of the names of the drills to do")
    parser.add_argument("--scale", type=float, default=1.0, help="how many repetitions, as a share of the usual (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the times at which things happen (0)")
    options = parser.parse_args(argv)
    chosen = {name: drill for name, drill in drills(options.scale).items() if options.only in name}
    if not chosen:
        parser.error(f"--only={options.only}: no drill has that in its name; there are {', '.join(drills(1))}")
    try:
        workdir = local_path(options.workdir, "--workdir")
    except BadInput as e:
        parser.error(str(e))
    ground, results, begin = Ground(workdir, options.seed), {}, time.monotonic()
    for name, drill in chosen.items():
        results[name] = outcome = attempt(drill, ground)
        verdict = "ok" if not outcome.lost else f"LOST {outcome.lost} of {outcome.tried}"
        told = ", ".join(f"{k} {v}" for k, v in outcome.notes.items())
        print(f"{name:<48}{verdict:<12}{told}", flush=True)
        for fault in outcome.faults:
            print(f"  {fault}", file=sys.stderr, flush=True)
    lost = sum(outcome.lost for outcome in results.values())
    killed = sum(outcome.notes.get("kills", 0) for outcome in results.values())
    print(f"\n{len(results)} drills, {killed} kills at random, {lost} lost, {time.monotonic() - begin:.0f} s")
    record = {name: vars(outcome) for name, outcome in results.items()}
    about = {"machine": platform.processor() or platform.machine(), "lost": lost, "kills": killed, "drills": record}
    (workdir / "drill.json").write_text(json.dumps(about, indent=1))
    return 1 if lost else 0


def attempt(drill: Callable[[Ground], Outcome], ground: Ground) -> Outcome:
    """The outcome of a drill; a drill that raises an error counts as lost."""
    try:
        return drill(ground)
    except Exception:
        return Outcome(1, faults=[traceback.format_exc()])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
