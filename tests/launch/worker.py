"""An experiment whose stage does what --config.what says, for tests with several processes."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import time

from experiments.entry import Experiment, launch


@dataclasses.dataclass(frozen=True)
class Config:
    what: str = "sum"
    who: int = 1  # the process to which it happens


def run(workdir: str, config: Config) -> None:
    """Does one thing in the process that it is meant for; the others go on as if nothing were."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import multihost_utils

    from monosem_jax.runtime.errors import BadInput
    from monosem_jax.runtime.mesh import make_mesh
    from monosem_jax.runtime.processes import all_agree, barrier, barrier_next, first_process, this_process
    from monosem_jax.runtime.signals import signal_flag
    from monosem_jax.training.preemption import preemption_sync

    number, mine = this_process()[0], this_process()[0] == config.who

    def say(*words: object) -> None:
        """Says it where nothing else of any process is written, such as Gloo's lines, which break others."""
        print(*words, flush=True)
        place = pathlib.Path(workdir)
        place.mkdir(parents=True, exist_ok=True)
        with (place / f"said-{number}.txt").open("a", encoding="utf-8") as file:
            print(*words, file=file)

    if config.what == "mistake":  # before any device is in use
        raise BadInput(f"found by {number}")
    mesh = make_mesh()
    ones = jax.make_array_from_callback((mesh.size,), jax.NamedSharding(mesh, jax.P("data")), lambda i: jnp.ones(1))
    add = jax.jit(lambda x: x.sum(), out_shardings=jax.NamedSharding(mesh, jax.P()))
    say(f"{number} of {this_process()[1]}: sum {float(add(ones)):g}, first {first_process()}")
    if config.what == "barrier":
        time.sleep(1 if mine else 0)
        say(f"before {time.time()}")
        barrier("sides")
        say(f"after {time.time()}")
    elif config.what == "late":
        time.sleep(2 if mine else 0)
        barrier("too early", timeout_seconds=1)
    elif config.what == "lonely mistake" and mine:
        raise BadInput(f"found by {number}")
    elif config.what == "lonely error" and mine:
        raise RuntimeError("broken")
    elif config.what == "killed in a collective":
        os.kill(os.getpid(), signal.SIGKILL) if mine else multihost_utils.sync_global_devices("other")
    elif config.what == "killed before a barrier":
        os.kill(os.getpid(), signal.SIGKILL) if mine else barrier("never")
    elif config.what == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP) if mine else barrier("never")
    elif config.what == "killed while others compute":
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL) if mine else time.sleep(60)
    elif config.what == "far barrier":
        if mine:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print(config.what, flush=True)
            time.sleep(25)
            print("came at last", flush=True)
        barrier("far")
    elif config.what == "agreed":
        say("agreed", *map(all_agree, (True, mine, not mine, False, True)))
    elif config.what == "meeting":
        for name in ("first", "second"):  # not in the same order: process 1 comes late to the first
            time.sleep(1 if mine == (name == "first") else 0)
            say(f"before {name} {time.time()}")
            barrier_next("here")
            say(f"after {name} {time.time()}")
    elif config.what == "common stop":
        largest, last = jax.jit(jnp.max, out_shardings=jax.NamedSharding(mesh, jax.P())), 0
        with preemption_sync(mesh) as stop:
            for step in range(1000):
                if stop.requested:
                    say(f"{stop.requested} at {step}")
                    break
                before, last = last, largest(stop.signals())
                stop.heard(int(before))
                if mine and step == 7:
                    os.kill(os.getpid(), signal.SIGTERM)
    elif config.what == "signal":
        with signal_flag() as stop:
            print(config.what, flush=True) if mine else None
            while True:
                time.sleep(0.05)
                stop.check()
    if config.what.startswith("lonely"):
        time.sleep(60)


if __name__ == "__main__":
    launch(Experiment(__doc__, lambda flags: run))
