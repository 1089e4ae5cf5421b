"""Starts an experiment as several processes on this machine, and ends them together.

  python -m launch.local --processes=4 --devices_per_process=2 -- experiments.harvest --workdir=runs/store

Process 0 writes as it would alone; each line of the others begins with their number: "[1] ...". SIGTERM and Ctrl-C go
to all. When one fails, the others have --grace seconds to end by themselves, then they are terminated, then killed.
The exit code is the first that is not 0 (128 + the signal for a process that a signal ended).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO


def main(argv: Sequence[str]) -> int:
    """Runs the command line and returns the exit code."""
    options, command = parse(argv)
    coordinator = f"127.0.0.1:{free_port()}"
    processes: list[subprocess.Popen] = []
    try:
        for number in range(options.processes):
            processes.append(start(number, options, coordinator, command))
        return watch(processes, options.grace)
    finally:
        for p in processes:
            p.kill()


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The launcher's own options, and after "--" the module with its flags."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.local", usage="%(prog)s --processes=N [options] -- MODULE [flags]", allow_abbrev=False
    )
    parser.add_argument("--processes", type=int, required=True, help="how many")
    parser.add_argument("--devices_per_process", type=int, help="CPU devices of each process")
    parser.add_argument("--grace", type=float, default=10, help="seconds that the others have when one fails (10)")
    own = list(argv)
    split = own.index("--") if "--" in own else len(own)
    options, command = parser.parse_args(own[:split]), own[split + 1 :]
    if min(options.processes, 1 if options.devices_per_process is None else options.devices_per_process) < 1:
        parser.error("--processes and --devices_per_process are at least 1")
    if not command or command[0].startswith("-"):
        parser.error("after -- a module is expected, such as experiments.harvest, and its flags")
    return options, command


def free_port() -> int:
    """A port of the loopback interface that nobody listens to now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(number: int, options: argparse.Namespace, coordinator: str, command: list[str]) -> subprocess.Popen:
    """Starts one process, in a session of its own: the terminal's Ctrl-C reaches it once, through the launcher."""
    environment = {**os.environ, "MONOSEM_COORDINATOR": coordinator, "MONOSEM_PROCESS_ID": str(number)}
    environment |= {"MONOSEM_NUM_PROCESSES": str(options.processes), "PYTHONUNBUFFERED": "1"}
    if options.devices_per_process is not None:
        environment["JAX_NUM_CPU_DEVICES"] = str(options.devices_per_process)
    output = subprocess.PIPE if number else None
    return subprocess.Popen(
        [sys.executable, "-m", *command], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        start_new_session=True, preexec_fn=end_with_launcher,
    )  # fmt: skip


def end_with_launcher() -> None:
    """Has the kernel kill this process when the launcher is gone, however that came (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def watch(processes: list[subprocess.Popen], grace: float) -> int:
    """Forwards signals and output until every process has ended; the first exit code that is not 0, or 0."""

    def forward(signum, frame):
        for p in processes:
            p.send_signal(signum)  # nothing happens to one that has ended

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, forward)
    ended: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()  # (process, code) in the order in which they end
    copies = []
    for number, p in enumerate(processes):
        background(lambda number, p: ended.put((number, p.wait())), number, p)
        if number:
            copies += [background(copy, number, p.stdout, 1), background(copy, number, p.stderr, 2)]
    left, first, deadline, means = len(processes), 0, None, [subprocess.Popen.kill, subprocess.Popen.terminate]
    while left:
        try:
            number, code = ended.get(timeout=deadline and max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            end = means.pop()
            for p in processes:
                end(p)
            deadline = time.monotonic() + grace if means else None
            continue
        left -= 1
        if code and not first:
            first, deadline = code if code > 0 else 128 - code, time.monotonic() + grace
            if left:
                print(f"process {number} ended with code {first}; {grace:g} s for the others", file=sys.stderr)
    for c in copies:
        c.join(5)  # no longer: a child of a process may hold its pipe open
    return first


def copy(number: int, source: BinaryIO, target: int) -> None:
    """Writes each line of `source` to the file descriptor, with the number of the process before it."""
    for line in source:
        with contextlib.suppress(OSError):  # where nobody reads any more, go on: the process is not to wait for it
            os.write(target, b"[%d] %s\n" % (number, line.removesuffix(b"\n")))


def background(work: Callable[..., None], *arguments: Any) -> threading.Thread:
    """A started thread that does not keep the launcher from ending."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
