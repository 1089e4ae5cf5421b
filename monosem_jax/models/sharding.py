"""How the parameters of a pretrained model lie on a mesh: heads, hidden units and tokens are divided over `model`.

x[C_data,T,D] · W_q[D,HK_model] → heads;  z[C_data,T,HK_model] · W_O[HK_model,D] → summed over `model`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import tree_map_with_path

# By the name of a layer: which axis of its kernel is divided.
DIVIDED = {"q": 1, "k": 1, "v": 1, "gate": 1, "up": 1, "unembed": 1, "attn_proj": 0, "down": 0, "embed": 0}


def spec_of(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """The placement of a parameter by its path ("blocks_0/q/kernel"). What does not divide evenly is on every device,
    as are norms and biases of what is summed."""
    *_, layer, kind = path.split("/")
    n = mesh.shape.get("model", 1)
    axis = DIVIDED.get(layer) if kind in ("kernel", "embedding", "bias") else None
    if kind == "bias" and axis is not None:
        axis = 0 if axis == 1 else None
    if n == 1 or axis is None or shape[axis] % n:
        return PartitionSpec()
    return PartitionSpec(*(["model" if i == axis else None for i in range(len(shape))]))


def shardings(params: Mapping[str, Any], mesh: Mesh) -> Any:
    """A NamedSharding for every parameter of a model."""

    def one(path: Any, leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, spec_of("/".join(str(k.key) for k in path), leaf.shape, mesh))

    return tree_map_with_path(one, dict(params))


def bytes_per_device(params: Any) -> dict[str, int]:
    """Device -> bytes of the parameters on it."""
    found: dict[str, int] = {}
    for leaf in jax.tree.leaves(params):
        for shard in leaf.addressable_shards:
            found[str(shard.device)] = found.get(str(shard.device), 0) + shard.data.nbytes
    return found
