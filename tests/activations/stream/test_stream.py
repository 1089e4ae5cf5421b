"""The stream of batches: the same bits from disk and from device memory, on every mesh, from any position."""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from monosem_jax.activations.store.store import Store
from monosem_jax.activations.stream.order import Order
from monosem_jax.activations.stream.stream import StreamConfig, _Memory, open_stream
from monosem_jax.runtime.errors import BadInput
from tests.activations.store.small import Source, any_bits, bits, numbered, write_store
from tests.conftest import mesh_of

ROWS, BATCH, WINDOW, WIDTH = 70_003, 48, 20, 3  # 69 blocks, the last short: eight lanes, windows of two blocks
PER_EPOCH = ROWS // BATCH
KINDS = ("disk", "resident")
ORDER = Order(ROWS, BATCH, 7, window_blocks=WINDOW)
DATA = {dtype: any_bits(dtype, (ROWS, WIDTH)) for dtype in ("float32", "bfloat16", "float16")}


def stream(source=None, kind="disk", mesh=(1, 1), gb: float = 0.0, window: int = WINDOW, **options):
    config = StreamConfig(kind, window_blocks=window, device_gb=gb)
    source = source or numbered(ROWS)
    return open_stream(source, options.pop("batch", BATCH), 7, mesh_of(*mesh), config=config, **options)


def expected(data: np.ndarray, start: int, n: int) -> np.ndarray:
    return bits(data[ORDER.indices(0, BATCH, start, n)])


def blocks_of(rows: np.ndarray) -> set[int]:
    return set((rows // 1024).reshape(-1).tolist())


@pytest.mark.parametrize(
    ("mesh", "dtype"),
    [((1, 1), "float32"), ((1, 1), "bfloat16"), ((8, 1), "float16"), ((1, 8), "float32"), ((2, 4), "bfloat16")],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_the_same_to_the_bit_from_disk_and_device_memory_on_every_mesh(kind, dtype, mesh):
    found = stream(Source(DATA[dtype]), kind, mesh)
    assert found.kind == kind
    for start, n in ((0, 3), (PER_EPOCH - 1, 3), (700, 1), (2, 2)):
        batches = found(start, n)
        assert batches.shape == (n, BATCH, WIDTH) and batches.dtype == DATA[dtype].dtype
        whole = expected(DATA[dtype], start, n)
        for shard in batches.addressable_shards:
            assert shard.data.shape == (n, BATCH // mesh[0], WIDTH)
            assert np.array_equal(bits(shard.data), whole[shard.index])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gb", [0.0, 0.0006])
def test_a_fresh_stream_goes_on_anywhere_as_if_it_had_never_stopped(kind, gb):
    data = DATA["bfloat16"]
    uninterrupted, at = stream(Source(data), kind, gb=gb), 0
    stops = np.sort(np.random.default_rng(0).choice(2 * PER_EPOCH, 20, replace=False))
    for stop in stops.tolist():
        resumed = stream(Source(data), kind, gb=gb)(stop, 2)
        assert np.array_equal(bits(resumed), expected(data, stop, 2))
        while at < stop:  # in strides of a dispatch
            n = min(100, stop - at)
            assert np.array_equal(bits(uninterrupted(at, n)), expected(data, at, n))
            at += n
        assert np.array_equal(bits(uninterrupted(stop, 2)), bits(resumed))


@pytest.mark.parametrize("kind", KINDS)
def test_batches_may_be_asked_for_in_any_order(kind):
    data = DATA["float16"]
    used = stream(Source(data), kind, mesh=(8, 1))
    for start in np.random.default_rng(1).integers(0, 3 * PER_EPOCH, 10).tolist():
        assert np.array_equal(bits(used(start, 2)), expected(data, start, 2))


@pytest.mark.parametrize("lanes", [(0, 1), (3, 5), (7, 8), (0, 8)])
def test_only_what_the_slots_need_is_read(lanes):
    low, high = (lane * BATCH // 8 for lane in lanes)
    source = numbered(ROWS)
    found = stream(source).rows(low, high, 0, 40)
    assert np.array_equal(found[..., 0], ORDER.indices(low, high, 0, 40))
    pieces = [p for lane in range(*lanes) for p in ORDER.pieces(lane, 0, 40 * BATCH // 8)]
    assert sorted(source.reads) == sorted(r for p in pieces for r in p.ranges)


@pytest.mark.parametrize("low, high", [(0, 1), (5, 7), (1, 17), (44, 48)])
def test_slots_that_are_not_whole_lanes_are_the_same_slots(low, high):
    found = stream().rows(low, high, 1400, 70)
    assert np.array_equal(found[..., 0], ORDER.indices(low, high, 1400, 70))


def test_devices_with_the_same_slots_share_one_reading(monkeypatch):
    source, calls = numbered(ROWS), []
    found = stream(source, mesh=(2, 4))
    monkeypatch.setattr(found, "rows", lambda *a: calls.append(a[:2]) or type(found).rows(found, *a))
    found(0, 3)
    assert sorted(calls) == [(0, 24), (24, 48)] and len(source.reads) == len(set(source.reads))


def test_a_pass_in_order_reads_every_row_once_and_few_blocks_twice():
    source = numbered(ROWS)
    found = stream(source)
    for start in range(0, PER_EPOCH, 50):
        found(start, min(50, PER_EPOCH - start))
    count = np.zeros(ROWS, int)
    for a, z in source.reads:
        count[a:z] += 1
    assert count.max() == 1 and count.sum() >= ROWS - 8 * BATCH
    blocks = [b for a, z in source.reads for b in range(a // 1024, -(-z // 1024))]
    assert len(blocks) <= 69 + 7


def test_no_more_rows_are_kept_on_the_host_than_are_mixed():
    class Watched(Source):
        def read(self, start, stop):
            kept.append(sum(len(rows) for _, rows in found._windows.values()))
            return super().read(start, stop)

    kept, source = [], Watched(numbered(ROWS).data)
    found = stream(source)
    for start in range(0, 2 * PER_EPOCH, 60):
        found(start, 60)
    assert 4 * 1024 < max(kept) <= WINDOW * 1024


@pytest.mark.parametrize("kind", KINDS)
def test_iterating_goes_on_from_the_position(kind):
    source = stream(kind=kind, mesh=(8, 1))
    source.position = PER_EPOCH - 1
    taken = []
    for batch in itertools.islice(source, 3):
        taken.append(batch)
        assert source.position == PER_EPOCH - 1 + len(taken)
        assert batch.shape == (BATCH, 2) and len(batch.addressable_shards) == 8
    whole = expected(numbered(ROWS).data, PER_EPOCH - 1, 3)
    assert np.array_equal(bits(np.stack(taken)), whole)
    assert np.array_equal(bits(next(iter(source))), expected(numbered(ROWS).data, PER_EPOCH + 2, 1)[0])


def test_a_batch_may_span_two_epochs_and_be_as_large_as_the_store():
    batches = np.asarray(stream(numbered(100), batch=64)(0, 25))[..., 0].astype(int)
    assert (np.bincount(batches.reshape(-1)) == 16).all()
    assert sorted(np.asarray(stream(numbered(100), batch=100)(5, 1))[0, :, 0]) == list(range(100))


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_larger_than_the_store_is_refused(kind):
    with pytest.raises(BadInput, match=r"^train.batch_size 101 is larger than the store: it has 100 rows$"):
        stream(numbered(100), kind, batch=101)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mesh", [(1, 1), (8, 1)], ids=str)
def test_without_shuffling_rows_come_as_they_lie_again_and_again(kind, mesh):
    data = any_bits("bfloat16", (2500, WIDTH))
    found = stream(Source(data), kind, mesh, shuffle=False)
    for start, n in ((0, 3), (51, 2), (104, 60)):
        rows = data[np.arange(start * BATCH, (start + n) * BATCH) % 2500]
        assert np.array_equal(bits(found(start, n)), bits(rows).reshape(n, BATCH, WIDTH))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, BATCH, BATCH + 1, 1000])
def test_a_sample_is_the_beginning_of_the_sequence_and_changes_nothing(kind, n):
    source = stream(kind=kind, mesh=(8, 1))
    first = expected(numbered(ROWS).data, 0, -(-n // BATCH)).reshape(-1, 2)
    assert np.array_equal(bits(source.sample(n)), first[:n])
    assert source.position == 0 and not source._windows
    assert np.array_equal(bits(source(0, 1))[0], expected(numbered(ROWS).data, 0, 1)[0])


@pytest.mark.parametrize("n_rows, n", [(100, 100), (20_000, 20_000), (20_000, 10**9)])
def test_a_sample_of_everything_holds_every_row_once(n_rows, n):
    found = stream(numbered(n_rows), batch=64).sample(n)
    assert np.array_equal(np.sort(found[:, 0]), np.arange(n_rows))


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_that_fails_once_can_be_asked_again(kind):
    class Moody(Source):
        def read(self, start, stop):
            if len(self.reads) == 9:
                self.reads.append((0, 0))
                raise OSError("not now")
            return super().read(start, stop)

    found = stream(Moody(DATA["float32"]), kind)
    with pytest.raises(OSError, match="not now"):
        found(0, 20)
    assert np.array_equal(bits(found(0, 20)), expected(DATA["float32"], 0, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_several_threads_may_ask_at_the_same_time(kind):
    found, starts = stream(Source(DATA["bfloat16"]), kind), range(0, 900, 30)
    with ThreadPoolExecutor(4) as pool:
        ahead = [pool.submit(lambda start: bits(found(start, 30)), start) for start in starts]
        for start, batches in zip(starts, ahead, strict=True):
            assert np.array_equal(batches.result(), expected(DATA["bfloat16"], start, 30))


def test_threads_that_want_memory_at_the_same_time_get_memory_of_their_own():
    memory, interval = _Memory(), sys.getswitchinterval()

    def work(k):
        for _ in range(1000):
            mine = memory.empty((64,), np.dtype(np.int64))
            mine[:] = k
            assert (mine.copy() == k).all() and (mine == k).all()
            del mine

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("dtype", DATA)
def test_a_store_streams_what_it_holds(tmp_path, dtype):
    rows = any_bits(dtype, (9000, 4))
    rows[~np.isfinite(rows.astype(np.float32))] = 0
    manifest = {"n_rows": 9000, "width": 4, "dtype": dtype, "site": "", "model": ""}
    write_store(tmp_path / "s", rows, manifest)
    order = Order(9000, 64, 3, window_blocks=256)
    for kind in KINDS:
        found = Store(tmp_path / "s").stream(64, 3, config=StreamConfig(kind))
        assert found.sharding.mesh.shape["data"] == len(jax.devices()) == 8
        assert np.array_equal(bits(found(139, 3)), bits(rows[order.indices(0, 64, 139, 3)]))


@pytest.mark.parametrize("gb, kind", [(0.0, "resident"), (0.000_8, "disk"), (0.000_9, "resident"), (1e-6, "disk")])
def test_by_itself_a_stream_is_resident_where_the_whole_source_fits(gb, kind):
    data = DATA["float32"]  # 69 blocks of 12,288 bytes
    found = stream(Source(data), "auto", gb=gb)
    assert found.kind == kind
    assert np.array_equal(bits(found(5, 2)), expected(data, 5, 2))


@pytest.mark.parametrize("options, line", [
    ({"kind": "ram"}, "stream.kind is 'ram': expected auto, disk, resident"),
    ({"window_blocks": 0}, "stream.window_blocks is 0: at least 1 is needed"),
    ({"device_gb": -1.0}, "stream.device_gb is -1.0: expected a size in GB, or 0"),
])  # fmt: skip
def test_an_impossible_configuration_is_refused(options, line):
    with pytest.raises(BadInput) as e:
        open_stream(numbered(100), 10, 0, mesh_of(1, 1), config=StreamConfig(**options))
    assert str(e.value) == line
