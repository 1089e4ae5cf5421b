"""Meshes `data x model` and strict sharding rules by parameter name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from monosem_jax.errors import BadInput

Rules = Mapping[str, PartitionSpec]


def make_mesh(spec: str = "") -> Mesh:
    """The mesh named by a string such as "data=2,model=4"; "" takes every device for data.

    Raises BadInput when an axis is unknown or the sizes do not multiply to the number of devices.
    """
    sizes = {"data": jax.device_count() if not spec else 1, "model": 1}
    for part in filter(None, spec.split(",")):
        name, _, size = part.strip().partition("=")
        if name not in sizes or not size.isdigit() or int(size) < 1:
            raise BadInput(f"mesh {spec!r}: expected data=N,model=N with N at least 1")
        sizes[name] = int(size)
    if math.prod(sizes.values()) != jax.device_count():
        wanted = " x ".join(str(n) for n in sizes.values())
        raise BadInput(f"mesh {spec!r} needs {wanted} devices, but {jax.device_count()} are present")
    devices = np.asarray(jax.devices()).reshape(tuple(sizes.values()))
    return Mesh(devices, tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))


def tree_shardings(tree: Any, rules: Rules, mesh: Mesh) -> Any:
    """A NamedSharding for every array of `tree`, chosen by the last name in its path (scalars are replicated).

    `rules` maps names to PartitionSpecs; the name "*" stands for every name. Raises KeyError on an array that no rule
    names: silent replication is how memory is lost.
    """

    def choose(path, leaf):
        if not np.shape(leaf) or jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return NamedSharding(mesh, PartitionSpec())
        names = [str(getattr(k, "key", getattr(k, "name", ""))) for k in path]
        for name in reversed(names):
            if name in rules:
                return NamedSharding(mesh, rules[name])
        if "*" in rules:
            return NamedSharding(mesh, rules["*"])
        raise KeyError(f"no sharding rule for {jax.tree_util.keystr(path)} of shape {np.shape(leaf)}")

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
