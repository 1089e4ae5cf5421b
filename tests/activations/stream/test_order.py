"""The order of rows: every row once per epoch, mixed, and a pure function of (n_rows, batch_size, seed, index)."""

import itertools
import math
import threading
import time
import tracemalloc

import numpy as np
import pytest

from monosem_jax.activations.stream.order import MAX_LANES, Order
from monosem_jax.runtime.rng import stream
from tests.cases import cases

BLOCK = 1024
# (rows, batch size, window_blocks): one row to many blocks, primes, whole blocks, batches longer than the source
SHAPES = [
    (1, 1, 1), (1, 64, 8), (2, 3, 64), (7, 2, 256), (100, 64, 256), (1023, 33, 3), (1024, 1024, 1), (1025, 5, 2),
    (3072, 7, 3), (3073, 10, 64), (7919, 96, 5), (8192, 256, 8), (10_007, 1, 16), (16_384, 64, 2), (16_385, 30, 100),
    (25_000, 500, 24), (40_961, 6, 40), (65_536, 4096, 64), (65_537, 12, 64), (99_991, 9, 7), (131_072, 1000, 256),
    (150_001, 18, 13), (199_999, 4, 256), (200_000, 6400, 300),
]  # fmt: skip
MANY = (70_003, 48, 20)  # 69 blocks, the last of 371 rows: eight lanes of six slots, windows of two blocks


def order(n: int, batch: int, window: int, seed: int = 0, **options) -> Order:
    return Order(n, batch, seed, window_blocks=window, **options)


def batches(o: Order, n: int, start: int = 0) -> np.ndarray:
    return o.indices(0, o.batch_size, start, n)


def by_definition(o: Order, n_batches: int) -> np.ndarray:
    """The first batches, from whole epochs laid out in memory."""
    blocks = [np.arange(a, min(a + BLOCK, o.n_rows)) for a in range(0, o.n_rows, BLOCK)]
    lanes = [[] for _ in range(o.lanes)]
    lengths = np.zeros(o.lanes, int)
    for epoch in range(n_batches * o.batch_size // o.n_rows + 2):
        laid = stream("order.blocks", o.seed, epoch).permutation(len(blocks))
        rows = np.concatenate([blocks[k] for k in laid])
        number = np.concatenate([np.full(len(blocks[k]), i) for i, k in enumerate(laid)])
        at = 0
        for lane, size in enumerate(((epoch + 1) * o.n_rows + np.arange(o.lanes)) // o.lanes - lengths):
            mine, window = rows[at : at + size], (number[at : at + size] - number[at : at + 1]) // o.window
            for w in np.unique(window):
                part = mine[window == w]
                lanes[lane].append(stream("order.window", o.seed, epoch, lane, int(w)).permutation(part))
            at, lengths[lane] = at + size, lengths[lane] + size
    b = o.batch_size // o.lanes
    return np.concatenate([np.concatenate(x)[: n_batches * b].reshape(n_batches, b) for x in lanes], axis=1)


@cases("shape", [*SHAPES, MANY])
def test_batches_are_those_of_the_definition(shape):
    o = order(*shape, seed=3)
    n = min(3 * shape[0] // shape[1] + 2, 300_000 // shape[1])
    assert np.array_equal(batches(o, n), by_definition(o, n))


@cases("shape", SHAPES)
def test_every_row_comes_once_per_epoch(shape):
    n, batch, _ = shape
    epochs = batch // math.gcd(n, batch)
    count = np.bincount(batches(order(*shape), epochs * n // batch).reshape(-1), minlength=n)
    assert (count == epochs).all() and len(count) == n


@cases("shape", [s for s in [*SHAPES, MANY] if s[0] >= s[1]])
def test_no_row_comes_twice_in_the_whole_batches_of_an_epoch(shape):
    n, batch, _ = shape
    seen = batches(order(*shape, seed=1), n // batch).reshape(-1)
    assert len(np.unique(seen)) == len(seen)


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_epochs_and_seeds_have_orders_of_their_own(seed):
    n = MANY[0] // MANY[1]
    o = order(*MANY, seed=seed)
    found = [batches(o, n, e * n) for e in range(3)] + [batches(order(*MANY, seed=s), n) for s in (seed ^ 1, seed ^ 64)]
    for a, b in itertools.combinations(found, 2):
        assert (a == b).mean() < 0.001


def test_lanes_and_windows_are_mixed_by_numbers_of_their_own():
    def pattern(piece):
        return tuple(np.argsort(np.argsort(piece.take)))

    o = order(64 * BLOCK, 512, 8, seed=5)
    patterns = [pattern(p) for lane in range(o.lanes) for p in o.pieces(lane, 0, 64 * BLOCK // o.lanes)]
    assert o.lanes == 8 and len(set(patterns)) == len(patterns) >= 64


def test_batches_do_not_depend_on_how_they_are_asked_for():
    n = 3 * MANY[0] // MANY[1]
    whole, used = batches(order(*MANY), n), order(*MANY)
    rng = np.random.default_rng(0)
    for o in [used] * 30 + [order(*MANY) for _ in range(10)]:
        low, high = np.sort(rng.choice(MANY[1] + 1, 2, replace=False))
        start, stop = np.sort(rng.choice(n + 1, 2, replace=False))
        assert np.array_equal(o.indices(low, high, start, stop - start), whole[start:stop, low:high])


def test_threads_may_ask_for_different_epochs_of_the_same_order():
    per_epoch = MANY[0] // MANY[1]
    o, found = order(*MANY), {}
    expected = {e: batches(order(*MANY), 1, e * per_epoch) for e in range(12)}
    threads = [threading.Thread(target=lambda e=e: found.update({e: batches(o, 1, e * per_epoch)})) for e in expected]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[e], expected[e]) for e in expected)


def test_an_epoch_is_laid_out_once_and_the_last_two_are_remembered(monkeypatch):
    laid = []

    def slowly(name, *numbers):
        if name == "order.blocks":
            laid.append(numbers[1])
            time.sleep(0.02)
        return stream(name, *numbers)

    monkeypatch.setattr("monosem_jax.activations.stream.order.stream", slowly)
    o = order(*MANY)
    epoch = MANY[0] // o.lanes
    for start in (0, epoch - 3, epoch, 2 * epoch - 3, 2 * epoch):
        threads = [threading.Thread(target=lambda n=n, s=start: list(o.pieces(n, s, s + 6))) for n in range(o.lanes)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert laid == [0, 1, 2] and len(o._orders) == 2


def test_the_slots_of_a_lane_are_its_own_sequence_whatever_the_others_hold():
    o, n = order(*MANY), 2 * MANY[0] // MANY[1]
    whole, b = batches(o, n), MANY[1] // o.lanes
    for lane in range(o.lanes):
        pieces = list(order(*MANY).pieces(lane, 0, n * b))
        assert {p.key[0] for p in pieces} == {lane}
        rows = np.concatenate([p.numbers() for p in pieces])
        assert np.array_equal(rows.reshape(n, b), whole[:, lane * b : (lane + 1) * b])


@cases("shape", [s for s in [*SHAPES, MANY] if s[0] > s[1]])
def test_a_window_is_of_whole_blocks_and_no_more_are_mixed_at_a_time_than_asked_for(shape):
    n, batch, window = shape
    o = order(*shape)
    assert batch % o.lanes == 0 and o.lanes * o.window <= max(window, 1) and o.lanes <= MAX_LANES
    for lane in range(o.lanes):
        for p in o.pieces(lane, 0, min(n // o.lanes, 50_000)):
            assert sum(z - a for a, z in p.ranges) <= o.window * BLOCK
            assert all(0 <= a < z <= n for a, z in p.ranges)


def test_a_lane_has_many_blocks_so_that_few_are_read_for_two_of_them():
    for n in (1, 8 * BLOCK - 1, 100 * BLOCK, 3000 * BLOCK):
        o = order(n, 2**12, 10_000)
        assert o.lanes == 1 or n / BLOCK / o.lanes >= 8


@cases("batch", [8192, 4160, 1000, 251, 509, 61, 1])
@cases("window", [1, 7, 50, 10**6])
def test_the_most_lanes_are_taken_that_divide_the_batch(batch, window):
    most = min(MAX_LANES, window)
    assert order(3000 * BLOCK, batch, window).lanes == max(d for d in range(1, most + 1) if batch % d == 0)


def test_a_batch_draws_from_as_many_blocks_as_are_mixed():
    o = order(512 * BLOCK, 4096, 64)
    for i in range(0, 128, 8):
        assert 64 <= len(np.unique(batches(o, 1, i) // BLOCK)) <= 128


def test_rows_that_follow_each_other_rarely_come_from_the_same_neighbourhood():
    seen = batches(order(512 * BLOCK, 1, 32), 64 * BLOCK).reshape(-1)
    assert (np.abs(np.diff(seen)) < BLOCK).mean() < 3 / 32  # evenly mixed: one pair in 32 is of the same block


def test_a_window_is_mixed_evenly():
    piece = next(order(512 * BLOCK, 1, 32).pieces(0, 0, 32 * BLOCK))
    distance = np.abs(np.diff(piece.take)).mean() / (len(piece.take) / 3)
    assert len(piece.take) == 32 * BLOCK and abs(distance - 1) < 0.02


def test_without_shuffling_rows_come_as_they_lie():
    found = batches(order(5000, 64, 3, shuffle=False), 200)
    assert np.array_equal(found.reshape(-1), np.arange(200 * 64) % 5000)


def test_ten_billion_rows_need_little_time_and_memory():
    tracemalloc.start()
    begin = time.process_time()
    o = order(10_000_000_000, 8192, 256)
    found = [batches(o, 1, i) for i in (0, 1_220_703, 5_000_000)]  # the second spans two epochs
    seconds, peak = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(f.min() >= 0 and f.max() < 10_000_000_000 for f in found) and len(np.unique(found[0])) == 8192
    assert seconds < 4 and peak < 400e6  # two epochs' orders of 10 million blocks, a second each at most
