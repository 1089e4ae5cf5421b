"""Start of the processes, meshes `data x model`, and strict sharding rules by parameter name."""

from __future__ import annotations

import atexit
import concurrent.futures
import itertools
import os
import socket
import sys
import threading
from typing import Any, NoReturn

import jax
from jax._src import distributed  # its client has no public name; Orbax uses it in the same way

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.watchdog import Watchdog

DAY = 24 * 60 * 60

_barriers = itertools.count()

_watchdog: Watchdog | None = None

VARIABLES = ("MONOSEM_COORDINATOR", "MONOSEM_NUM_PROCESSES", "MONOSEM_PROCESS_ID")


def start_processes() -> None:
    """Joins the other processes if the environment says that this is one of several; to be called before JAX is used.

    MONOSEM_COORDINATOR: "host:port" of process 0, with MONOSEM_NUM_PROCESSES and MONOSEM_PROCESS_ID, or "auto", which
    asks TPU pods, Slurm or Kubernetes. MONOSEM_HEARTBEAT_SECONDS (30): after this silence a process counts as dead,
    and the others end. MONOSEM_WATCH_PORT (any): where process 0 listens for that. Nothing set, or one process: does
    nothing. Raises BadInput on values that make no sense.
    """
    coordinator, n, i = (os.environ.get(name, "") for name in VARIABLES)
    if not (coordinator or n or i) or jax.distributed.is_initialized():
        return
    address = _address(coordinator, n, i)
    heartbeat = _number("MONOSEM_HEARTBEAT_SECONDS", os.environ.get("MONOSEM_HEARTBEAT_SECONDS") or "30", 1, DAY)
    port = _number("MONOSEM_WATCH_PORT", os.environ.get("MONOSEM_WATCH_PORT") or "0", 0, 65535)
    if address.get("num_processes") == 1:
        return
    # The preemption service takes SIGTERM away from the handlers of Python, and signals.py needs it.
    jax.config.update("jax_enable_preemption_service", False)
    # A process that is done waits for the others when it leaves, and those may need long; the heartbeat finds the dead.
    # JAX's own heartbeat comes after ours, as it aborts the process; who is dead for us has ended long before.
    times = {"heartbeat_timeout_seconds": 2 * heartbeat + 10, "shutdown_timeout_seconds": DAY}
    try:
        jax.distributed.initialize(**address, **times)
    except ValueError as e:
        raise BadInput(f"MONOSEM_COORDINATOR is {coordinator!r}: JAX recognises no cluster ({e})") from None
    _start_watchdog(heartbeat, port)


def _start_watchdog(bound: float, port: int) -> None:
    global _watchdog
    number, count = this_process()
    if count == 1:
        return
    host, client = distributed.global_state.coordinator_address.rpartition(":")[0], distributed.global_state.client
    _watchdog = Watchdog(number, count, bound)
    find = lambda key: client.blocking_key_value_get(key, int(1000 * bound))  # noqa: E731
    _watchdog.start(host.strip("[]"), client.key_value_set, find, port)
    atexit.register(_watchdog.leave)  # before JAX waits for the others to come along


def _address(coordinator: str, processes: str, number: str) -> dict[str, Any]:
    """What jax.distributed.initialize is to be told about where this process belongs: nothing for "auto"."""
    if coordinator == "auto":
        if processes or number:
            raise BadInput(f"MONOSEM_COORDINATOR is 'auto': expected no {VARIABLES[1]} and no {VARIABLES[2]} with it")
        return {}
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadInput(f"MONOSEM_COORDINATOR {_shown(coordinator)}: expected host:port of process 0, or auto")
    n = _number("MONOSEM_NUM_PROCESSES", processes, 1, 100_000)
    i = _number("MONOSEM_PROCESS_ID", number, 0, n - 1)
    loopback = host.startswith("127.")
    if i == 0 and n > 1:  # JAX may end with a segmentation fault where it cannot listen
        try:
            socket.create_server((host if loopback else "", int(port))).close()
        except OSError as e:
            raise BadInput(f"MONOSEM_COORDINATOR is {coordinator!r}: cannot listen there ({e.strerror})") from None
    return {
        "coordinator_address": coordinator,
        "num_processes": n,
        "process_id": i,
        "coordinator_bind_address": coordinator if loopback else None,  # None listens to the network
        # Detection would give each process one device, by its number in a Slurm job that may know nothing of it.
        "cluster_detection_method": "deactivate",
    }


def _number(name: str, value: str, least: int, most: int) -> int:
    if not value.isdecimal() or not least <= int(value) <= most:
        raise BadInput(f"{name} {_shown(value)}: expected a whole number from {least} to {most}")
    return int(value)


def _shown(value: str) -> str:
    return f"is {value!r}" if value else "is missing"


def this_process() -> tuple[int, int]:
    """(number of this process, number of processes); unlike jax.process_index, it starts no backend."""
    return distributed.global_state.process_id, distributed.global_state.num_processes


def first_process() -> bool:
    """Whether this is the process that writes what only one may write."""
    return this_process()[0] == 0


def barrier(name: str, timeout_seconds: float = DAY) -> None:
    """Waits until every process has come to the barrier of this name; with one process it does nothing.

    Raises JaxRuntimeError when a process does not come in time or has died (or JAX ends this process first).
    """
    # Not multihost_utils.sync_global_devices: that is a collective of the devices. On CPU it gives up when another
    # process comes more than 30 s later (the first time) or 30 min, on an accelerator it does not notice that a process
    # has died. This one needs no device and waits as long as it is told; the heartbeat ends it when a process dies. It
    # waits in a thread, so that the handlers of signals can run meanwhile.
    if this_process()[1] == 1:
        return
    pool = concurrent.futures.ThreadPoolExecutor(1)
    waiting = pool.submit(distributed.global_state.client.wait_at_barrier, name, int(timeout_seconds * 1000))
    pool.shutdown(wait=False)
    waiting.result()


def barrier_next(what: str) -> None:
    """Waits until every process has come here; all are to come to their meetings in the same order."""
    if this_process()[1] > 1:
        barrier(f"{next(_barriers)}: {what}")


def all_agree(mine: bool) -> bool:
    """Whether all processes say yes; all must ask in the same order. No device is needed."""
    number, count = this_process()
    if count == 1:
        return mine
    key, client = f"agreed/{next(_barriers)}/", distributed.global_state.client
    client.key_value_set(f"{key}{number}", str(int(mine)))
    barrier(key)
    return all(value == "1" for _, value in client.key_value_dir_get(key))


def exit_process(code: int, patience: float = 3) -> NoReturn:
    """Ends this process without waiting for the others, as a normal exit would: they may be in the midst of their work.

    For `patience` seconds it lets those that are leaving too (the same mistake, the same signal) come along. Then those
    that are not are told, and end as they do when a process has died.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        if _watchdog:
            _watchdog.be_quiet()
        parting = threading.Thread(target=jax.distributed.shutdown, daemon=True)
        parting.start()
        parting.join(patience)
        if parting.is_alive() and _watchdog:
            _watchdog.leave_with(code)
    finally:  # a second Ctrl-C too
        os._exit(code)
