"""Stores as sources: they read back as written; anything that is no source, or is damaged, is refused in one line."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from monosem_jax.activations.rows import RowRange
from monosem_jax.activations.store.store import Store, create_array, find_store, open_array, open_rows, source_identity
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.kvstore import Location
from tests.activations.store.small import (
    BUCKET,
    NAMES,
    ROWS,
    SHARD,
    WIDTH,
    numbered,
    open_writer,
    places,
    values,
    write_store,
)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("store") / "s"
    write_store(path)
    return path


@pytest.fixture
def store(template, tmp_path) -> pathlib.Path:
    return shutil.copytree(template, tmp_path / "s")


def refusal(source, action=open_rows) -> str:
    with pytest.raises(BadInput) as e:
        action(source)
    assert len(str(e.value).splitlines()) == 1
    return str(e.value)


def change(store: pathlib.Path, **keys) -> pathlib.Path:
    manifest = json.loads((store / "store.json").read_text()) | keys
    (store / "store.json").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))
    return store


@pytest.mark.parametrize("start, stop", [
    (0, ROWS), (1000, 4100), (7, 8), (ROWS - 1, ROWS), (8000, 10**6), (ROWS, ROWS), (ROWS + 5, ROWS + 9),
])  # fmt: skip
def test_a_store_reads_as_it_was_written(template, start, stop):
    rows = open_rows(template)
    assert isinstance(rows, Store)
    assert np.array_equal(rows.read(start, stop), values()[start:stop])
    assert np.array_equal(rows.origin(start, stop), places()[start:stop])


def test_a_store_of_a_newer_format_is_refused_with_both_numbers(store):
    assert refusal(change(store, format=4)) == f"{store} has store format 4: this version reads 1 to 3"


def test_a_finished_store_of_the_first_format_is_read(store):
    assert Store(change(store, format=1)).n_rows == ROWS


@pytest.mark.parametrize("key", ["format", "complete", "n_rows", "rows_written", "width", "dtype", "site", "model"])
def test_a_manifest_that_lacks_something_is_refused_with_its_name(store, key):
    line = refusal(change(store, **{key: None}))
    assert ("format None" if key == "format" else f"store.json lacks {key}") in line


@pytest.mark.parametrize("dtype", ["int8", "float64", "", 3, ["float32"]])
def test_a_store_of_an_unknown_type_is_refused(store, dtype):
    assert f"has dtype {dtype}: expected bfloat16, float32, float16" in refusal(change(store, dtype=dtype))


@pytest.mark.parametrize("keys", [{"n_rows": 9e3}, {"rows_written": True}, {"width": "4"}, {"rows_written": -1}])
def test_a_store_whose_sizes_are_no_counts_is_refused(store, keys):
    ((key, value),) = keys.items()
    assert refusal(change(store, **keys)) == f"{store}: store.json has {key} {value!r}: expected a count"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"\x00"])
def test_a_store_with_a_damaged_manifest_is_refused(store, content):
    (store / "store.json").write_bytes(content)
    assert "store.json is not valid JSON" in refusal(store)


@pytest.mark.parametrize("content", ["[]", "3", '"x"', "null"])
def test_a_manifest_that_is_none_is_refused(store, content):
    (store / "store.json").write_text(content)
    assert refusal(store) == f"{store}: store.json is not a manifest"


def test_a_store_without_a_committed_row_is_refused(tmp_path):
    open_writer(tmp_path)
    assert refusal(tmp_path) == f"{tmp_path} is empty: no rows have been committed yet"


def test_a_store_whose_metadata_is_gone_is_refused(store):
    (store / "activations" / "zarr.json").unlink()
    assert "activations is not a zarr v3 array" in refusal(store, lambda s: Store(s).read(0, 1))


@pytest.mark.parametrize("name", ["activations", "origin"])
def test_rows_that_cannot_be_read_are_an_error_that_names_them(store, name):
    read = {"activations": lambda: Store(store).read, "origin": lambda: Store(store).origin}[name]
    (store / name / "c" / "1" / "0").unlink()
    assert len(read()(0, SHARD)) == SHARD
    line = refusal(None, lambda _: read()(2000, 2100))
    assert line.startswith(f"{store}: rows 2000 to 2099 cannot be read: ") and "missing" in line
    shard = store / name / "c" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "Digest mismatch" in refusal(None, lambda _: read()(0, 1))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_nobody_wrote_is_an_error_and_not_zeros(tmp_path, value):
    array = create_array(Location(tmp_path), "x", (4096, 2), "float32", 2048)
    array[:1024].write(np.full((1024, 2), value, np.float32)).result()
    found = open_array(Location(tmp_path), "x")
    assert (found[:1024].read().result() == value).all()
    for rows in (slice(1024, 1025), slice(2048, 2049)):
        with pytest.raises(ValueError, match="missing"):
            found[rows].read().result()


def test_a_store_elsewhere_is_found_by_its_run_directory(store, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"config": {"store": f"file://{store}/"}}))
    found = open_rows(run)
    assert found.n_rows == ROWS and np.array_equal(found.read(5, 9), values()[5:9])
    assert found.run == run and found.path == str(run) and found.location.name == f"file://{store}/"
    assert source_identity(run)["sha256"] == source_identity(store)["sha256"]


def test_a_store_knows_the_run_directory_that_it_lies_in(store):
    assert Store(store).run is None
    (store / "config.json").write_text("{}")
    assert Store(store).run == store
    assert Store(f"file://{store}/").run == store


@pytest.mark.parametrize("config", [
    {}, [], 3, {"config": None}, {"config": []}, {"config": {}}, {"config": {"store": ""}},
    {"config": {"store": "/nowhere/at/all"}}, {"config": {"store": "memory://nothing/"}},
], ids=json.dumps)  # fmt: skip
def test_a_directory_with_a_configuration_but_no_store_is_no_store(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert find_store(tmp_path) is None
    assert "neither a store directory" in refusal(tmp_path)


def test_a_store_in_memory_is_found_by_everyone_in_this_process():
    write_store("memory://tests/arrays/s")
    for name in ("memory://tests/arrays/s", '{"driver": "memory", "path": "tests/arrays/s/"}'):
        found = open_rows(name)
        assert np.array_equal(found.read(0, ROWS), values()) and found.run is None
    assert source_identity("memory://tests/arrays/s")["path"] == "memory://tests/arrays/s"


@pytest.mark.parametrize("make, line", [
    (lambda p: p / "gone", "source {} does not exist"),
    (lambda p: p, "source {} is neither a store directory (with store.json) nor a zarr array, nor"),
    (lambda p: p / "a.csv", "source {} is neither a store directory"),
    (lambda p: "memory://tests/nothing/", "source {} is neither a store directory"),
    (lambda p: "nothing://a/b", "{} is not a location: "),
])  # fmt: skip
def test_what_is_no_source_is_refused(tmp_path, make, line):
    (tmp_path / "a.csv").write_text("1,2")
    source = make(tmp_path)
    assert refusal(source).startswith(line.format(source))


@pytest.mark.parametrize("dtype", NAMES)
def test_a_range_is_the_rows_between_its_bounds_and_no_more(dtype):
    source = numbered(1000)
    source.data = source.data.astype(NAMES[dtype])
    source.dtype = source.data.dtype
    rows = RowRange(source, 100, 300)
    assert (rows.n_rows, rows.width, rows.dtype) == (200, 2, NAMES[dtype])
    assert np.array_equal(rows.read(5, 50), source.data[105:150])
    assert np.array_equal(rows.read(150, 5000), source.data[250:300])
    inner = RowRange(rows, 10, 20)
    assert np.array_equal(inner.read(0, 10), source.data[110:120])


def test_the_identity_of_a_store_is_that_of_its_manifest(store, tmp_path):
    before = source_identity(store)
    assert before["path"] == str(store) and before["file"] == "store.json"
    moved = shutil.copytree(store, tmp_path / "moved")
    assert source_identity(moved)["sha256"] == before["sha256"]
    change(store, site="another")
    assert source_identity(store)["sha256"] != before["sha256"]


def test_an_unfinished_store_is_a_source_of_what_is_there(tmp_path):
    write_store(tmp_path, buckets=1)
    rows = open_rows(tmp_path)
    assert (rows.n_rows, rows.width, rows.dtype) == (BUCKET, WIDTH, np.float32)
    assert rows.read(4000, ROWS).shape == (96, WIDTH) and rows.origin(4000, ROWS).shape == (96, 2)
