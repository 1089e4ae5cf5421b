"""Batch i of activations as a function of (source, seed, i), read from disk or gathered in device memory."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.activations.rows import Rows, as_integers
from monosem_jax.activations.stream.device_cache import BlockPool, pool_blocks
from monosem_jax.activations.stream.order import BLOCK_ROWS, Order, Piece
from monosem_jax.runtime.ambient import pinned, pool
from monosem_jax.runtime.arguments import check_mesh_axes, whole_number
from monosem_jax.runtime.config import field
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import make_mesh

KINDS = ("auto", "disk", "resident")
THREADS = 4


@dataclasses.dataclass(frozen=True)
class StreamConfig:
    """How rows reach the device. Batches are the same for every `kind`. Host memory: about window_blocks blocks, and
    the batches of two dispatches."""

    kind: str = "auto"
    """Where rows are gathered: disk, on the host; resident, in device memory, where the blocks stay; auto, resident if
    the whole source fits."""
    window_blocks: int = 64
    """Blocks of 1,024 rows that are mixed at a time."""
    device_gb: float = 0.0
    """Device memory for resident blocks, in GB; 0: two fifths of an accelerator's memory, half a GB on a CPU."""
    allow_missing_chunks: bool = field(False, identity=False)
    """Read rows of a zarr array whose chunks do not exist as the fill value, instead of refusing the array."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if self.kind not in KINDS:
            raise BadInput(f"stream.kind is {self.kind!r}: expected {', '.join(KINDS)}")
        if self.window_blocks < 1:
            raise BadInput(f"stream.window_blocks is {self.window_blocks}: at least 1 is needed")
        if self.device_gb < 0:
            raise BadInput(f"stream.device_gb is {self.device_gb}: expected a size in GB, or 0")


class RowStream:
    """Batches of rows: called with (start, n) it gives batches start … start+n-1 as one device array [n,B,M] sharded
    over `data`, independent of earlier calls. Every epoch delivers each row once, in a new order; a batch may span two
    epochs. Each process reads only the rows that its own devices need.

    Iterating gives batches [B,M] from `position` on, read ahead in the background; `position`, the number of the next
    batch, is the only state to save.
    """

    kind = "disk"

    def __init__(self, source: Rows, order: Order, mesh: Mesh):
        if order.batch_size > source.n_rows:
            raise BadInput(f"train.batch_size {order.batch_size} is larger than the store: it has {source.n_rows} rows")
        self.source, self.order, self.position = source, order, 0
        self.sharding = NamedSharding(mesh, PartitionSpec(None, "data"))
        self._windows: dict[int, tuple[tuple[int, int, int], np.ndarray]] = {}
        self._memory = _Memory()
        self._threads = pool(THREADS, "rows")  # some wait for the disk while others copy

    @pinned()
    def __call__(self, start: int, n: int) -> jax.Array:
        whole_number(f"the first batch is {start!r}", start, 0)
        whole_number(f"the number of batches is {n!r}", n, 1)
        shape = (n, self.order.batch_size, self.source.width)
        made: dict[tuple[int, int], np.ndarray] = {}
        parts = []
        for device, index in self.sharding.addressable_devices_indices_map(shape).items():
            assert index is not None
            low, high, _ = index[1].indices(shape[1])
            parts.append(self.part(device, low, high, start, n, made))
        return jax.make_array_from_single_device_arrays(shape, self.sharding, parts)

    def part(self, device: Any, low: int, high: int, start: int, n: int, made: dict) -> jax.Array:
        """Slots low … high-1 of batches start … start+n-1 on a device; `made` keeps the rows read, for other devices
        with the same slots."""
        if (low, high) not in made:
            made[low, high] = self.rows(low, high, start, n)
        return jax.device_put(made[low, high], device)

    def rows(self, low: int, high: int, start: int, n: int) -> np.ndarray:
        """[n, high-low, M] slots low … high-1 of batches start … start+n-1, on the host."""
        if not self.order.shuffle:
            return self._in_order(start * self.order.batch_size, n)[:, low:high]
        out = self._memory.empty((n, high - low, self.source.width), self.source.dtype)
        b = self.order.lane_slots
        lanes = range(low // b, -(-high // b))
        list(self._threads.map(lambda lane: self._fill(lane, lane * b - low, out, start * b), lanes))
        return out

    def _in_order(self, start: int, n: int) -> np.ndarray:
        """[n,B,M] rows in the order of the source, from row `start` of its endless repetition on."""
        out = self._memory.empty((n * self.order.batch_size, self.source.width), self.source.dtype)

        def copy(low: int, high: int) -> None:
            row = (start + low) % self.source.n_rows
            as_integers(out)[low:high] = as_integers(self.source.read(row, row + high - low))

        cuts, at = [], 0
        while at < len(out):
            row = (start + at) % self.source.n_rows
            size = min(BLOCK_ROWS - row % BLOCK_ROWS, self.source.n_rows - row, len(out) - at)
            cuts.append((at, at + size))
            at += size
        list(self._threads.map(lambda cut: copy(*cut), cuts))
        return out.reshape(n, self.order.batch_size, -1)

    def _fill(self, lane: int, column: int, out: np.ndarray, first: int) -> None:
        """Puts a lane's rows into out[:, column : column + b], or into the part of that range inside `out`."""
        n, slots, b = len(out), out.shape[1], self.order.lane_slots
        out, at = as_integers(out), 0
        for piece in self.order.pieces(lane, first, first + n * b):
            window, done = as_integers(self._window(piece)), 0
            while done < len(piece.take):
                t, slot = divmod(at + done, b)
                m = min(b - slot, len(piece.take) - done)
                low, high = max(column + slot, 0), min(column + slot + m, slots)
                if low < high:
                    take = piece.take[done + low - column - slot : done + high - column - slot]
                    window.take(take, axis=0, out=out[t, low:high], mode="clip")  # "raise" would copy twice
                done += m
            at += len(piece.take)

    def _window(self, piece: Piece) -> np.ndarray:
        lane = piece.key[0]
        if lane not in self._windows or self._windows[lane][0] != piece.key:
            blocks = [self.source.read(a, z) for a, z in piece.ranges]
            self._windows[lane] = piece.key, blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return self._windows[lane][1]

    def sample(self, n: int) -> np.ndarray:
        """The first n rows of the sequence on the host, [n,M], or all rows if there are fewer."""
        n = whole_number(f"the number of rows is {n!r}", n, 1)
        if n >= self.source.n_rows:  # the last batch would reach into the next epoch
            return np.array(self.source.read(0, self.source.n_rows))
        found = self.rows(0, self.order.batch_size, 0, -(-n // self.order.batch_size))
        self._windows.clear()  # this process may not need all of them again
        return found.reshape(-1, self.source.width)[:n]

    def __iter__(self) -> Iterator[jax.Array]:
        with pool(1, "prefetch") as reader:
            ahead = reader.submit(self, self.position, 1)
            while True:
                batch = ahead.result()
                ahead = reader.submit(self, self.position + 1, 1)
                self.position += 1
                yield batch[0]


class ResidentStream(RowStream):
    """The same batches, gathered in device memory. A block of the source is uploaded when it is first needed, and again
    only if the devices cannot hold all blocks. Otherwise only row numbers are uploaded."""

    kind = "resident"

    def __init__(self, source: Rows, order: Order, mesh: Mesh, blocks: int):
        super().__init__(source, order, mesh)
        self._blocks, self._lock = blocks, threading.Lock()
        self._pools: dict[Any, Any] = {}

    def part(self, device: Any, low: int, high: int, start: int, n: int, made: dict) -> jax.Array:
        if (low, high) not in made:
            made[low, high] = self.order.indices(low, high, start, n)
        with self._lock:
            if device not in self._pools:
                self._pools[device] = BlockPool(self.source, device, self._blocks)
            return self._pools[device].gather(made[low, high])


def open_stream(
    source: Rows,
    batch_size: int,
    seed: int,
    mesh: Mesh | None = None,
    *,
    config: StreamConfig | None = None,
    shuffle: bool = True,
) -> RowStream:
    """The stream of batches from a source; without `shuffle`, in the order of the source.

    Raises BadInput on a batch larger than the source, or an impossible configuration.
    """
    config = config or StreamConfig()
    config.check()
    mesh = mesh if mesh is not None else make_mesh()
    check_mesh_axes("stream", mesh)
    batch_size = whole_number(f"batch_size is {batch_size!r}", batch_size, 1)
    seed = whole_number(f"seed is {seed!r}", seed, 0)
    order = Order(source.n_rows, batch_size, seed, window_blocks=config.window_blocks, shuffle=shuffle)
    if config.kind == "disk":
        return RowStream(source, order, mesh)
    local = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    fits, room = pool_blocks(source, order, local, config.device_gb, required=config.kind == "resident")
    if config.kind == "auto" and not fits:
        return RowStream(source, order, mesh)
    return ResidentStream(source, order, mesh, room)


class _Memory:
    """Host memory for batches, reused once nothing refers to it: fresh memory costs as much time as filling it."""

    def __init__(self):
        self._free: list[np.ndarray] = []

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An uninitialised array aligned to 64 bytes, which JAX on CPUs uses without a copy."""
        size = int(np.prod(shape)) * dtype.itemsize
        raw = np.empty(0, np.uint8)
        with contextlib.suppress(IndexError):  # memory of another size is dropped
            while len(raw) != size + 64:
                raw = self._free.pop()  # atomic: other threads take from the list too
        lease = _Lease(raw if len(raw) == size + 64 else np.empty(size + 64, np.uint8))
        weakref.finalize(lease, self._free_again, lease.raw)
        whole = np.asarray(lease)  # every view of it, JAX's too, keeps the lease alive
        start = -whole.ctypes.data % 64
        return whole[start : start + size].view(dtype).reshape(shape)

    def _free_again(self, raw: np.ndarray) -> None:
        self._free.append(raw)


class _Lease:
    def __init__(self, raw: np.ndarray):
        self.raw, self.__array_interface__ = raw, raw.__array_interface__
