"""Meshes `data x model`, strict sharding rules by parameter name, arrays to and from a mesh."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from monosem_jax.runtime.errors import BadInput


def shard_rows(mesh: Mesh | None, batch: int) -> tuple[int, Any]:
    """(`batch` rounded up to a multiple of the data shards, the function that shards the first axis over `data`)."""
    if mesh is None:
        return batch, lambda *arrays: arrays
    shards = mesh.shape["data"]
    return -(-batch // shards) * shards, lambda *arrays: tuple(
        device_put_sharded(a, mesh, PartitionSpec("data")) for a in arrays
    )


Rules = Mapping[str, PartitionSpec]


def make_mesh(spec: str = "", devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh named by a string such as "data=2,model=4"; "" puts every device on the data axis.

    On TPUs its axes follow the links between chips. `devices` need not exist here. Of the devices of a single process
    a mesh may leave some unused, which is printed. Raises BadInput when an axis is unknown, or the sizes do not
    multiply to a possible number of devices.
    """
    may_leave = devices is None and jax.process_count() == 1
    devices = jax.devices() if devices is None else devices
    shape = _sizes(spec, len(devices))
    n = math.prod(shape)
    if n > len(devices) or (n < len(devices) and not may_leave):
        wanted = " x ".join(map(str, shape))
        hint = _more_devices(devices[0].platform, n) if may_leave else ""
        raise BadInput(f"mesh {spec!r} needs {wanted} devices, but {len(devices)} are present{hint}")
    if n < len(devices):
        print(f"mesh {spec}: {len(devices) - n} of the {len(devices)} devices are not used", flush=True)
        devices = devices[:n]
    placed = np.asarray(devices).reshape(shape)
    if devices[0].platform == "tpu":
        placed = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(placed, Axes._fields, axis_types=(AxisType.Auto,) * len(shape))


def _sizes(spec: str, n_devices: int) -> tuple[int, int]:
    """(data, model) of a mesh's name."""
    found: dict[str, int] = {}
    for part in filter(None, spec.split(",")):
        name, _, size = part.strip().partition("=")
        if name not in Axes._fields or name in found or not (size.isascii() and size.isdigit()) or int(size) < 1:
            raise BadInput(f"mesh {spec!r}: expected data=N,model=N with N at least 1")
        found[name] = int(size)
    return found.get("data", 1 if spec else n_devices), found.get("model", 1)


def _more_devices(platform: str, n: int) -> str:
    """What makes so many devices present, for a message."""
    if platform == "cpu":
        flags = os.environ.get("XLA_FLAGS", "")
        forced = re.search(r"--xla_force_host_platform_device_count=\d+", flags)
        return f": {forced[0]} in XLA_FLAGS decides" if forced else f": JAX_NUM_CPU_DEVICES={n} makes a CPU so many"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return f": CUDA_VISIBLE_DEVICES={visible} hides all others" if platform == "gpu" and visible is not None else ""


def nearest(n: int, fits: Callable[[int], bool], reach: int = 1 << 16) -> str:
    """The nearest numbers below and above `n` that fit, for a message: "8190 or 8196"; "" if there is none."""
    below = next((m for m in range(n - 1, max(n - reach, 0), -1) if fits(m)), None)
    above = next((m for m in range(n + 1, n + reach) if fits(m)), None)
    return " or ".join(str(m) for m in (below, above) if m is not None)


def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of `n` that is at most `most`."""
    return next(d for d in range(min(n, most), 0, -1) if n % d == 0)


class Axes(NamedTuple):
    """The sizes of a mesh's axes, for programs of a single device (inside shard_map)."""

    data: int
    model: int

    @classmethod
    def of(cls, mesh: Mesh) -> Axes:
        return cls(mesh.shape["data"], mesh.shape["model"])

    def sum(self, tree: Any, axis: str) -> Any:
        """The sum over the devices of an axis; with one device it costs nothing."""
        return jax.lax.psum(tree, axis) if getattr(self, axis) > 1 else tree

    def max_of_all(self, x: Any) -> Any:
        """The maximum over all devices."""
        for name in (n for n in self._fields if getattr(self, n) > 1):
            x = jax.lax.pmax(x, name)
        return x


def tree_shardings(tree: Any, rules: Rules, mesh: Mesh, *, stacked: bool = False) -> Any:
    """A NamedSharding for every array of `tree`, chosen by the last name in its path (scalars are replicated).

    `rules` maps names to PartitionSpecs; "*" matches every name. `stacked`: arrays have one leading axis more than the
    rules say. Raises KeyError on an array that matches no rule: silent replication wastes memory.
    """

    def choose(path, leaf):
        if len(np.shape(leaf)) <= stacked or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return NamedSharding(mesh, PartitionSpec())
        names = [str(getattr(k, "key", getattr(k, "name", ""))) for k in path]
        name = next((n for n in reversed(names) if n in rules), "*")
        if name not in rules:
            raise KeyError(f"no sharding rule for {jax.tree_util.keystr(path)} of shape {np.shape(leaf)}")
        return NamedSharding(mesh, PartitionSpec(None, *rules[name]) if stacked else rules[name])

    return jax.tree_util.tree_map_with_path(choose, tree)


def device_put_sharded(x: np.ndarray, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """Places a host array of which every process holds all; each process uploads only its own shards."""
    sharding = NamedSharding(mesh, spec)
    if jax.process_count() == 1:
        return jax.device_put(x, sharding)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def device_get_global(tree: Any) -> Any:
    """A tree of device arrays as NumPy arrays, gathered from all processes where needed."""

    def one(x):
        if isinstance(x, jax.Array) and not x.is_fully_addressable and not x.is_fully_replicated:
            from jax.experimental import multihost_utils

            return np.asarray(multihost_utils.process_allgather(x, tiled=True))
        return np.asarray(x)

    return jax.tree.map(one, tree)
