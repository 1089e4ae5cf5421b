"""What one process of the launcher's tests does, without JAX: python -m tests.launch.plain NUMBER:ACTION..."""

import os
import signal
import sys
import time

from monosem_jax.runtime.signals import NOTICE

NUMBER = os.environ["MONOSEM_PROCESS_ID"]


def count_signals() -> None:
    """Leaves with 75 half a second after the first signal, and says how many came."""
    seen = []
    for number in NOTICE:
        signal.signal(number, lambda n, frame: seen.append(signal.Signals(n).name))
    print("ready", os.getpid(), "own" if os.getsid(0) == os.getpid() else "foreign", "session", flush=True)
    while not seen:
        time.sleep(0.02)
    time.sleep(0.5)
    print("seen", *seen, flush=True)
    sys.exit(75)


def act(action: str, value: str) -> None:
    """One of the things that a process may do."""
    if action == "show":
        nothing = os.fstat(0).st_rdev == os.stat(os.devnull).st_rdev
        print(*(os.environ.get(name) for name in value.split("+")), "no input" if nothing else "input")
        print("error", NUMBER, file=sys.stderr)
    elif action == "write":
        sys.stdout.write(value.replace("|", "\n"))
    elif action == "fill":
        for _ in range(int(value)):
            print("x" * 1000)
    elif action == "sleep":
        time.sleep(float(value))
    elif action == "exit":
        sys.exit(int(value))
    elif action == "kill":
        os.kill(os.getpid(), int(value))
    elif action == "stubborn":
        signal.signal(signal.SIGTERM, lambda n, frame: print("no", flush=True))
    else:
        count_signals()


for argument in sys.argv[1:]:
    who, action, value = argument.split(":")
    if who in (NUMBER, "all"):
        act(action, value)
