"""How the parameters of a pretrained model lie on a mesh: heads, hidden units and tokens are divided over `model`.

x[C_data,T,D] · W_q[D,HK_model] → heads;  z[C_data,T,HK_model] · W_O[HK_model,D] → summed over `model`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.models.unread import Unread
from monosem_jax.runtime.mesh import device_put_sharded

# By the name of a layer: which axis of its kernel is divided.
DIVIDED = {"q": 1, "k": 1, "v": 1, "gate": 1, "up": 1, "unembed": 1, "attn_proj": 0, "down": 0, "embed": 0}
SHARED = ("k", "v")  # grouped-query attention: each of their heads serves several of q


def spec_of(path: str, shape: tuple[int, ...], mesh: Mesh, config: Any = None) -> PartitionSpec:
    """The placement of a parameter by its path ("blocks_0/q/kernel"). What does not divide evenly is on every device,
    as are norms and biases of what is summed.

    Where heads of queries divide evenly and the fewer heads of keys and values of `config` do not, the latter are on
    every device too, so that no head is computed in parts.
    """
    *_, layer, kind = path.split("/")
    n = mesh.shape.get("model", 1)
    axis = DIVIDED.get(layer) if kind in ("kernel", "embedding", "bias") else None
    if kind == "bias" and axis is not None:
        axis = 0 if axis == 1 else None
    if n == 1 or axis is None or shape[axis] % n or (layer in SHARED and _in_parts(config, n)):
        return PartitionSpec()
    return PartitionSpec(*(["model" if i == axis else None for i in range(len(shape))]))


def _in_parts(config: Any, n: int) -> bool:
    """Whether dividing keys and values by `n` cuts heads though those of queries stay whole."""
    heads = getattr(config, "n_heads", 0)
    return heads % n == 0 and getattr(config, "n_kv_heads", heads) % n > 0


def placed(params: Any, mesh: Mesh | None, config: Any, path: str = "") -> Any:
    """The parameters of a model on the default device, or on a mesh: those of a pretrained model divided over `model`,
    those of the paper's transformer, which is small, on every device. What is in files is read straight there."""
    if isinstance(params, Unread):
        return params.on(mesh)
    if isinstance(params, Mapping):
        return {name: placed(part, mesh, config, f"{path}/{name}") for name, part in params.items()}
    if mesh is None:
        return jax.device_put(params)
    divided = config.architecture != "transformer"
    sharding = NamedSharding(mesh, spec_of(path, params.shape, mesh, config) if divided else PartitionSpec())
    if isinstance(params, jax.Array) and params.sharding.is_equivalent_to(sharding, params.ndim):
        return params
    return device_put_sharded(np.asarray(params), mesh, sharding.spec)


def bytes_per_device(params: Any) -> dict[str, int]:
    """Device -> bytes of the parameters on it, of the devices of this process."""
    found: dict[str, int] = {}
    for leaf in jax.tree.leaves(params):
        for shard in leaf.addressable_shards:
            found[str(shard.device)] = found.get(str(shard.device), 0) + shard.data.nbytes
    return found
