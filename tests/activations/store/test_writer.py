"""Writing a store: the same bytes from any number of processes and after any death, and no row visible too early."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from monosem_jax.activations.store import store as arrays
from monosem_jax.activations.store.store import FORMAT, Store, create_array, open_array
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.kvstore import Location
from tests.activations.store.small import (
    BUCKET,
    CONVERTED,
    MANIFEST,
    NAMES,
    ROWS,
    SHARD,
    TOKENS,
    WIDTH,
    bits,
    content,
    open_writer,
    places,
    sums,
    values,
    write_store,
    write_together,
    write_tokens,
)


def test_a_store_is_its_manifest_and_the_shards_of_its_arrays(whole):
    shards = [f"{name}/c/{i}/0" for name in ("activations", "origin") for i in range(5)]
    metadata = [f"{name}/zarr.json" for name in ("activations", "origin", "tokens")]
    assert sorted(whole) == sorted(["store.json", "tokens/c/0/0", *shards, *metadata])


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_any_number_of_processes_write_the_same_bytes(tmp_path, whole, n):
    write_together(tmp_path, n)
    assert content(tmp_path) == whole


@pytest.mark.parametrize("n, order", [(2, (1, 0)), (4, (3, 1, 2, 0)), (4, (2, 0, 3, 1))])
def test_processes_may_be_as_slow_as_they_like(tmp_path, whole, n, order):
    writers = [open_writer(tmp_path, process=(p, n)) for p in range(n)]
    for p in order:
        for bucket, a, z in writers[p].todo:
            writers[p].write(bucket, values()[a:z], places()[a:z], **sums(values()[a:z]))
        writers[p].wait()
    for writer in writers:
        assert writer.finish(lambda: pytest.fail("everything is there"))["rows_written"] == ROWS
        writer.close()
    assert content(tmp_path) == whole


def test_buckets_are_divided_among_the_processes_in_turn(tmp_path):
    todo = [open_writer(tmp_path, process=(p, 2)).todo for p in (0, 1)]
    assert todo == [[(0, 0, BUCKET), (2, 2 * BUCKET, ROWS)], [(1, BUCKET, 2 * BUCKET)]]


def test_processes_wait_for_each_other_before_and_after_the_store_is_begun(tmp_path):
    happened = []

    def barrier(name):
        happened.append((name, sorted(content(tmp_path))))

    open_writer(tmp_path, process=(0, 2), barrier=barrier, prepare=write_tokens)
    (seen, before), (prepared, after) = happened
    assert (seen, before) == ("store: seen", []) and prepared == "store: prepared"
    assert "tokens/c/0/0" in after and "origin/zarr.json" in after and "store.json" not in after
    assert (tmp_path / "store.json").exists()


def test_only_the_first_process_begins_the_manifest_and_commits(tmp_path):
    write_store(tmp_path, process=(1, 2), buckets=1)
    assert not (tmp_path / "store.json").exists()
    writer = write_store(tmp_path, process=(0, 2), buckets=0)
    writer.commit()
    assert json.loads((tmp_path / "store.json").read_text())["rows_written"] == 0


def test_another_process_does_not_commit_what_the_first_has_made(tmp_path, monkeypatch):
    first, second = (open_writer(tmp_path, process=(p, 2)) for p in (0, 1))
    monkeypatch.setattr(first, "commit", lambda: None)  # it was killed just before
    (bucket, a, z), *_ = first.todo
    first.write(bucket, values()[a:z], places()[a:z], **sums(values()[a:z]))
    first.wait()
    before = content(tmp_path)
    second.commit()
    assert content(tmp_path) == before and json.loads(before["store.json"])["rows_written"] == 0
    for writer in (first, second):
        writer.close()


def test_rows_become_visible_in_order_and_without_gaps(tmp_path):
    seen = []
    open_writer(tmp_path)
    for p in (2, 1, 0):
        write_store(tmp_path, process=(p, 3), buckets=1)
        seen.append(json.loads((tmp_path / "store.json").read_text())["rows_written"])
    assert seen == [0, 0, ROWS]


@pytest.mark.parametrize("buckets, rows", [(1, BUCKET), (2, 2 * BUCKET), (3, ROWS)])
def test_a_reader_sees_exactly_the_committed_rows(tmp_path, buckets, rows):
    write_store(tmp_path, buckets=buckets)
    store = Store(tmp_path)
    assert store.n_rows == rows and store.manifest["complete"] == (rows == ROWS)
    assert np.array_equal(store.read(0, 10 * ROWS), values()[:rows])
    assert np.array_equal(store.origin(0, 10 * ROWS), places()[:rows])
    assert len(store.read(rows, ROWS + 1)) == 0
    assert np.array_equal(store.tokens(), TOKENS)


def test_nothing_is_recorded_before_it_is_on_disk(tmp_path):
    class Watching(Location):
        def write(self, file, written):
            if "begun" not in file:
                record = json.loads(written)
                rows = record["rows_written"] if "format" in record else int(file[-13:-5]) * BUCKET + record["rows"]
                for name, expected in (("activations", values()), ("origin", places())) if rows else ():
                    assert np.array_equal(open_array(self, name)[:rows].read().result(), expected[:rows])
                checked.append(rows)
            super().write(file, written)

    checked = []
    write_store(Watching(tmp_path))
    assert checked == [0, BUCKET, BUCKET, 2 * BUCKET, 2 * BUCKET, ROWS, ROWS]


def test_a_process_that_is_done_waits_for_the_others_and_may_be_interrupted(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    def work():
        happened.append(Store(tmp_path).n_rows)
        write_store(tmp_path, process=(1, 2), buckets=1)

    happened = []
    writer = write_store(tmp_path, process=(0, 2), buckets=2)
    with pytest.raises(KeyboardInterrupt):
        writer.finish(interrupt)
    assert writer.finish(work)["complete"] and happened == [BUCKET]
    writer = open_writer(tmp_path, process=(1, 2))
    assert writer.finish(lambda: pytest.fail("nobody to wait for"))["complete"]


def test_a_finished_store_is_left_as_it_is(tmp_path, whole):
    write_store(tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    for n in (1, 2):
        for p in range(n):
            assert write_store(tmp_path, process=(p, n)).todo == []
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == stamps


@pytest.mark.parametrize("dtype", NAMES)
def test_a_store_holds_the_rows_and_says_what_they_are(tmp_path, dtype):
    rows = values(dtype)
    write_store(tmp_path, rows, MANIFEST | {"dtype": dtype})
    store = Store(tmp_path)
    assert (store.n_rows, store.width, store.dtype) == (ROWS, WIDTH, rows.dtype)
    assert np.array_equal(bits(store.read(1000, 5001)), bits(rows[1000:5001]))
    exact = rows.astype(np.float64)
    assert store.manifest["mean_norm"] == pytest.approx(np.linalg.norm(exact, axis=1).mean(), rel=1e-12)
    assert store.manifest["mean_square"] == pytest.approx(np.square(exact).mean(), rel=1e-12)
    expected = MANIFEST | {"dtype": dtype, "format": FORMAT, "complete": True, "rows_written": ROWS}
    assert {k: store.manifest[k] for k in expected} == expected


def test_rows_of_zeros_are_data_like_any_other(tmp_path):
    rows = values()
    rows[: BUCKET + SHARD + 1024] = 0
    write_store(tmp_path, rows, origin=np.zeros((ROWS, 2), np.uint32))
    assert np.array_equal(Store(tmp_path).read(0, ROWS), rows)
    assert not Store(tmp_path).origin(0, ROWS).any()
    assert (tmp_path / "activations/c/0/0").stat().st_size == SHARD * (WIDTH * 4) + 2 * 4 + 2 * 16 + 4


def test_a_store_of_nothing_but_zeros_has_means_of_zero(tmp_path):
    write_store(tmp_path, np.zeros((ROWS, WIDTH), np.float32))
    manifest = Store(tmp_path).manifest
    assert manifest["mean_norm"] == manifest["mean_square"] == 0 and manifest["complete"]


def test_arrays_are_zarr_v3_in_shards_of_checksummed_chunks_of_1024_rows(tmp_path):
    write_store(tmp_path)
    metadata = json.loads((tmp_path / "activations" / "zarr.json").read_text())
    assert metadata["zarr_format"] == 3 and metadata["node_type"] == "array"
    assert metadata["shape"] == [ROWS, WIDTH] and metadata["data_type"] == "float32"
    assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [SHARD, WIDTH]
    (sharding,) = metadata["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"]["chunk_shape"] == [1024, WIDTH]
    for codecs in ("codecs", "index_codecs"):
        assert [c["name"] for c in sharding["configuration"][codecs]] == ["bytes", "crc32c"]


@pytest.mark.parametrize("when", ["write", "wait", "finish"])
def test_a_bucket_that_cannot_be_written_is_an_error_soon_and_is_not_committed(tmp_path, when):
    writer = open_writer(tmp_path)
    shutil.rmtree(tmp_path / "origin")
    (tmp_path / "origin").write_text("in the way")
    bucket = (values()[:BUCKET], places()[:BUCKET])
    writer.write(0, *bucket, norm_sum=1.0, square_sum=1.0)
    with pytest.raises((ValueError, OSError)):
        {
            "write": lambda: writer.write(1, *bucket, norm_sum=1.0, square_sum=1.0),
            "wait": writer.wait,
            "finish": lambda: writer.finish(lambda: None),
        }[when]()
    writer.close()
    assert json.loads((tmp_path / "store.json").read_text())["rows_written"] == 0
    assert not list(tmp_path.glob(".parts/0*"))


@pytest.mark.parametrize("shard, bucket", [(1000, 1000), (1536, 3072), (2048, 3072), (2048, 1024)])
def test_buckets_that_are_not_made_of_whole_shards_and_blocks_are_refused(tmp_path, shard, bucket):
    with pytest.raises(BadInput, match=rf"bucket_rows {bucket} must be a multiple of harvest.shard_rows {shard}, "):
        open_writer(tmp_path, shard_rows=shard, bucket_rows=bucket)
    assert not content(tmp_path)


def test_an_array_of_another_shape_in_the_place_is_refused(tmp_path):
    create_array(Location(tmp_path), "activations", (ROWS + 1, WIDTH), "float32", SHARD)
    with pytest.raises(BadInput, match=r"activations cannot be made: ") as e:
        open_writer(tmp_path)
    assert len(str(e.value).splitlines()) == 1


def test_a_full_disk_is_not_called_a_mistake(tmp_path, monkeypatch):
    def full(*args, **options):
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write: No space left on device")

    monkeypatch.setattr(arrays.ts, "open", full)
    with pytest.raises(ValueError, match="No space left on device") as e:
        open_writer(tmp_path)
    assert not isinstance(e.value, BadInput)


def test_a_converted_store_has_no_tokens(tmp_path):
    write_store(tmp_path, manifest=CONVERTED)
    assert not pathlib.Path(tmp_path / "tokens").exists()
    with pytest.raises(BadInput, match="was converted from an array: it has no tokens"):
        Store(tmp_path).tokens()


def test_an_unfinished_store_of_an_earlier_format_is_refused_and_stays_and_a_finished_one_is_not(tmp_path):
    writer = open_writer(tmp_path)
    bucket, a, z = writer.todo[0]
    writer.write(bucket, values()[a:z], places()[a:z], **sums(values()[a:z]))
    writer.wait()
    writer._save({**writer.manifest, "format": 1})
    writer.close()
    before = content(tmp_path)
    with pytest.raises(BadInput) as e:
        open_writer(tmp_path)
    assert str(e.value) == (
        f"store {tmp_path} was begun by an earlier monosem_jax (format 1), which drew other random numbers: finish it "
        "with that version, or harvest into a new --workdir"
    )
    assert content(tmp_path) == before
    shutil.rmtree(tmp_path)
    write_store(tmp_path)
    writer = open_writer(tmp_path)
    writer._save({**writer.manifest, "format": 1})
    writer.close()
    done = open_writer(tmp_path)
    assert not done.todo
    done.close()
