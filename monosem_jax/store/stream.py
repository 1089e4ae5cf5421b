"""Batch i of activations as a function of (source, seed, i)."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from monosem_jax.errors import BadInput
from monosem_jax.store.arrays import BLOCK_ROWS, Rows

WINDOW_BLOCKS = 64


class RowStream:
    """Shuffled batches: blocks of the source in random order, `window_blocks` of them at a time permuted row by row.

    Every epoch has a new order and delivers each row once; a batch may span two epochs. Calling it with (start, n)
    gives batches start … start+n-1 as one device array [n,B,M] sharded over `data`, whatever was asked before.
    """

    def __init__(self, source: Rows, batch_size: int, seed: int, mesh: Mesh, *, window_blocks: int = WINDOW_BLOCKS):
        if batch_size > source.n_rows:
            raise BadInput(f"train.batch_size {batch_size} is larger than the store: it has {source.n_rows} rows")
        self._source, self._batch_size, self._seed = source, batch_size, seed
        self._sharding = NamedSharding(mesh, PartitionSpec(None, "data"))
        self._window_blocks = window_blocks
        self._n_blocks = -(-source.n_rows // BLOCK_ROWS)
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._windows: dict[tuple[int, int], np.ndarray] = {}

    def __call__(self, start: int, n: int) -> jax.Array:
        b, m = self._batch_size, self._source.width
        rows = self.rows(start * b, (start + n) * b).reshape(n, b, m)
        if jax.process_count() == 1:
            return jax.device_put(rows, self._sharding)
        return jax.make_array_from_callback(rows.shape, self._sharding, lambda index: rows[index])

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop-1 of the endless shuffled sequence, [stop-start, M]."""
        parts = []
        while start < stop:
            epoch, offset = divmod(start, self._source.n_rows)
            ends = self._epoch(epoch)[1]
            w = int(np.searchsorted(ends, offset, side="right"))
            begin = int(ends[w - 1]) if w else 0
            take = min(stop - start, int(ends[w]) - offset)
            parts.append(self._window(epoch, w)[offset - begin : offset - begin + take])
            start += take
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of blocks in an epoch, and the row count at the end of each of its windows."""
        if epoch not in self._epochs:
            order = np.random.default_rng([self._seed, epoch]).permutation(self._n_blocks)
            sizes = np.full(self._n_blocks, BLOCK_ROWS)
            sizes[-1] = self._source.n_rows - (self._n_blocks - 1) * BLOCK_ROWS
            ends = np.cumsum(np.add.reduceat(sizes[order], np.arange(0, len(order), self._window_blocks)))
            self._epochs = {epoch: (order, ends)}  # one epoch at a time is in use
        return self._epochs[epoch]

    def _window(self, epoch: int, w: int) -> np.ndarray:
        """The permuted rows of a window; the last two are kept, since a block of batches may span them."""
        if (epoch, w) not in self._windows:
            order = self._epoch(epoch)[0][w * self._window_blocks : (w + 1) * self._window_blocks]
            blocks = [
                self._source.read(int(i) * BLOCK_ROWS, min((int(i) + 1) * BLOCK_ROWS, self._source.n_rows))
                for i in order
            ]
            rows = np.concatenate(blocks)
            rows = rows[np.random.default_rng([self._seed, epoch, w, 1]).permutation(len(rows))]
            while len(self._windows) > 1:
                self._windows.pop(next(iter(self._windows)))
            self._windows[epoch, w] = rows
        return self._windows[epoch, w]
