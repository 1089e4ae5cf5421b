"""Verifying a store: every damage is named with its file and rows, and nothing else is."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from monosem_jax.activations.store import verify
from monosem_jax.activations.store.verify import verify_store
from monosem_jax.runtime.kvstore import Location
from tests.activations.store.small import BUCKET, CONVERTED, ROWS, SHARD, WIDTH, content, damages, forge, write_store

TEMPLATES = ["complete", "unfinished", "converted"]


@pytest.fixture(scope="module")
def templates(tmp_path_factory) -> dict[str, pathlib.Path]:
    """A store of every kind."""
    folder = tmp_path_factory.mktemp("templates")
    write_store(folder / "complete")
    write_store(folder / "unfinished", buckets=2)
    write_store(folder / "converted", manifest=CONVERTED)
    return {name: folder / name for name in TEMPLATES}


@pytest.fixture(scope="module")
def scratch(templates, tmp_path_factory) -> pathlib.Path:
    """A copy of the complete store, for those who put back what they damage."""
    return shutil.copytree(templates["complete"], tmp_path_factory.mktemp("scratch") / "s")


@pytest.fixture
def store(templates, tmp_path) -> pathlib.Path:
    return shutil.copytree(templates["complete"], tmp_path / "s")


def rows_of(file: str) -> tuple[int, int]:
    """The first and the last row of a shard."""
    size, n = (1024, ROWS // 9) if file.startswith("tokens") else (SHARD, ROWS)
    first = int(file.split("/")[2]) * size
    return first, min(first + size, n) - 1


def chunks_of(file: str, data: bytes) -> list[tuple[int, int, int]]:
    """(first row, beginning, end) of the inner chunks of a shard, by its index."""
    n = 1 if file.startswith("tokens") else 2
    index = np.frombuffer(data[-(16 * n + 4) : -4], "<u8").reshape(n, 2)
    first = rows_of(file)[0]
    return [(first + 1024 * i, int(o), int(o + size)) for i, (o, size) in enumerate(index) if o != 2**64 - 1]


def is_named(file: str, found: list[str], rows: tuple[int, int] | None) -> bool:
    """Whether the only damage is that of the file, with these rows."""
    if "/c/" not in file:
        return len(found) == 1 and file in found[0]
    spans = [re.match(rf"{file}: rows (\d+) to (\d+): .", line) for line in found]
    if not all(spans):
        return False
    spans = [tuple(map(int, s.groups())) for s in spans]
    return spans == [rows] if rows else min(spans)[0] >= rows_of(file)[0] and max(spans)[1] <= rows_of(file)[1]


FILES = ["store.json"] + [f"{name}/zarr.json" for name in ("activations", "origin", "tokens")]
SHARDS = ["tokens/c/0/0"] + [f"{name}/c/{i}/0" for name in ("activations", "origin") for i in range(5)]


def test_these_are_all_files_of_a_store(templates):
    assert sorted(content(templates["complete"])) == sorted(FILES + SHARDS)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("blocks", [1, 2, 16])
def test_a_whole_store_has_no_damages(templates, monkeypatch, name, blocks):
    monkeypatch.setattr(verify, "READ_BLOCKS", blocks)
    told, done = [], []
    found, rows = verify_store(Location(templates[name]), total=told.append, advance=done.append)
    assert not found and rows == {"unfinished": 2 * BUCKET}.get(name, ROWS)
    assert told == [rows] and sum(done) == rows


@pytest.mark.parametrize("file", FILES + SHARDS)
@pytest.mark.parametrize("blocks", [3, 16])
def test_a_deleted_file_is_reported(store, monkeypatch, file, blocks):
    monkeypatch.setattr(verify, "READ_BLOCKS", blocks)
    (store / file).unlink()
    assert is_named(file, damages(store), rows_of(file) if "/c/" in file else None)
    if "/c/" in file:
        assert damages(store)[0].endswith(": missing")


@pytest.mark.parametrize("file", FILES + SHARDS)
def test_a_file_cut_short_anywhere_is_reported(scratch, file):
    data = (scratch / file).read_bytes()
    lengths = {0, len(data) - 1, *np.random.default_rng(0).integers(0, len(data), 6).tolist()}
    try:
        for size in lengths:
            (scratch / file).write_bytes(data[:size])
            assert is_named(file, damages(scratch), rows_of(file) if "/c/" in file else None), size
    finally:
        (scratch / file).write_bytes(data)


@pytest.mark.parametrize("file", SHARDS)
def test_a_flipped_bit_in_a_shard_is_reported_with_the_rows_that_it_costs(scratch, file):
    data, rng = (scratch / file).read_bytes(), np.random.default_rng(SHARDS.index(file))
    chunks = chunks_of(file, data)
    at = {0, len(data) - 1, *(z - 1 for _, _, z in chunks), *rng.integers(0, len(data), 14).tolist()}
    try:
        for place in at | set(range(len(data) - 20, len(data), 5)):
            changed = bytearray(data)
            changed[place] ^= 1 << rng.integers(8)
            (scratch / file).write_bytes(changed)
            hit = [(row, min(row + 1023, rows_of(file)[1])) for row, a, z in chunks if a <= place < z]
            assert is_named(file, damages(scratch), hit[0] if hit else rows_of(file)), place
    finally:
        (scratch / file).write_bytes(data)


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_in_a_json_file_is_reported(scratch, file):
    data, rng = (scratch / file).read_bytes(), np.random.default_rng(FILES.index(file))
    name = range(data.find(b'"checksum"'), data.find(b'"checksum"') + 10)  # without it nothing can be compared
    try:
        for place in rng.choice(len(data), min(len(data), 60), replace=False).tolist():
            changed = bytearray(data)
            changed[place] ^= 1 << rng.integers(8)
            try:
                same = json.loads(changed) == json.loads(data)
            except ValueError:
                same = False
            (scratch / file).write_bytes(changed)
            if place not in name and not (same and file == "store.json"):
                assert is_named(file, damages(scratch), None) or "store format" in damages(scratch)[0], place
    finally:
        (scratch / file).write_bytes(data)


@pytest.mark.parametrize("name", ["activations", "origin", "tokens"])
@pytest.mark.parametrize("old, new", [(b"{", b"{ "), (b'"shape":[', b'"shape":[1')])
def test_metadata_that_says_something_possible_but_else_is_reported(store, name, old, new):
    file = store / name / "zarr.json"
    file.write_bytes(file.read_bytes().replace(old, new, 1))
    assert is_named(f"{name}/zarr.json", damages(store), None)


def test_damages_apart_from_each_other_in_a_shard_have_a_line_each(tmp_path):
    write_store(tmp_path, shard_rows=BUCKET)
    shard = tmp_path / "activations" / "c" / "1" / "0"
    data = bytearray(shard.read_bytes())
    for chunk in (0, 2, 3):
        data[chunk * (1024 * WIDTH * 4 + 4) + 7] ^= 1
    shard.write_bytes(data)
    spans = [line.split(": ")[1] for line in damages(tmp_path)]
    assert spans == ["rows 4096 to 5119", "rows 6144 to 8191"]


def test_the_space_of_a_manifest_is_of_no_importance(store):
    manifest = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps(dict(reversed(manifest.items()))))
    assert not damages(store)


@pytest.mark.parametrize("file", [s for s in SHARDS if "/c/4/" in s])
def test_damage_among_rows_that_are_not_committed_is_not_reported(templates, tmp_path, file):
    path = shutil.copytree(templates["unfinished"], tmp_path / "s")
    assert not (path / file).exists()
    (path / file).parent.mkdir(parents=True)
    (path / file).write_bytes(b"half of it")
    (path / ".parts").mkdir(exist_ok=True)
    (path / ".parts" / "00000002.json").write_bytes(b"{")
    assert not damages(path)
    (path / file.replace("/c/4/", "/c/3/")).unlink()
    assert damages(path) == [f"{file.replace('/c/4/', '/c/3/')}: rows {3 * SHARD} to {4 * SHARD - 1}: missing"]


def test_all_damages_are_reported_not_only_the_first(store):
    for file in ("activations/c/1/0", "activations/c/2/0", "origin/c/0/0"):
        (store / file).unlink()
    (store / "tokens" / "zarr.json").write_text("{")
    lines = damages(store)
    assert [line.split(":")[0] for line in lines] == [
        "tokens/zarr.json", "activations/c/1/0", "activations/c/2/0", "origin/c/0/0",
    ]  # fmt: skip
    assert all(line.endswith("missing") for line in lines[1:])


def test_a_store_of_an_earlier_version_without_hashes_is_whole(templates, tmp_path):
    for name in TEMPLATES:
        path = shutil.copytree(templates[name], tmp_path / name)
        forge(path, {"arrays": None}, seal=False)
        assert not {"checksum", "arrays"} & json.loads((path / "store.json").read_text()).keys()
        assert not damages(path)


@pytest.mark.parametrize("kind", ["file", "json"])
def test_a_store_may_lie_anywhere(store, tmp_path, kind):
    name = f'{{"driver": "file", "path": "{store}/"}}' if kind == "json" else f"file://{store}/"
    assert not damages(name)
    odd = shutil.copytree(store, tmp_path / "a b%20c?d#e")
    assert not damages(odd)
