"""Blocks of activations held in a device's memory, and batches gathered from them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.activations.rows import Rows, as_integers
from monosem_jax.activations.stream.order import BLOCK_ROWS, Order
from monosem_jax.runtime.errors import BadInput

UPLOAD_BLOCKS = 16  # blocks in every upload, so that one compiled program serves all uploads
ACCELERATOR_SHARE = 0.4  # of a device's memory
CPU_BYTES = 5e8


@functools.partial(jax.jit, donate_argnums=0)
def _put(pool: jax.Array, slots: jax.Array, blocks: jax.Array) -> jax.Array:
    return pool.at[slots].set(blocks)


@functools.partial(jax.jit, static_argnums=2)
def _take(pool: jax.Array, at: jax.Array, dtype: np.dtype) -> jax.Array:
    return jax.lax.bitcast_convert_type(pool[at // BLOCK_ROWS, at % BLOCK_ROWS], dtype)


class BlockPool:
    """The most recently used blocks of a source on one device. Rows are stored as integers, since XLA moves these
    without conversion."""

    def __init__(self, source: Rows, device: Any, blocks: int):
        self._source, self._device = source, device
        self._slots: dict[int, int] = {}  # block -> slot, least recently used first
        self._free = list(range(blocks))
        shape = (blocks, BLOCK_ROWS, source.width)
        self._pool = jnp.zeros(shape, f"u{source.dtype.itemsize}", device=device)

    def gather(self, rows: np.ndarray) -> jax.Array:
        """The rows with these numbers, [n,b] → [n,b,M]; in parts when the pool cannot hold all their blocks."""
        return self._gather(rows, self._source.dtype)

    def _gather(self, rows: np.ndarray, dtype: np.dtype) -> jax.Array:
        needed, where = np.unique(rows // BLOCK_ROWS, return_inverse=True)
        if len(needed) > len(self._slots) + len(self._free):
            axis = 0 if len(rows) > 1 else 1
            halves = [self._gather(half, self._pool.dtype) for half in np.array_split(rows, 2, axis)]
            return jax.lax.bitcast_convert_type(jnp.concatenate(halves, axis), dtype)
        slots = self._ensure([int(b) for b in needed])
        at = np.asarray(slots, np.int32)[where].reshape(rows.shape) * BLOCK_ROWS + (rows % BLOCK_ROWS).astype(np.int32)
        return _take(self._pool, jax.device_put(at, self._device), dtype)

    def _ensure(self, needed: list[int]) -> list[int]:
        for block in needed:
            if block in self._slots:
                self._slots[block] = self._slots.pop(block)  # now the most recently used
        missing = [b for b in needed if b not in self._slots]
        for i in range(0, len(missing), UPLOAD_BLOCKS):
            self._upload(missing[i : i + UPLOAD_BLOCKS])
        return [self._slots[b] for b in needed]

    def _upload(self, blocks: Sequence[int]) -> None:
        buffer = np.zeros((UPLOAD_BLOCKS, BLOCK_ROWS, self._source.width), self._pool.dtype)
        for i, block in enumerate(blocks):
            rows = self._source.read(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, self._source.n_rows))
            buffer[i, : len(rows)] = as_integers(rows)
        for block in blocks:  # only after reading, which may fail
            self._slots[block] = self._free.pop() if self._free else self._slots.pop(next(iter(self._slots)))
        slots = np.asarray([self._slots[b] for b in blocks], np.int32)
        spare = UPLOAD_BLOCKS - len(blocks)  # padding: the last block is written again, into the same slot
        buffer[len(blocks) :] = buffer[len(blocks) - 1]
        slots = np.pad(slots, (0, spare), mode="edge")
        self._pool = _put(self._pool, jax.device_put(slots, self._device), jax.device_put(buffer, self._device))


def pool_blocks(
    source: Rows, order: Order, devices: Sequence[Any], device_gb: float, *, required: bool
) -> tuple[bool, int]:
    """(whether every device can hold the whole source, the number of its blocks to hold).

    With `required`, raises BadInput when a device cannot hold even the blocks that are mixed at a time.
    """
    limit = device_gb * 1e9 or min(_default_bytes(d) for d in devices)
    size = BLOCK_ROWS * source.width * source.dtype.itemsize
    everything, room = -(-source.n_rows // BLOCK_ROWS), int(limit // size)
    least = order.lanes * (order.window + 2) + UPLOAD_BLOCKS
    if required and device_gb and room < min(least, everything):
        raise BadInput(
            f"stream.device_gb {device_gb} holds {room} blocks of {size / 1e6:.3g} MB: at least {least} are needed "
            f"for window_blocks {order.window * order.lanes}"
        )
    return everything <= room, min(everything, max(room, least))


def _default_bytes(device: Any) -> float:
    if device.platform == "cpu":
        return CPU_BYTES
    stats = device.memory_stats() or {}
    return ACCELERATOR_SHARE * stats.get("bytes_limit", 16e9)
