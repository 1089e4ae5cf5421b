"""The processes of one job: start, barriers, agreement, exit. The only module that knows `jax.distributed`'s client."""

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
from jax._src import distributed  # its client has no public name

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
    and the others end. MONOSEM_WATCH_PORT (any): where process 0 listens for that. MONOSEM_WATCHDOG (1): 0 starts no
    watchdog, and leaves dead processes to JAX's heartbeat. With nothing set, or one process, nothing happens. Raises
    BadInput on impossible values.
    """
    coordinator, n, i = (os.environ.get(name, "") for name in VARIABLES)
    if not (coordinator or n or i) or jax.distributed.is_initialized():
        return
    address = _address(coordinator, n, i)
    heartbeat = _number("MONOSEM_HEARTBEAT_SECONDS", os.environ.get("MONOSEM_HEARTBEAT_SECONDS") or "30", 1, DAY)
    port = _number("MONOSEM_WATCH_PORT", os.environ.get("MONOSEM_WATCH_PORT") or "0", 0, 65535)
    watch = _number("MONOSEM_WATCHDOG", os.environ.get("MONOSEM_WATCHDOG") or "1", 0, 1)
    if address.get("num_processes") == 1:
        return
    # The preemption service takes SIGTERM away from the handlers of Python, and signals.py needs it.
    jax.config.update("jax_enable_preemption_service", False)
    # JAX's own heartbeat aborts the process, so it comes after the watchdog's. A finished process waits for the others
    # when it leaves, which may take long; the heartbeat finds the dead ones.
    patience = 2 * heartbeat + 10 if watch else heartbeat
    try:
        jax.distributed.initialize(**address, heartbeat_timeout_seconds=patience, shutdown_timeout_seconds=DAY)
    except ValueError as e:
        raise BadInput(f"MONOSEM_COORDINATOR is {coordinator!r}: JAX recognises no cluster ({e})") from None
    if watch:
        _start_watchdog(heartbeat, port)


def _start_watchdog(bound: float, port: int) -> None:
    global _watchdog
    number, count = this_process()
    if count == 1:
        return
    host, client = str(distributed.global_state.coordinator_address).rpartition(":")[0], _client()
    _watchdog = Watchdog(number, count, bound)

    def find(key: str) -> str:
        return client.blocking_key_value_get(key, int(1000 * bound))

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


def _client() -> Any:
    """The client of JAX's coordinator, there once the processes have started; Orbax reaches it in the same way."""
    return distributed.global_state.client


def this_process() -> tuple[int, int]:
    """(number of this process, number of processes); unlike jax.process_index, it starts no backend."""
    return distributed.global_state.process_id, distributed.global_state.num_processes


def first_process() -> bool:
    """Whether this is the process that writes what only one may write."""
    return this_process()[0] == 0


def barrier(name: str, timeout_seconds: float = DAY) -> None:
    """Waits until every process has reached the barrier of this name; with one process it does nothing.

    Raises JaxRuntimeError when a process is late or has died (or JAX ends this process first).
    """
    # Not multihost_utils.sync_global_devices: that is a collective of the devices. On CPU it gives up when another
    # process comes more than 30 s later (the first time) or 30 min, on an accelerator it does not notice that a process
    # has died. This one needs no device and waits as long as it is told; the heartbeat ends it when a process dies. It
    # waits in a thread, so that the handlers of signals can run meanwhile.
    if this_process()[1] == 1:
        return
    pool = concurrent.futures.ThreadPoolExecutor(1)
    waiting = pool.submit(_client().wait_at_barrier, name, int(timeout_seconds * 1000))
    pool.shutdown(wait=False)
    waiting.result()


def barrier_next(what: str) -> None:
    """Waits until every process has reached this line; all must reach their barriers in the same order."""
    if this_process()[1] > 1:
        barrier(f"{next(_barriers)}: {what}")


def all_agree(mine: bool) -> bool:
    """Whether all processes say yes; all must ask in the same order. No device is needed."""
    number, count = this_process()
    if count == 1:
        return mine
    key, client = f"agreed/{next(_barriers)}/", _client()
    client.key_value_set(f"{key}{number}", str(int(mine)))
    barrier(key)
    return all(value == "1" for _, value in client.key_value_dir_get(key))


def exit_process(code: int, patience: float = 3) -> NoReturn:
    """Ends this process without waiting for the others, which may be working: a normal exit would wait for them.

    For `patience` seconds it waits for those that are leaving too (the same mistake, the same signal). Then it tells
    the rest, and they end as they do when a process has died.
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
