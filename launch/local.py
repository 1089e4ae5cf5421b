"""Starts an experiment as several processes on this machine, and ends them together.

  python -m launch.local --processes=4 --devices_per_process=2 -- harvest --workdir=runs/store

Process 0 writes as it would alone; the lines of the others begin with their number: "[1] ...". Signals that give notice
(SIGTERM, Ctrl-C, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU) go to all. When one fails, the others get --grace seconds to end by
themselves, then they are terminated, then killed. The exit code is the first that is not 0 (128 + the signal for a
process ended by a signal); a process that ended because another was lost counts last. With --restarts=N all are started
again, up to N times, when one was lost.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.util
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

from monosem_jax.runtime.signals import handled
from monosem_jax.runtime.streams import open_standard_files

BAD_INPUT, LOST = 2, 69  # exit codes of experiments: nothing was started; another process was lost


def main(argv: list[str]) -> int:
    """Runs the command line and returns the exit code."""
    open_standard_files()
    options, command = parse(argv)
    for left in reversed(range(options.restarts + 1)):
        code, asked = once(options, command)
        if asked or code in (0, BAD_INPUT) or not left:
            return code
        say(2, f"launch.local: all processes are started again ({left - 1} restarts are left)\n".encode())
    raise AssertionError


def once(options: argparse.Namespace, command: list[str]) -> tuple[int, bool]:
    """Runs all processes to their end; returns the exit code, and whether a signal asked them to stop."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        coordinator = f"127.0.0.1:{s.getsockname()[1]}"  # free now; process 0 will listen there
    processes: list[subprocess.Popen] = []
    with forwarding(processes) as came:
        try:
            processes.extend(start(number, options, coordinator, command) for number in range(options.processes))
            for number, before in came:  # while they were started
                for p in processes[before:]:
                    p.send_signal(number)
            return watch(processes, options.grace), bool(came)
        finally:
            for p in processes:
                p.kill()


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The launcher's own options, and the module with its flags, given after "--"."""
    parser = argparse.ArgumentParser("python -m launch.local", "%(prog)s --processes=N [options] -- MODULE [flags]")
    parser.add_argument("--processes", type=int, required=True, help="how many processes")
    parser.add_argument(
        "--devices_per_process", type=int, default=0, help="CPU devices of each process (0: the default)"
    )
    parser.add_argument("--restarts", type=int, default=0, help="how often all are started again when one is lost (0)")
    parser.add_argument(
        "--grace", type=float, default=10, help="seconds for the others to end by themselves when one fails (10)"
    )
    split = argv.index("--") if "--" in argv else len(argv)
    options, command = parser.parse_args(argv[:split]), argv[split + 1 :]
    if options.processes < 1 or options.devices_per_process < 0 or options.restarts < 0:
        parser.error("--processes is at least 1, --devices_per_process and --restarts at least 0")
    if not command or command[0].startswith("-"):
        parser.error("after -- a module is expected, such as experiments.harvest, and its flags")
    if "." not in command[0] and importlib.util.find_spec(f"experiments.{command[0]}"):
        command[0] = f"experiments.{command[0]}"  # the same short names as `monosem NAME`
    return options, command


def start(number: int, options: argparse.Namespace, coordinator: str, command: list[str]) -> subprocess.Popen:
    """Starts one process, in a session of its own: the terminal's Ctrl-C reaches it once, through the launcher."""
    environment = {**os.environ, "MONOSEM_COORDINATOR": coordinator, "MONOSEM_PROCESS_ID": str(number)}
    environment |= {"MONOSEM_NUM_PROCESSES": str(options.processes)}
    environment |= {"PYTHONUNBUFFERED": "1"} if number else {}  # not process 0: its lines would arrive in two pieces
    environment |= {"JAX_NUM_CPU_DEVICES": str(k)} if (k := options.devices_per_process) else {}
    pipe = subprocess.PIPE if number else None
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        preexec_fn=end_with_launcher,
        start_new_session=True,
    )


def end_with_launcher() -> None:
    """Asks the kernel to kill this process when the launcher is gone for any reason (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def forwarding(processes: list[subprocess.Popen]) -> Iterator[list[tuple[int, int]]]:
    """Passes signals that give notice on to all processes in the list. Yields the list of those that came, each with
    the number of processes that it reached."""
    came: list[tuple[int, int]] = []

    def forward(signum, frame):
        came.append((signum, len(processes)))
        for p in processes:
            p.send_signal(signum)  # no effect on a process that has ended

    old = {number: signal.signal(number, forward) for number in handled()}
    try:
        yield came
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def watch(processes: list[subprocess.Popen], grace: float) -> int:
    """Forwards output until every process has ended; returns the exit code."""

    def wait(number, p):
        ended.put((number, p.wait()))

    ended: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()  # (number, code) in the order in which they end
    pipes = [(i, *pipe) for i, p in enumerate(processes) for pipe in ((p.stdout, 1), (p.stderr, 2)) if pipe[0]]
    copies = [threading.Thread(target=copy, args=pipe, daemon=True) for pipe in pipes]
    for thread in copies + [threading.Thread(target=wait, args=pair, daemon=True) for pair in enumerate(processes)]:
        thread.start()
    left, first, deadline, means = len(processes), 0, None, [subprocess.Popen.terminate, subprocess.Popen.kill]
    while left:
        try:
            number, code = ended.get(timeout=deadline and max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            end, *means = means
            for p in processes:
                end(p)
            deadline = time.monotonic() + grace if means else None
            continue
        left -= 1
        code = code if code >= 0 else 128 - code
        if code and first in (0, LOST):
            deadline = deadline or time.monotonic() + grace
            first = code
            if code != LOST:  # a LOST process has already named the lost one
                say(2, f"launch.local: process {number} ended with exit code {code}\n".encode())
    for thread in copies:
        thread.join(5)  # no longer: a child of a process may hold its pipe open
    return first


def copy(number: int, source: BinaryIO, fd: int) -> None:
    """Writes each line of `source` to the file descriptor, with the number of the process before it."""
    for line in source:
        say(fd, b"[%d] %s\n" % (number, line.removesuffix(b"\n")))


def say(fd: int, line: bytes) -> None:
    with contextlib.suppress(OSError):  # the reader is gone: the processes continue
        os.write(fd, line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
