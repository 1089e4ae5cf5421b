"""Checksums of arrays that do not depend on how they are divided over devices, computed where the arrays lie.

The checksum of an array is a sum over its elements, modulo 2³². So is that of a block, a range of indices along one
axis, with the places that its elements have in the whole: the blocks along any axis add up to the whole.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

STEPS = ((16, 0x85EBCA6B), (13, 0xC2B2AE35))  # one-to-one, as in MurmurHash3: another element gives another term


class Blocks(TypedDict):
    """The checksums of an array's blocks along one axis, each of `size` indices except the last."""

    size: int
    sums: list[int]


def checksums(tree: Any) -> dict[str, int]:
    """path -> a 32-bit checksum of every array's bits and their places; with several processes, all must call it.

    It is the same for every sharding. A change of one element always changes it, any other change with probability
    1 - 2⁻³².
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    found = jax.device_get(_sums([_plain(leaf) for _, leaf in leaves]))
    return {_name(path): int(value) for (path, _), value in zip(leaves, found, strict=True)}


def block_checksums(tree: Any, block_bytes: int) -> dict[str, list[Blocks]]:
    """path -> the checksums of blocks of about `block_bytes` along each axis, of arrays that are larger than one block.

    With several processes, all must call it.
    """
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if leaf.nbytes > block_bytes:
            mesh = leaf.sharding.mesh if isinstance(leaf.sharding, NamedSharding) else None
            sizes = [max(1, n * block_bytes // leaf.nbytes) for n in leaf.shape]
            along = jax.device_get(_axis_sums(leaf, mesh))
            found[_name(path)] = [
                Blocks(size=size, sums=_in_blocks(sums, size)) for size, sums in zip(sizes, along, strict=True)
            ]
    return found


def sums_along(part: np.ndarray, axis: int, first: int, shape: tuple[int, ...]) -> np.ndarray:
    """The checksums of each index of `part`, the indices of an array of that shape along `axis` from `first` on."""
    offset = [first * (i == axis) for i in range(part.ndim)]
    terms = _terms(np, part.view(f"uint{8 * part.dtype.itemsize}").astype(np.uint32), offset, shape)
    return terms.sum(tuple(i for i in range(part.ndim) if i != axis), dtype=np.uint32)


def differing_block(blocks: Blocks, part: np.ndarray, axis: int, block: int, shape: tuple[int, ...]) -> int | None:
    """The number of the first block that is not what was saved, or None; `part` begins with number `block`."""
    size = blocks["size"]
    found = _in_blocks(sums_along(part, axis, block * size, shape), size)
    known = blocks["sums"][block : block + len(found)]
    return next((block + i for i, (a, b) in enumerate(zip(found, known, strict=True)) if a != b), None)


def _in_blocks(sums: np.ndarray, size: int) -> list[int]:
    return [int(s) for s in np.add.reduceat(sums, np.arange(0, len(sums), size), dtype=np.uint32)]


def _name(path: Any) -> str:
    """The same for named tuples and for the dictionaries that they are read as where their type is not known."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


@jax.jit
def _sums(leaves: list[Any]) -> list[jax.Array]:
    return [jnp.sum(_device_terms(x), dtype=jnp.uint32) for x in leaves]


@jax.jit(static_argnums=1)
def _axis_sums(x: jax.Array, mesh: jax.sharding.Mesh | None) -> list[jax.Array]:
    """For each axis the checksum of every index, whole on every device of the mesh."""
    terms = _device_terms(x)
    found = [jnp.sum(terms, [i for i in range(x.ndim) if i != axis], dtype=jnp.uint32) for axis in range(x.ndim)]
    whole = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    return found if whole is None else [jax.lax.with_sharding_constraint(sums, whole) for sums in found]


def _device_terms(x: jax.Array) -> jax.Array:
    x = x.astype(jnp.uint8) if x.dtype == jnp.bool_ else x
    bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * x.dtype.itemsize}")).astype(jnp.uint32)
    return _terms(jnp, bits, [0] * x.ndim, x.shape)


def _terms(xp: ModuleType, bits: Any, offset: list[int], shape: tuple[int, ...]) -> Any:
    """The terms of the sum, of elements from `offset` on in an array of that shape; `xp` is jax.numpy or numpy."""
    place = xp.zeros((), xp.uint32)
    for axis, size in enumerate(shape):  # row-major, modulo 2³²
        indices = xp.arange(bits.shape[axis], dtype=xp.uint32) + xp.uint32(offset[axis])
        indices = indices.reshape([-1 if i == axis else 1 for i in range(bits.ndim)])
        place = place * xp.asarray([size % (1 << 32)], xp.uint32).reshape([1] * bits.ndim) + indices
    mixed = bits ^ (place * xp.asarray(0x9E3779B9, xp.uint32))
    for shift, factor in STEPS:
        mixed = (mixed ^ (mixed >> xp.uint32(shift))) * xp.asarray(factor, xp.uint32)
    return mixed ^ (mixed >> xp.uint32(16))
