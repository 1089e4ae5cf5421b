"""Blocks in device memory: gathered rows are right even if few blocks fit, and no block is uploaded without need."""

from collections import OrderedDict

import jax
import numpy as np
import pytest

from monosem_jax.activations.stream import device_cache as resident
from monosem_jax.activations.stream.device_cache import BlockPool, pool_blocks
from monosem_jax.activations.stream.order import Order
from monosem_jax.activations.stream.stream import StreamConfig, open_stream
from monosem_jax.runtime.errors import BadInput
from tests.activations.store.small import Source, any_bits, bits, numbered
from tests.conftest import mesh_of

ROWS = 70_003  # 69 blocks, the last short
DATA = any_bits("bfloat16", (ROWS, 2))
BLOCK_GB = 1024 * 2 * 2 / 1e9


def pool(source, blocks: int) -> BlockPool:
    return BlockPool(source, jax.devices()[0], blocks)


def uploads(source) -> list[int]:
    return [start // 1024 for start, _ in source.reads]


@pytest.mark.parametrize("blocks, shape", [
    (1, (1, 1)), (1, (1, 50)), (2, (7, 30)), (5, (1, 50)), (16, (7, 30)), (17, (3, 2000)), (40, (3, 2000)),
    (69, (3, 2000)),
])  # fmt: skip
def test_rows_are_gathered_right_however_few_blocks_fit(blocks, shape):
    rng, found = np.random.default_rng(0), pool(Source(DATA), blocks)
    for _ in range(3):
        rows = rng.integers(0, ROWS, shape)
        gathered = found.gather(rows)
        assert gathered.devices() == {jax.devices()[0]}
        assert np.array_equal(bits(gathered), bits(DATA[rows]))


def test_the_rows_of_the_last_block_and_the_ends_of_blocks_are_gathered_right():
    rows = np.array([[0, 1023, 1024, 68 * 1024 - 1, 68 * 1024, ROWS - 1]])
    assert np.array_equal(bits(pool(Source(DATA), 10).gather(rows)), bits(DATA[rows]))


def test_every_block_is_uploaded_once_when_all_fit():
    source, rng = Source(DATA), np.random.default_rng(1)
    found = pool(source, 69)
    for _ in range(40):
        found.gather(rng.integers(0, ROWS, (1, 20)))
    assert sorted(uploads(source)) == list(range(69))
    assert max(z - a for a, z in source.reads) == 1024 and (68 * 1024, ROWS) in source.reads


@pytest.mark.parametrize("seed", range(5))
def test_the_least_recently_used_blocks_make_room(seed):
    rng, source, size = np.random.default_rng(seed), Source(DATA), 7
    found, cache, expected = pool(source, size), OrderedDict(), []
    for _ in range(60):
        needed = np.unique(rng.integers(0, 14, rng.integers(1, 6)))
        found.gather(needed[None] * 1024 + 5)
        for block in needed.tolist():  # those that are there count as used before others are put
            if block in cache:
                cache.move_to_end(block)
        for block in needed.tolist():
            if block not in cache:
                if len(cache) == size:
                    cache.popitem(last=False)
                cache[block] = None
                expected.append(block)
        assert sorted(found._slots) == sorted(cache)
    assert uploads(source) == expected


def test_blocks_that_are_needed_are_never_the_ones_to_make_room():
    source = Source(DATA)
    found = pool(source, 4)
    found.gather(np.array([[0, 1024, 2048, 3072]]))
    rows = np.array([[0, 9 * 1024, 1024, 8 * 1024]])  # the two oldest, and two that are not there
    assert np.array_equal(bits(found.gather(rows)), bits(DATA[rows]))
    assert uploads(source) == [0, 1, 2, 3, 8, 9]


def test_what_could_not_be_read_is_read_again():
    class Moody(Source):
        fail = True

        def read(self, start, stop):
            if self.fail and start == 3 * 1024:
                raise OSError("not now")
            return super().read(start, stop)

    source = Moody(DATA)
    found, rows = pool(source, 6), np.arange(6)[None] * 1024 + 7
    with pytest.raises(OSError, match="not now"):
        found.gather(rows)
    source.fail = False
    assert np.array_equal(bits(found.gather(rows)), bits(DATA[rows]))


def test_one_program_serves_uploads_of_every_length():
    source = Source(any_bits("float16", (5000, 5)))
    found, before = pool(source, 5), resident._put._cache_size()
    for rows in ([[0]], [[1024, 2048]], [[3072, 4096]]):
        found.gather(np.array(rows))
    assert resident._put._cache_size() == before + 1


@pytest.mark.parametrize("gb", [BLOCK_GB * n for n in (48.5, 60.5, 69.5)])
@pytest.mark.parametrize("mesh", [(1, 1), (8, 1)], ids=str)
def test_a_window_on_the_source_gives_the_same_batches(gb, mesh):
    source = Source(DATA)
    found = open_stream(source, 48, 7, mesh_of(*mesh), config=StreamConfig("resident", 20, gb))
    order = Order(ROWS, 48, 7, window_blocks=20)
    for start in range(0, 3 * ROWS // 48, 120):
        assert np.array_equal(bits(found(start, 120)), bits(DATA[order.indices(0, 48, start, 120)]))
    if mesh == (1, 1):
        assert (len(source.reads) == 69) == (gb > BLOCK_GB * 69)


def test_a_device_uploads_only_the_blocks_that_its_slots_need():
    source, order = Source(DATA), Order(ROWS, 48, 7, window_blocks=20)
    open_stream(source, 48, 7, mesh_of(8, 1), config=StreamConfig("resident", 20))(0, 30)
    needed = [np.unique(order.indices(low, low + 6, 0, 30) // 1024) for low in range(0, 48, 6)]
    assert sorted(uploads(source)) == sorted(np.concatenate(needed).tolist())
    assert len(source.reads) < 69


@pytest.mark.parametrize("batch, window", [(8191, 40), (10_007, 8), (16_384, 64)])
def test_a_batch_that_needs_more_blocks_than_fit_is_gathered_in_parts(batch, window):
    order = Order(ROWS, batch, 7, window_blocks=window)
    least = order.lanes * (order.window + 2) + resident.UPLOAD_BLOCKS
    gb = BLOCK_GB * (least + 0.5)
    found = open_stream(Source(DATA), batch, 7, mesh_of(1, 1), config=StreamConfig("resident", window, gb))
    for i in range(9):
        assert np.array_equal(bits(found(i, 1)), bits(DATA[order.indices(0, batch, i, 1)]))


@pytest.mark.parametrize("blocks, fits", [(69, True), (68, False), (100, True)])
def test_the_whole_source_fits_or_as_much_as_there_is_room_for(blocks, fits):
    order = Order(ROWS, 48, 7, window_blocks=20)
    found = pool_blocks(Source(DATA), order, jax.devices(), BLOCK_GB * (blocks + 0.5), required=True)
    assert found == (fits, min(blocks, 69))


def test_a_device_that_cannot_hold_what_is_mixed_is_refused():
    for blocks, gb in ((47, BLOCK_GB * 47.5), (0, BLOCK_GB / 2)):
        with pytest.raises(BadInput) as e:
            open_stream(numbered(ROWS), 48, 7, mesh_of(1, 1), config=StreamConfig("resident", 20, 2 * gb))
        held = f"stream.device_gb {2 * gb} holds {blocks} blocks of 0.00819 MB"
        assert str(e.value) == f"{held}: at least 48 are needed for window_blocks 16"


def test_a_source_smaller_than_what_could_be_mixed_needs_only_itself():
    source = Source(DATA[:3000])
    found = open_stream(source, 48, 7, mesh_of(1, 1), config=StreamConfig("resident", 256, BLOCK_GB * 3.5))
    assert np.asarray(found(0, 62)).shape == (62, 48, 2)
    assert len(source.reads) == 3


@pytest.mark.parametrize("stats, blocks", [
    ({"bytes_limit": 1000 * 4096}, 400), ({"bytes_limit": 4096}, 40), (None, int(0.4 * 16e9 // 4096)),
    ({}, int(0.4 * 16e9 // 4096)),
])  # fmt: skip
def test_by_default_two_fifths_of_an_accelerator_are_used_and_at_least_what_is_mixed(stats, blocks):
    class Accelerator:
        platform = "gpu"

        def memory_stats(self):
            return stats

    source = Source(any_bits("bfloat16", (1024, 2)))
    source.n_rows = 10**12
    order = Order(source.n_rows, 8, 0, window_blocks=8)
    fits, found = pool_blocks(source, order, [Accelerator()], 0.0, required=True)
    assert not fits and found == blocks  # 8 lanes of a window of one block and two more, and 16 on their way
