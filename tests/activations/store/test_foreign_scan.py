"""The scan of an array: figures equal NumPy's in float64, every row is read once, few blocks are in memory."""

import os
import threading
import time
import tracemalloc
import warnings

import ml_dtypes
import numpy as np
import pytest

from monosem_jax.activations.store import foreign
from monosem_jax.activations.store.foreign import NpyRows, check_rows_finite

DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
ROWS, WIDTH = 1000, 24


class Given:
    """Rows of an array in memory, with a record of what was read."""

    def __init__(self, array: np.ndarray):
        self.array, self.dtype, (self.n_rows, self.width) = array, array.dtype, array.shape
        self.reads, self.reading, self.most = [], 0, 0
        self._lock = threading.Lock()

    def read(self, start: int, stop: int) -> np.ndarray:
        with self._lock:
            self.reads.append((start, stop))
            self.reading += 1
            self.most = max(self.most, self.reading)
        time.sleep(0.001 * (start % 3))  # blocks are done out of order
        with self._lock:
            self.reading -= 1
        return self.array[start:stop]


def values(dtype=np.float32, rows: int = ROWS) -> np.ndarray:
    """Rows of very different sizes, some as large or as small as the type allows."""
    rng = np.random.default_rng(0)
    largest = float(ml_dtypes.finfo(dtype).max)
    smallest = float(ml_dtypes.finfo(dtype).smallest_subnormal)
    x = rng.normal(size=(rows, WIDTH)) * np.exp(rng.normal(size=(rows, 1)))
    x[::7] = rng.integers(-5, 5, size=x[::7].shape) * smallest
    x[5::50, 3] = largest if dtype != np.float32 else 1e3
    x[6::50] = 0
    return x.astype(dtype)


def check(found: foreign.FiniteCheck, array: np.ndarray) -> None:
    """Compares a scan with NumPy's figures in double precision."""
    x = array.astype(np.float64)
    finite = np.isfinite(x).all(axis=1)
    bad = np.argwhere(~np.isfinite(x))
    assert (found.n_rows, found.n_nonfinite) == (len(x), (~finite).sum())
    assert found.first_nonfinite == (tuple(bad[0].tolist()) if len(bad) else None)
    assert found.nonfinite.dtype == np.int64 and found.nonfinite.tolist() == np.flatnonzero(~finite).tolist()
    if finite.any():
        np.testing.assert_allclose(found.mean_square, np.square(x[finite]).mean(), rtol=1e-13)
        np.testing.assert_allclose(found.mean_norm, np.linalg.norm(x[finite], axis=1).mean(), rtol=1e-13)
    else:
        assert np.isnan([found.mean_square, found.mean_norm]).all()


@pytest.mark.parametrize("block_rows", [1, 7, 250, 999, 1000, 8192])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_scan_gives_the_figures_of_numpy_whatever_the_blocks(dtype, block_rows):
    check(check_rows_finite(Given(values(dtype)), block_rows), values(dtype))


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_are_not_finite_are_found_and_left_out_of_the_means(dtype, bad):
    array = values(dtype)
    for row, column in [(123, 20), (123, 22), (124, 0), (600, 5), (999, 23), (998, 0)]:
        array[row, column] = bad
    array[700] = bad
    found = check_rows_finite(Given(array), 100)
    assert found.first_nonfinite == (123, 20) and found.nonfinite.tolist() == [123, 124, 600, 700, 998, 999]
    check(found, array)


@pytest.mark.parametrize("row", [0, 99, 100, 999])
def test_a_single_row_that_is_not_finite_is_found_wherever_it_lies(row):
    array = values()
    array[row, 7] = np.inf
    found = check_rows_finite(Given(array), 100)
    assert found.first_nonfinite == (row, 7)
    check(found, array)


def test_infinities_that_would_cancel_are_found():
    array = values()
    array[3, :2] = np.inf, -np.inf
    check(check_rows_finite(Given(array)), array)


def test_an_array_without_a_finite_row_has_no_means():
    check(check_rows_finite(Given(np.full((50, 4), np.nan, np.float32)), 8), np.full((50, 4), np.nan, np.float32))


def test_the_largest_finite_values_are_finite():
    array = np.full((50, 4096), np.finfo(np.float32).max, np.float32)
    found = check_rows_finite(Given(array), 8)
    assert found.n_nonfinite == 0
    check(found, array)


def test_the_smallest_values_count():
    array = np.full((50, 8), np.finfo(np.float32).smallest_subnormal, np.float32)
    check(check_rows_finite(Given(array), 8), array)
    assert check_rows_finite(Given(array), 8).mean_square > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_pattern_is_scanned_without_a_warning(dtype):
    if np.dtype(dtype).itemsize == 2:
        array = np.arange(1 << 16, dtype=np.uint16).view(dtype).reshape(-1, 16)
    else:
        array = np.random.default_rng(0).integers(1 << 32, size=(4096, 8), dtype=np.uint32)
        array[:, 0] |= np.where(np.arange(4096) % 5 == 0, 0x7F800001, 0).astype(
            np.uint32
        )  # NaN, half of them signalling
        array = array.view(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = check_rows_finite(Given(array), 100)
    with np.errstate(invalid="ignore"):
        check(found, array)


def test_an_array_in_fortran_order_is_scanned_right(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(values()))
    check(check_rows_finite(NpyRows(tmp_path / "a.npy"), 64), values())


def test_every_row_is_read_once_and_progress_comes_in_order():
    rows, steps = Given(values()), []
    check_rows_finite(rows, 7, steps.append)
    assert sorted(rows.reads) == [(i, i + 7) for i in range(0, ROWS, 7)]
    assert steps == [7] * 142 + [6]
    assert min(2, os.cpu_count()) <= rows.most <= foreign.SCAN_THREADS


def test_reading_does_not_run_far_ahead_of_progress():
    rows, seen = Given(values()), []

    def advance(n: int) -> None:
        if not seen:
            time.sleep(0.5)  # long enough to read everything
        seen.append(len(rows.reads))

    check_rows_finite(rows, 7, advance)
    assert seen[0] <= 64 and seen[-1] == 143


def test_a_scan_is_the_same_to_the_last_bit_each_time():
    found = {(s.mean_square, s.mean_norm) for s in (check_rows_finite(Given(values()), 10) for _ in range(5))}
    assert len(found) == 1


def test_a_read_that_fails_ends_the_scan_with_its_error():
    class Failing(Given):
        def read(self, start, stop):
            if start == 30:
                raise OSError("gone")
            return super().read(start, stop)

    rows = Failing(values(rows=1000))
    with pytest.raises(OSError, match="gone"):
        check_rows_finite(rows, 10)
    assert len(rows.reads) < 64  # of 100


def test_a_scan_keeps_a_few_blocks_in_memory(tmp_path):
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", ml_dtypes.bfloat16, (1 << 17, 256))
    rows = NpyRows(tmp_path / "a.npy")
    tracemalloc.start()
    try:
        check_rows_finite(rows, 1024)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20  # of 64 MiB
    finally:
        tracemalloc.stop()
