"""What a harvest refuses: impossible values, too little memory or disk, and rows that are not finite."""

import dataclasses
import pathlib

import numpy as np
import pytest

import monosem_jax.activations.producers
from monosem_jax.activations.harvest import HarvestConfig, fill, store_bytes
from monosem_jax.activations.producers import ArrayProducer
from monosem_jax.activations.store.store import Store
from monosem_jax.runtime.errors import BadInput, Stopped
from monosem_jax.runtime.kvstore import Location
from monosem_jax.runtime.signals import SignalFlag

ROWS, WIDTH, SEED = 5000, 8, 3
CONFIG = HarvestConfig(dtype="float32", bucket_rows=2048, shard_rows=1024)
PARENTS = {"site": "", "context_length": 0, "model": "", "corpus_sha256": "c"}
VALUES = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
BAD = np.asarray([0, 1, 40, *range(1000, 1040), 2047, 2048, 3333, ROWS - 1])


class Array:
    """A source of rows; `reads` are the ranges that were asked for."""

    dtype = np.dtype(np.float32)

    def __init__(self, values: np.ndarray = VALUES):
        self.values, self.reads = values, []
        self.n_rows, self.width = values.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        self.reads.append((start, stop))
        return self.values[start:stop]


def damaged(bad=BAD) -> np.ndarray:
    """VALUES with a NaN or an infinity in each of the bad rows."""
    values = VALUES.copy()
    for i, row in enumerate(bad):
        values[row, i % WIDTH] = (np.nan, np.inf, -np.inf)[i % 3]
    return values


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(monosem_jax.activations.producers, "ARRAY_BATCH", 100)


def run(path: pathlib.Path, values: np.ndarray = VALUES, *, stop=None, advance=lambda n: None, **changes) -> Store:
    config = dataclasses.replace(CONFIG, **changes)
    stop, made = stop or SignalFlag(), ArrayProducer(Array(values), config.dtype)
    fill(Location(path), made, PARENTS, config=config, seed=SEED, stop=stop, advance=advance)
    return Store(path)


def contents(path: pathlib.Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def assert_holds(store: Store, values: np.ndarray, numbers: np.ndarray) -> None:
    """The store has just these rows of the values, each with its number."""
    origin = store.origin(0, store.n_rows)
    assert store.n_rows == store.manifest["n_rows"] == len(numbers) and store.manifest["complete"]
    assert np.array_equal(np.sort(origin[:, 0]), numbers) and not origin[:, 1].any()
    assert np.array_equal(store.read(0, store.n_rows), values[origin[:, 0]])


REFUSED = {
    "rows_per_context is 0: at least 1": {"rows_per_context": 0},
    "batch_contexts is 0: at least 1": {"batch_contexts": 0},
    "shard_rows is 0: at least 1": {"shard_rows": 0},
    "bucket_rows -1 and n_rows 0 must not be negative": {"bucket_rows": -1},
    "n_rows -6 must not be negative": {"n_rows": -6},
    "dtype is 'int8': expected bfloat16, float32, float16": {"dtype": "int8"},
    "memory_gb is 0: expected a positive number": {"memory_gb": 0},
    "memory_gb is nan: expected a positive number": {"memory_gb": float("nan")},
    "memory_gb is inf: expected a positive number": {"memory_gb": float("inf")},
    "bucket_rows 1000 must be a multiple of harvest.shard_rows 1000, and that of 1024": {"bucket_rows": 1000},
    "bucket_rows 3072 must be a multiple of harvest.shard_rows 2048": {"bucket_rows": 3072, "shard_rows": 2048},
}


@pytest.mark.parametrize("message", REFUSED)
@pytest.mark.parametrize("skip", [False, True])
def test_impossible_values_are_refused_by_name_before_a_row_is_made(tmp_path, message, skip):
    config, array = dataclasses.replace(CONFIG, skip_nonfinite=skip, **REFUSED[message]), Array()
    with pytest.raises(BadInput, match=message):
        config.check()
        fill(Location(tmp_path), ArrayProducer(array, "float32"), PARENTS, config=config, seed=0, stop=SignalFlag())
    assert not array.reads and not contents(tmp_path)


def test_the_number_of_contexts_is_that_of_the_rows_or_all():
    config = HarvestConfig(rows_per_context=6)
    for n_rows, contexts in [(0, 500), (6, 1), (605, 100), (3000, 500)]:
        assert dataclasses.replace(config, n_rows=n_rows).count_contexts(500) == contexts
    for n_rows in (5, 3006):
        with pytest.raises(BadInput, match=f"n_rows is {n_rows}: expected 6 to 3000, .* each of 500 usable contexts"):
            dataclasses.replace(config, n_rows=n_rows).count_contexts(500)


def buckets(n_rows: int, width: int, **changes) -> tuple[int, int]:
    return HarvestConfig(**changes).buckets(n_rows, width)


def test_a_store_that_fits_into_memory_is_one_bucket():
    assert buckets(5_000_000, 128) == (77 * 65_536, 65_536)
    assert buckets(3000, 8) == (3072, 3072)  # and a shard no larger than it
    assert buckets(1, 8) == (1024, 1024)


@pytest.mark.parametrize("gigabytes", [3.0, 4.0, 37.0])
@pytest.mark.parametrize("width, dtype, size", [(512, "bfloat16", 2), (128, "float32", 4)])
def test_a_larger_store_has_buckets_of_whole_shards_that_fit_twice_into_memory(gigabytes, width, dtype, size):
    bucket, shard = buckets(10**9, width, memory_gb=gigabytes, dtype=dtype)
    row = width * size + 16  # its origin and its square too
    assert shard == 65_536 and bucket % shard == 0 and bucket >= 10**6
    assert 0 <= gigabytes * 1e9 - (2 * bucket + 4 * shard) * row < 2 * shard * row  # as many shards as do


def test_memory_for_less_than_a_million_rows_is_refused_with_what_would_do():
    with pytest.raises(BadInput, match=r"memory_gb 4\.0 holds buckets of 0 rows of width 50000: at least 1000000") as e:
        buckets(10**9, 50_000)
    needed = float(str(e.value).split("which take ")[1].split(" GB")[0])
    assert buckets(10**9, 50_000, memory_gb=needed)[0] >= 10**6
    with pytest.raises(BadInput):
        buckets(10**9, 50_000, memory_gb=needed - 0.01)


def test_a_store_of_fewer_rows_need_not_mix_a_million():
    with pytest.raises(BadInput, match=r"at least 20000 are needed to mix rows, which take 24\.58 GB") as e:
        buckets(20_000, 100_000, memory_gb=4)
    assert "bucket_rows" in str(e.value)
    assert buckets(20_000, 100_000, memory_gb=24.58) == (20_480, 20_480)


def test_buckets_that_are_asked_for_need_no_memory_and_no_million():
    assert buckets(10**9, 10**6, bucket_rows=2048) == (2048, 2048)
    assert buckets(100, 8, bucket_rows=4096, shard_rows=1024) == (4096, 1024)


def test_a_disk_that_is_too_small_is_refused_with_both_figures_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(Location, "free_bytes", lambda self: 123_456)
    with pytest.raises(BadInput, match=r"the store takes 0.0002048 GB more, but the disk of .* has 0.0001235 GB"):
        run(tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_disk_that_just_holds_the_store_will_do(tmp_path, monkeypatch):
    size = store_bytes(ROWS, WIDTH, "float32", 0, 0)
    assert size == 5 * 1024 * (WIDTH * 4 + 8)
    for free in (size, None):  # None: nobody knows
        monkeypatch.setattr(Location, "free_bytes", lambda self, free=free: free)
        store = run(tmp_path / f"s{free}")
    arrays = sum(p.stat().st_size for p in tmp_path.glob("sNone/*/c/*/*"))
    assert size <= arrays < size + 5 * 2 * 100 and store.n_rows == ROWS


def test_tokens_count_for_the_disk():
    assert store_bytes(1024, 8, "bfloat16", 2000, 16) == 1024 * (8 * 2 + 8) + 2048 * 16 * 4


def test_what_is_on_the_disk_needs_no_room_again(tmp_path, monkeypatch):
    stop = SignalFlag()
    stop.requested = "SIGTERM"
    with pytest.raises(Stopped):
        run(tmp_path / "s", stop=stop)
    assert not contents(tmp_path / "s").keys() & {"activations/c/0/0"}
    stop = SignalFlag()
    with pytest.raises(Stopped):
        run(tmp_path / "s", stop=stop, advance=lambda n: setattr(stop, "requested", "SIGTERM" if n else ""))
    there = sum(p.stat().st_size for p in (tmp_path / "s").glob("*/**/*") if p.is_file() and ".parts" not in p.parts)
    left = store_bytes(ROWS, WIDTH, "float32", 0, 0) - there
    assert Store(tmp_path / "s").n_rows == 2048 and 0 < left < 130_000
    monkeypatch.setattr(Location, "free_bytes", lambda self: left - 1)
    with pytest.raises(BadInput, match="GB more, but the disk of"):
        run(tmp_path / "s")
    monkeypatch.setattr(Location, "free_bytes", lambda self: left)
    assert run(tmp_path / "s").n_rows == ROWS


def test_rows_that_are_not_finite_are_refused_with_their_count_and_the_first_of_them(tmp_path):
    with pytest.raises(BadInput, match=r"are not finite: 44 of rows 0 to 2047, first at row 0 .*--skip_nonfinite"):
        run(tmp_path / "s", damaged())
    with pytest.raises(BadInput, match="not finite: 2 of rows 2048 to 4095, first at row 2345"):
        run(tmp_path / "t", damaged([2345, 4000]))
    assert Store(tmp_path / "t").n_rows == 2048  # what came before is there


def test_values_too_large_for_the_dtype_are_refused(tmp_path):
    with pytest.raises(BadInput, match="not finite: 5000 of rows 0 to 4999, first at row 0"):
        run(tmp_path / "s", VALUES + 70_000, dtype="float16", bucket_rows=8192)


def test_the_refusal_names_the_site(tmp_path):
    made = ArrayProducer(Array(damaged()), "float32")
    with pytest.raises(BadInput, match=r"activations at mlp_out\.3 are not finite"):
        fill(Location(tmp_path), made, PARENTS | {"site": "mlp_out.3"}, config=CONFIG, seed=0, stop=SignalFlag())


def test_skipping_gives_just_the_finite_rows_and_says_how_many_were_left_out(tmp_path, capsys):
    store = run(tmp_path / "s", damaged(), skip_nonfinite=True)
    assert_holds(store, damaged(), np.setdiff1d(np.arange(ROWS), BAD))
    assert capsys.readouterr().out == f"{len(BAD)} rows are not finite, first at row 0: left out\n"
    mean_square = np.square(np.delete(VALUES, BAD, axis=0).astype(np.float64)).mean()
    assert store.manifest["mean_square"] == pytest.approx(mean_square, rel=1e-6)


def test_skipping_where_everything_is_finite_changes_nothing(tmp_path, capsys):
    run(tmp_path / "s", skip_nonfinite=True)
    assert_holds(run(tmp_path / "t"), VALUES, np.arange(ROWS))
    assert contents(tmp_path / "s") == contents(tmp_path / "t") and not capsys.readouterr().out


@pytest.mark.parametrize("call", [1, 20, 21, 30, 51])
def test_skipping_that_dies_ends_with_the_same_bytes(tmp_path, call):
    calls = iter(range(100))

    def advance(n):
        if next(calls) == call:
            raise RuntimeError("died")

    with pytest.raises(RuntimeError, match="died"):
        run(tmp_path / "s", damaged(), skip_nonfinite=True, advance=advance)
    run(tmp_path / "s", damaged(), skip_nonfinite=True)
    run(tmp_path / "t", damaged(), skip_nonfinite=True)
    assert contents(tmp_path / "s") == contents(tmp_path / "t")


def test_nothing_but_rows_that_are_not_finite_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(BadInput, match="all 5000 rows are not finite: nothing is left to harvest"):
        run(tmp_path / "s", np.full_like(VALUES, np.nan), skip_nonfinite=True)
    assert not (tmp_path / "s").exists()


def test_a_signal_ends_the_search_for_rows_that_are_not_finite(tmp_path):
    stop, array = SignalFlag(), Array()
    stop.requested = "SIGTERM"
    config = dataclasses.replace(CONFIG, skip_nonfinite=True)
    with pytest.raises(Stopped, match="SIGTERM"):
        fill(Location(tmp_path), ArrayProducer(array, "float32"), PARENTS, config=config, seed=0, stop=stop)
    assert len(array.reads) == 1
