"""The stream of batches: every row once per epoch, a new order each time, and a function of (source, seed, index)."""

import itertools

import numpy as np
import pytest
from jax.sharding import Mesh

from monosem_jax.errors import BadInput
from monosem_jax.store.stream import RowStream
from tests.conftest import mesh_of

ROWS, BATCH = 10_000, 64  # ten blocks, the last of 784 rows


class Numbers:
    """A source whose row i is [i, -i], and that remembers what is read of it."""

    width, dtype = 2, np.dtype(np.float32)

    def __init__(self, n_rows: int = ROWS):
        self.n_rows, self.reads = n_rows, []

    def read(self, start: int, stop: int) -> np.ndarray:
        assert 0 <= start < stop <= self.n_rows
        self.reads.append((start, stop))
        i = np.arange(start, stop, dtype=np.float32)
        return np.stack([i, -i], axis=1)


def stream(
    n_rows: int = ROWS, batch: int = BATCH, seed: int = 0, window: int = 3, where: Mesh | None = None
) -> RowStream:
    return RowStream(Numbers(n_rows), batch, seed, where or mesh_of(1, 1), window_blocks=window)


def numbers(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows)
    assert np.array_equal(rows[..., 0], -rows[..., 1])
    return rows[..., 0].astype(int)


@pytest.mark.parametrize("n_rows", [1, 100, 1024, 1025, 3072, 3073, ROWS])
@pytest.mark.parametrize("window", [1, 3, 64])
def test_every_epoch_delivers_every_row_once(n_rows, window):
    source = stream(n_rows, batch=1, window=window)
    for epoch in range(3):
        seen = numbers(source.rows(epoch * n_rows, (epoch + 1) * n_rows))
        assert np.array_equal(np.sort(seen), np.arange(n_rows))


@pytest.mark.parametrize("n_rows", [100, ROWS])
def test_every_epoch_has_an_order_of_its_own(n_rows):
    source = stream(n_rows)
    orders = {tuple(numbers(source.rows(e * n_rows, (e + 1) * n_rows))) for e in range(4)}
    assert len(orders) == 4


def test_every_epoch_groups_blocks_anew():
    first, second = (set(numbers(stream().rows(e * ROWS, e * ROWS + 2000)) // 1024) for e in (0, 1))
    assert first != second


def test_two_seeds_have_no_order_in_common():
    orders = [{tuple(numbers(stream(seed=s).rows(e * ROWS, e * ROWS + 50))) for e in range(4)} for s in (0, 1)]
    assert not orders[0] & orders[1]


def test_rows_do_not_depend_on_how_they_are_asked_for():
    whole = stream().rows(0, 2 * ROWS + 500)
    rng = np.random.default_rng(0)
    for _ in range(5):
        cuts = [0, *np.sort(rng.choice(np.arange(1, len(whole)), 20, replace=False)), len(whole)]
        source = stream()
        parts = [source.rows(int(a), int(b)) for a, b in itertools.pairwise(cuts)]
        assert np.array_equal(np.concatenate(parts), whole)


def test_rows_can_be_asked_for_in_any_order():
    whole, used = stream().rows(0, 2 * ROWS), stream()
    rng = np.random.default_rng(1)
    for start in rng.integers(0, 2 * ROWS - 2500, 25):
        assert np.array_equal(used.rows(start, start + 2500), whole[start : start + 2500])


def test_a_fresh_stream_goes_on_where_another_stopped():
    whole = stream().rows(0, 12_000)
    assert np.array_equal(stream().rows(11_000, 12_000), whole[11_000:])


def test_a_batch_may_span_two_epochs():
    source = stream(n_rows=1500, batch=1000)
    batch = numbers(source(1, 1))[0]
    expected = np.concatenate([numbers(source.rows(1000, 1500)), numbers(source.rows(1500, 2000))])
    assert np.array_equal(batch, expected)
    assert len(set(batch[:500])) == len(set(batch[500:])) == 500


def test_a_block_of_batches_is_the_rows_one_after_another():
    block = stream()(3, 5)
    assert block.shape == (5, BATCH, 2) and block.dtype == np.float32
    assert np.array_equal(np.asarray(block).reshape(-1, 2), stream().rows(3 * BATCH, 8 * BATCH))


def test_rows_keep_the_dtype_of_the_source():
    assert stream().rows(0, 10).dtype == np.float32


def test_a_batch_larger_than_the_store_is_refused():
    with pytest.raises(BadInput, match="batch_size 101 is larger than the store: it has 100 rows"):
        stream(n_rows=100, batch=101)


def test_a_batch_as_large_as_the_store_is_allowed():
    assert sorted(numbers(stream(n_rows=100, batch=100)(5, 1))[0]) == list(range(100))


@pytest.mark.parametrize("data, model", [(8, 1), (4, 2), (2, 4)])
def test_a_block_sharded_over_eight_devices_is_the_block_of_one(data, model):
    whole = np.asarray(stream()(150, 10))
    block = stream(where=mesh_of(data, model))(150, 10)
    assert len(block.addressable_shards) == 8
    assert np.array_equal(np.asarray(block), whole)
    for shard in block.addressable_shards:
        assert shard.data.shape == (10, BATCH // data, 2)
        assert np.array_equal(np.asarray(shard.data), whole[shard.index])


def test_rows_that_follow_each_other_rarely_come_from_the_same_neighbourhood():
    seen = numbers(stream(n_rows=64 * 1024, window=32).rows(0, 64 * 1024))
    near = np.abs(np.diff(seen)) < 1024
    assert near.mean() < 3 / 32  # with rows of 32 blocks evenly mixed, about one pair in 16 to 32


def test_a_window_is_mixed_evenly():
    seen = numbers(stream(n_rows=64 * 1024, window=32).rows(0, 32 * 1024))
    rank = np.argsort(np.argsort(seen))
    assert abs(np.abs(np.diff(rank)).mean() / (len(rank) / 3) - 1) < 0.02


def test_a_pass_in_order_reads_every_block_once_per_epoch():
    source = stream()
    for i in range(0, 2 * ROWS, 500):
        source.rows(i, i + 500)
    reads = source._source.reads
    assert len(reads) == 2 * 10 and len(set(reads)) == 10
    assert all(start % 1024 == 0 for start, _ in reads)


def test_no_more_than_two_windows_are_kept_in_memory():
    source = stream()
    for i in range(0, 2 * ROWS, 500):
        source.rows(i, i + 500)
        assert len(source._windows) <= 2
