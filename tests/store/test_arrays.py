"""Sources of activations: arrays and stores round-trip, damage is noticed, and anything else is refused by one line."""

import io
import json
import os
import pathlib

import ml_dtypes
import numpy as np
import pytest

from monosem_jax.errors import BadInput
from monosem_jax.store.arrays import NpyRows, RowRange, Store, open_rows, source_identity
from monosem_jax.store.writer import StoreWriter

DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
ROWS, WIDTH = 5000, 8
TOKENS = np.arange(40).reshape(4, 10)


def values(dtype=np.float32, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, WIDTH)).astype(dtype)


def save(path: pathlib.Path, array: np.ndarray) -> pathlib.Path:
    np.save(path, array)
    return path


def make_store(path: pathlib.Path, dtype: str = "bfloat16", commit: int = ROWS) -> pathlib.Path:
    """A store of ROWS rows of which `commit` are committed, in buckets of 4096."""
    path.mkdir()
    manifest = {"n_rows": ROWS, "width": WIDTH, "dtype": dtype, "site": "mlp_hidden.0"}
    writer = StoreWriter(path, manifest, TOKENS, shard_rows=2048, bucket_rows=4096)
    rows = values(np.dtype(getattr(ml_dtypes, dtype, dtype)))
    origin = np.stack([np.arange(ROWS), np.arange(ROWS) % 10], axis=1).astype(np.uint32)
    for start in range(0, commit, 4096):
        part = slice(start, min(start + 4096, ROWS))
        writer.write_bucket(rows[part], origin[part], norm_sum=1.0, square_sum=1.0)
    writer.commit()
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    return make_store(tmp_path_factory.mktemp("store") / "s")


def refusal(source: str | pathlib.Path) -> str:
    with pytest.raises(BadInput) as e:
        open_rows(source)
    assert len(str(e.value).splitlines()) == 1
    return str(e.value)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_reads_as_it_was_saved(tmp_path, dtype):
    rows = open_rows(save(tmp_path / "a.npy", values(dtype)))
    assert (rows.n_rows, rows.width, rows.dtype) == (ROWS, WIDTH, np.dtype(dtype))
    assert np.array_equal(rows.read(7, 2050), values(dtype)[7:2050])


def test_an_array_in_fortran_order_reads_row_by_row(tmp_path):
    rows = open_rows(save(tmp_path / "a.npy", np.asfortranarray(values())))
    assert np.array_equal(rows.read(3, 9), values()[3:9])


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 4), (4, 0), ()])
def test_an_array_that_is_not_rows_of_activations_is_refused_with_its_shape(tmp_path, shape):
    assert f"has shape {shape}" in refusal(save(tmp_path / "a.npy", np.zeros(shape, np.float32)))


@pytest.mark.parametrize("dtype", [np.int32, np.float64, np.uint16, np.complex64, bool])
def test_an_array_of_another_type_is_refused_with_its_type(tmp_path, dtype):
    line = refusal(save(tmp_path / "a.npy", np.zeros((3, 4), dtype)))
    assert f"has dtype {np.dtype(dtype)}: expected bfloat16, float32, float16" in line


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_a_pickled_array_is_refused_and_not_executed(tmp_path):
    np.save(tmp_path / "a.npy", np.asarray([[Trap(tmp_path / "sprung")]], object), allow_pickle=True)
    assert "not a readable .npy array" in refusal(tmp_path / "a.npy")
    assert not (tmp_path / "sprung").exists()


def test_an_array_cut_short_is_refused_wherever_it_is_cut(tmp_path):
    whole = save(tmp_path / "whole.npy", values(rows=3)).read_bytes()
    for size in range(len(whole)):
        (tmp_path / "a.npy").write_bytes(whole[:size])
        assert "not a readable .npy array" in refusal(tmp_path / "a.npy")


def test_a_damaged_header_raises_nothing_but_a_refusal(tmp_path):
    whole = save(tmp_path / "whole.npy", values(rows=3)).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(1000):
        data = bytearray(whole)
        data[rng.integers(128)] = rng.integers(256)
        (tmp_path / "a.npy").write_bytes(data)
        try:
            NpyRows(tmp_path / "a.npy").read(0, 1)
        except BadInput as e:
            assert len(str(e).splitlines()) == 1


def test_an_archive_of_arrays_under_the_name_of_an_array_is_refused(tmp_path):
    archive = io.BytesIO()
    np.savez(archive, a=values())
    (tmp_path / "a.npy").write_bytes(archive.getvalue())
    assert "not a readable .npy array" in refusal(tmp_path / "a.npy")


def test_a_source_that_does_not_exist_is_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "a.npy")


def test_a_directory_that_is_no_store_is_refused(tmp_path):
    assert "neither a store directory" in refusal(tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    assert "neither a store directory" in refusal(tmp_path / "a.csv")


def test_a_store_of_a_newer_format_is_refused_with_both_numbers(tmp_path):
    path = make_store(tmp_path / "s")
    manifest = json.loads((path / "store.json").read_text())
    (path / "store.json").write_text(json.dumps({**manifest, "format": 2}))
    assert "store format 2: this version reads 1" in refusal(path)


@pytest.mark.parametrize("content", ["", "{", "\xff"])
def test_a_store_with_a_damaged_manifest_is_refused(tmp_path, content):
    path = make_store(tmp_path / "s", commit=0)
    (path / "store.json").write_text(content, encoding="latin-1")
    assert "store.json is not valid JSON" in refusal(path)


def test_a_store_without_a_committed_row_is_refused(tmp_path):
    assert "no rows have been committed" in refusal(make_store(tmp_path / "s", commit=0))


def test_a_store_whose_metadata_is_gone_is_refused(tmp_path):
    path = make_store(tmp_path / "s")
    (path / "activations" / "zarr.json").unlink()
    assert "activations is not a zarr v3 array" in refusal(path)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_store_reads_as_it_was_written(tmp_path, dtype):
    rows = open_rows(make_store(tmp_path / "s", dtype))
    expected = values(rows.dtype)
    assert (rows.n_rows, rows.width, rows.dtype) == (ROWS, WIDTH, expected.dtype)
    assert np.array_equal(rows.read(0, ROWS), expected)
    assert np.array_equal(rows.read(1000, 4100), expected[1000:4100])
    assert np.array_equal(rows.origin(10, 20)[:, 0], np.arange(10, 20))
    assert np.array_equal(rows.tokens(), TOKENS)


def test_only_committed_rows_of_a_store_are_seen(tmp_path):
    rows = Store(make_store(tmp_path / "s", commit=4096))
    assert rows.n_rows == 4096
    assert rows.read(4000, ROWS).shape == rows.origin(4000, ROWS).repeat(4, axis=1).shape == (96, WIDTH)


def test_activations_are_a_zarr_v3_array_of_shards_with_checksummed_chunks_of_1024_rows(store):
    metadata = json.loads((store / "activations" / "zarr.json").read_text())
    assert metadata["zarr_format"] == 3 and metadata["node_type"] == "array"
    assert metadata["shape"] == [ROWS, WIDTH] and metadata["data_type"] == "bfloat16"
    assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [2048, WIDTH]
    (sharding,) = metadata["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"]["chunk_shape"] == [1024, WIDTH]
    for codecs in ("codecs", "index_codecs"):
        assert [c["name"] for c in sharding["configuration"][codecs]] == ["bytes", "crc32c"]


@pytest.mark.parametrize("place", [0, 1000, 16_384, 16_387, 20_000, 32_800, -1])
def test_a_flipped_byte_in_a_shard_makes_reading_fail(tmp_path, place):
    shard = make_store(tmp_path / "s") / "activations" / "c" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[place] ^= 0x10
    shard.write_bytes(data)
    with pytest.raises(ValueError, match=r"DATA_LOSS|[Dd]igest"):
        Store(tmp_path / "s").read(0, 2048)


def test_a_missing_shard_makes_reading_fail(tmp_path):
    path = make_store(tmp_path / "s")
    (path / "activations" / "c" / "1" / "0").unlink()
    assert np.array_equal(Store(path).read(0, 2048), values(ml_dtypes.bfloat16)[:2048])
    with pytest.raises(ValueError, match="missing"):
        Store(path).read(2000, 2100)


def test_a_range_is_the_rows_between_its_bounds(tmp_path):
    rows = RowRange(open_rows(save(tmp_path / "a.npy", values())), 100, 300)
    assert (rows.n_rows, rows.width, rows.dtype) == (200, WIDTH, np.float32)
    assert np.array_equal(rows.read(5, 50), values()[105:150])


def test_a_range_never_reads_past_its_end(tmp_path):
    rows = RowRange(open_rows(save(tmp_path / "a.npy", values())), 100, 300)
    assert np.array_equal(rows.read(150, 5000), values()[250:300])


@pytest.mark.parametrize("place", [(0, 0), (60_000, 3), (-1, -1)])
def test_the_identity_of_an_array_changes_with_its_data(tmp_path, place):
    data = values(rows=65_536)  # two mebibytes
    before = source_identity(save(tmp_path / "a.npy", data))["sha256"]
    data[place] += 1
    assert source_identity(save(tmp_path / "a.npy", data))["sha256"] != before


def test_the_identity_of_an_array_changes_with_its_length(tmp_path):
    data = np.zeros((1 << 20, 2), np.float32)
    before = source_identity(save(tmp_path / "a.npy", data))["sha256"]
    assert source_identity(save(tmp_path / "a.npy", data[:-1]))["sha256"] != before


def test_the_identity_of_a_source_does_not_depend_on_where_it_lies(tmp_path):
    a, b = (save(tmp_path / name, values()) for name in ("a.npy", "b.npy"))
    assert source_identity(a)["sha256"] == source_identity(b)["sha256"]


def test_the_identity_of_a_store_changes_with_its_manifest(tmp_path):
    path = make_store(tmp_path / "s")
    before = source_identity(path)["sha256"]
    (path / "store.json").write_text((path / "store.json").read_text().replace('"site"', '"sight"'))
    assert source_identity(path)["sha256"] != before
