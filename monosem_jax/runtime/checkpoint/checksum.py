"""Checksums of arrays that do not depend on how they are divided over devices, computed where the arrays lie."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def checksums(tree: Any) -> dict[str, int]:
    """path -> a 32-bit checksum of every array's bits and their places; with several processes, all must call it.

    It is a sum over the elements, so it is the same for every sharding. A change of one element always changes it, any
    other change with probability 1 - 2⁻³².
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    found = jax.device_get(_sums([_plain(leaf) for _, leaf in leaves]))
    return {_name(path): int(value) for (path, _), value in zip(leaves, found, strict=True)}


def _name(path: Any) -> str:
    """The same for named tuples and for the dictionaries that they are read as where their type is not known."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


@jax.jit
def _sums(leaves: list[Any]) -> list[jax.Array]:
    return [_sum(x) for x in leaves]


def _sum(x: jax.Array) -> jax.Array:
    x = x.astype(jnp.uint8) if x.dtype == jnp.bool_ else x
    bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * x.dtype.itemsize}")).astype(jnp.uint32)
    place = jnp.zeros(x.shape, jnp.uint32)
    for axis, size in enumerate(x.shape):  # row-major, modulo 2³²
        place = place * jnp.uint32(size % (1 << 32)) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
    # The steps are one-to-one (as in MurmurHash3's finaliser), so another element gives another term.
    mixed = bits ^ (place * jnp.uint32(0x9E3779B9))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> shift)) * jnp.uint32(factor)
    return jnp.sum(mixed ^ (mixed >> 16), dtype=jnp.uint32)
