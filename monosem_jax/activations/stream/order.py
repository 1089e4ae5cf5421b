"""The shuffled sequence of batches, as arithmetic on (n_rows, batch_size, seed), without data.

The slots of a batch are divided into lanes, and every lane has its own sequence. So a process that needs some of the
slots reads only their lanes, and a batch is the same for any number of processes. In an epoch the blocks of the source
are laid out in a random order, and each lane gets an equal stretch of them (to within one row). It goes through its
stretch in windows of whole blocks, and the rows of each window are permuted.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator

import numpy as np

from monosem_jax.runtime.rng import stream

BLOCK_ROWS = 1024  # rows of an inner chunk, the smallest unit that is read
MAX_LANES = 64


@dataclasses.dataclass(frozen=True)
class Piece:
    """A stretch of a lane: the rows `take` of a window. The window consists of the source's row `ranges`, in order."""

    key: tuple[int, int, int]  # lane, epoch, window
    ranges: tuple[tuple[int, int], ...]
    take: np.ndarray

    def numbers(self) -> np.ndarray:
        """The row numbers in the source."""
        return np.concatenate([np.arange(a, b) for a, b in self.ranges])[self.take]


class Order:
    """The endless sequence. Lane l holds the slots l·b … (l+1)·b - 1 of every batch, b = batch_size / lanes.

    `window_blocks` is the number of blocks mixed at a time over all lanes. Without `shuffle`, rows come in the order of
    the source.
    """

    def __init__(self, n_rows: int, batch_size: int, seed: int, *, window_blocks: int, shuffle: bool = True):
        self.n_rows, self.batch_size, self.seed, self.shuffle = n_rows, batch_size, seed, shuffle
        self._n_blocks = -(-n_rows // BLOCK_ROWS)
        # A block shared by two lanes is read twice: with eight blocks per lane, that is at most an eighth more reading.
        most = max(min(MAX_LANES, window_blocks, self._n_blocks // 8), 1) if shuffle else 1
        self.lanes = max(d for d in range(1, most + 1) if batch_size % d == 0)
        self.lane_slots = batch_size // self.lanes
        self.window = max(window_blocks // self.lanes, 1)
        self._orders: dict[int, tuple[np.ndarray, int]] = {}
        self._lock = threading.Lock()  # lanes are read by several threads
        self._ends: dict[int, np.ndarray] = {}

    def pieces(self, lane: int, start: int, stop: int) -> Iterator[Piece]:
        """The rows start … stop-1 of a lane's sequence."""
        while start < stop:
            epoch = ((start + 1) * self.lanes - 1 - lane) // self.n_rows
            begin, (first, last) = self._lane_start(lane, epoch), self._stretch(lane, epoch)
            piece, left = self._piece(lane, epoch, first, last, first + start - begin, stop - start)
            yield piece
            start = stop - left

    def indices(self, low: int, high: int, start: int, n: int) -> np.ndarray:
        """[n, high-low] the source's row numbers in slots low … high-1 of batches start … start+n-1."""
        b = self.lane_slots
        found = np.empty((n, high - low), np.int64)
        for lane in range(low // b, -(-high // b)):
            rows = np.concatenate([p.numbers() for p in self.pieces(lane, start * b, (start + n) * b)])
            a, z = max(lane * b, low), min((lane + 1) * b, high)
            found[:, a - low : z - low] = rows.reshape(n, b)[:, a - lane * b : z - lane * b]
        return found

    def _lane_start(self, lane: int, epoch: int) -> int:
        # Rounded down with an offset per lane, so that the sum over lanes is exactly epoch · n_rows.
        return (epoch * self.n_rows + lane) // self.lanes

    def _stretch(self, lane: int, epoch: int) -> tuple[int, int]:
        """The first and last position of a lane's part of an epoch's layout, the last exclusive."""
        ends = self._ends.get(epoch)
        if ends is None:
            sizes = [self._lane_start(j, epoch + 1) - self._lane_start(j, epoch) for j in range(self.lanes)]
            ends = np.cumsum([0, *sizes])
            self._ends = {**dict(list(self._ends.items())[-1:]), epoch: ends}
        return int(ends[lane]), int(ends[lane + 1])

    def _piece(self, lane: int, epoch: int, first: int, last: int, at: int, wanted: int) -> tuple[Piece, int]:
        """(the piece that begins at position `at` of the epoch's layout, in a lane that has first … last-1 of it, the
        number of `wanted` rows that are still missing)."""
        order, short = self._layout(epoch)
        block = self._block_of(at, short)
        first_block = self._block_of(first, short)
        w = (block - first_block) // self.window
        blocks = range(first_block + w * self.window, min(first_block + (w + 1) * self.window, self._n_blocks))
        low = max(self._start_of(blocks[0], short), first)
        high = min(self._start_of(blocks[-1] + 1, short), last)
        take = min(wanted, high - at)
        where = np.arange(high - low)
        if self.shuffle:
            where = stream("order.window", self.seed, epoch, lane, w).permutation(high - low)
        ranges: list[tuple[int, int]] = []
        for k in blocks:
            a, z = max(self._start_of(k, short), low), min(self._start_of(k + 1, short), high)
            if a < z:
                row = int(order[k]) * BLOCK_ROWS - self._start_of(k, short)
                if ranges and ranges[-1][1] == row + a:
                    ranges[-1] = (ranges[-1][0], row + z)
                else:
                    ranges.append((row + a, row + z))
        piece = Piece((lane, epoch, w), tuple(ranges), where[at - low : at - low + take])
        return piece, wanted - take

    def _layout(self, epoch: int) -> tuple[np.ndarray, int]:
        """(the order of the blocks in an epoch, the position in it of the source's last block, which may be short)."""
        with self._lock:
            found = self._orders.get(epoch)
            if found is None:
                order = np.arange(self._n_blocks)
                if self.shuffle:
                    order = stream("order.blocks", self.seed, epoch).permutation(self._n_blocks)
                found = order, int(np.flatnonzero(order == self._n_blocks - 1)[0])
                recent = dict(list(self._orders.items())[-1:])  # lanes may be in two successive epochs
                self._orders = {**recent, epoch: found}
            return found

    def _start_of(self, k: int, short: int) -> int:
        """Where the k-th block of an epoch's layout begins."""
        missing = self._n_blocks * BLOCK_ROWS - self.n_rows
        return k * BLOCK_ROWS - (missing if k > short else 0)

    def _block_of(self, at: int, short: int) -> int:
        if at < self._start_of(short + 1, short):
            return min(at // BLOCK_ROWS, short)
        missing = self._n_blocks * BLOCK_ROWS - self.n_rows
        return (at + missing) // BLOCK_ROWS
