"""Rows that are left out, were never written or are all zero: counted before training, kept in input.json."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import tensorstore as ts

from monosem_jax.activations.sources import open_source
from monosem_jax.activations.sources.base import SourceRequest
from monosem_jax.activations.store.foreign import check_rows_finite
from monosem_jax.activations.store.store import open_rows
from monosem_jax.activations.stream.stream import StreamConfig
from monosem_jax.runtime.errors import BadInput

ROWS, WIDTH, CHUNK = 300, 8, 50
X = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)


def zarr2(path) -> str:
    meta = {"shape": [ROWS, WIDTH], "dtype": "<f4", "chunks": [CHUNK, WIDTH]}
    _create("zarr", path, meta)
    os.remove(path / "3.0")
    return str(path)


def zarr3(path) -> str:
    _create("zarr3", path, _meta(CHUNK))
    shutil.rmtree(path / "c" / "3")
    return str(path)


def sharded(path) -> str:
    """The missing chunk lies inside a shard that exists."""
    inner = {"chunk_shape": [CHUNK, WIDTH], "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]}
    codecs = [{"name": "sharding_indexed", "configuration": inner}]
    array = _create("zarr3", path, {**_meta(2 * CHUNK), "codecs": codecs}, write=False)
    for start in (*range(0, 150, CHUNK), *range(200, ROWS, CHUNK)):
        array[start : start + CHUNK].write(X[start : start + CHUNK]).result()
    return str(path)


def _meta(rows: int) -> dict:
    grid = {"name": "regular", "configuration": {"chunk_shape": [rows, WIDTH]}}
    return {"shape": [ROWS, WIDTH], "data_type": "float32", "chunk_grid": grid}


def _create(driver: str, path, meta: dict, write: bool = True):
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}, "metadata": meta}
    array = ts.open(spec, create=True).result()
    if write:
        array.write(X).result()
    return array


@pytest.mark.parametrize("make", [zarr2, zarr3, sharded])
def test_rows_in_chunks_that_do_not_exist_are_refused_and_counted(tmp_path, make):
    source = make(tmp_path / "z")
    with pytest.raises(BadInput, match=f"{CHUNK} of {ROWS} rows lie in chunks .*allow_missing_chunks"):
        open_source(SourceRequest(source, batch_size=8))
    allowed = open_source(SourceRequest(source, batch_size=8, stream=StreamConfig(allow_missing_chunks=True)))
    allowed.check_finite()
    found = allowed.input.record()
    assert (found["rows_in_missing_chunks"], found["zero_rows"]) == (CHUNK, CHUNK)
    assert not open_rows(source, True).read(150, 200).any()


def test_a_whole_zarr_array_is_not_refused(tmp_path):
    _create("zarr3", tmp_path / "z", _meta(CHUNK))
    assert open_source(SourceRequest(str(tmp_path / "z"), batch_size=8)).input.record()["rows_in_missing_chunks"] == 0


def test_rows_of_zeros_are_counted_with_those_at_the_end(tmp_path, capsys):
    half = X.copy()
    half[100:110], half[150:] = 0, 0
    np.save(tmp_path / "x.npy", half)
    source = open_source(SourceRequest(str(tmp_path / "x.npy"), batch_size=8))
    source.check_finite()
    source.input.tell()
    assert source.input.record() == {"equal_sources": 0, "rows_held_out": 30, "zero_rows": 160}
    said = capsys.readouterr().out
    assert "160 of 300 rows (53.3 %) are all zero, the last 150 among them" in said
    assert "the last 30 of 300 rows are held out" in said


def test_an_array_of_nothing_but_zeros_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros_like(X))
    with pytest.raises(BadInput, match=r"x\.npy: all 300 rows are zero"):
        open_source(SourceRequest(str(tmp_path / "x.npy"), batch_size=8)).check_finite()


def test_each_of_several_sources_is_counted_by_itself(tmp_path):
    half = X.copy()
    half[150:] = 0
    for name, rows in {"a": X, "b": half, "c": X}.items():
        np.save(tmp_path / f"{name}.npy", rows)
    source = open_source(SourceRequest(",".join(str(tmp_path / f"{n}.npy") for n in "abc"), batch_size=8))
    source.check_finite()
    found = source.input.record()
    assert (found["zero_rows"], found["source_2.zero_rows"], found["source_3.zero_rows"]) == (0, 150, 0)
    assert found["equal_sources"] == 1


@pytest.mark.parametrize("block", [1, 7, 100, 1000])
def test_zeros_are_counted_whatever_the_blocks_are(tmp_path, block):
    x = X.copy()
    x[[0, 5, 6, 298, 299]] = 0
    x[5, 3] = 1e-45  # not zero, though its square is in fp32
    np.save(tmp_path / "x.npy", x)
    found = check_rows_finite(open_rows(tmp_path / "x.npy"), block)
    assert (found.n_zero, found.n_zero_at_end) == (4, 2)
