"""Start of the processes, meshes `data x model`, and strict sharding rules by parameter name."""

from __future__ import annotations

import atexit
import concurrent.futures
import itertools
import math
import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
from jax._src import distributed  # its client has no public name; Orbax uses it in the same way
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from monosem_jax.errors import BadInput
from monosem_jax.lookout import Lookout

Rules = Mapping[str, PartitionSpec]
DAY = 24 * 60 * 60
_meetings = itertools.count()
_lookout: Lookout | None = None
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
    _look_out(heartbeat, port)


def _look_out(bound: float, port: int) -> None:
    global _lookout
    number, count = this_process()
    if count == 1:
        return
    host, client = distributed.global_state.coordinator_address.rpartition(":")[0], distributed.global_state.client
    _lookout = Lookout(number, count, bound)
    find = lambda key: client.blocking_key_value_get(key, int(1000 * bound))  # noqa: E731
    _lookout.start(host.strip("[]"), client.key_value_set, find, port)
    atexit.register(_lookout.leave)  # before JAX waits for the others to come along


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


def meet(what: str) -> None:
    """Waits until every process has come here; all are to come to their meetings in the same order."""
    if this_process()[1] > 1:
        barrier(f"{next(_meetings)}: {what}")


def agreed(mine: bool) -> bool:
    """Whether all processes say yes; all must ask in the same order. No device is needed."""
    number, count = this_process()
    if count == 1:
        return mine
    key, client = f"agreed/{next(_meetings)}/", distributed.global_state.client
    client.key_value_set(f"{key}{number}", str(int(mine)))
    barrier(key)
    return all(value == "1" for _, value in client.key_value_dir_get(key))


def leave(code: int, patience: float = 3) -> NoReturn:
    """Ends this process without waiting for the others, as a normal exit would: they may be in the midst of their work.

    For `patience` seconds it lets those that are leaving too (the same mistake, the same signal) come along. Then those
    that are not are told, and end as they do when a process has died.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        if _lookout:
            _lookout.be_quiet()
        parting = threading.Thread(target=jax.distributed.shutdown, daemon=True)
        parting.start()
        parting.join(patience)
        if parting.is_alive() and _lookout:
            _lookout.leave_with(code)
    finally:  # a second Ctrl-C too
        os._exit(code)


def make_mesh(spec: str = "", devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh named by a string such as "data=2,model=4"; "" takes every device for data.

    On TPUs its axes follow the links between chips. `devices` may be described ones. Raises BadInput when an axis is
    unknown or the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = {"data": len(devices) if not spec else 1, "model": 1}
    for part in filter(None, spec.split(",")):
        name, _, size = part.strip().partition("=")
        if name not in sizes or not size.isdigit() or int(size) < 1:
            raise BadInput(f"mesh {spec!r}: expected data=N,model=N with N at least 1")
        sizes[name] = int(size)
    shape = tuple(sizes.values())
    if math.prod(shape) != len(devices):
        wanted = " x ".join(str(n) for n in shape)
        raise BadInput(f"mesh {spec!r} needs {wanted} devices, but {len(devices)} are present")
    placed = np.asarray(devices).reshape(shape)
    if devices[0].platform == "tpu":
        placed = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(placed, tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))


class Axes(NamedTuple):
    """The sizes of a mesh's axes, for programs that are written for one device of it (inside of shard_map)."""

    data: int
    model: int

    @classmethod
    def of(cls, mesh: Mesh) -> Axes:
        return cls(mesh.shape["data"], mesh.shape["model"])

    def sum(self, tree: Any, axis: str) -> Any:
        """The sum over the devices along an axis; with one device there it costs nothing."""
        return jax.lax.psum(tree, axis) if getattr(self, axis) > 1 else tree

    def max_of_all(self, x: Any) -> Any:
        """The maximum over all devices."""
        for name in (n for n in self._fields if getattr(self, n) > 1):
            x = jax.lax.pmax(x, name)
        return x


def tree_shardings(tree: Any, rules: Rules, mesh: Mesh, *, stacked: bool = False) -> Any:
    """A NamedSharding for every array of `tree`, chosen by the last name in its path (scalars are replicated).

    `rules` maps names to PartitionSpecs; the name "*" stands for every name. `stacked`: arrays have one more axis
    before those that the rules speak of. Raises KeyError on an array that no rule names: silent replication is how
    memory is lost.
    """

    def choose(path, leaf):
        if len(np.shape(leaf)) <= stacked or jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return NamedSharding(mesh, PartitionSpec())
        names = [str(getattr(k, "key", getattr(k, "name", ""))) for k in path]
        name = next((n for n in reversed(names) if n in rules), "*")
        if name not in rules:
            raise KeyError(f"no sharding rule for {jax.tree_util.keystr(path)} of shape {np.shape(leaf)}")
        return NamedSharding(mesh, PartitionSpec(None, *rules[name]) if stacked else rules[name])

    return jax.tree_util.tree_map_with_path(choose, tree)


def put(x: np.ndarray, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """Places a host array that every process holds whole; each process uploads only its own shards."""
    sharding = NamedSharding(mesh, spec)
    if jax.process_count() == 1:
        return jax.device_put(x, sharding)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def fetch(tree: Any) -> Any:
    """A tree of device arrays as NumPy arrays, gathered over processes where needed."""

    def one(x):
        if isinstance(x, jax.Array) and not x.is_fully_addressable and not x.is_fully_replicated:
            from jax.experimental import multihost_utils

            return np.asarray(multihost_utils.process_allgather(x, tiled=True))
        return np.asarray(x)

    return jax.tree.map(one, tree)
