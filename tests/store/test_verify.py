"""Verifying a store: every damage is named with its file and rows, and nothing else is."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from monosem_jax.errors import BadInput
from monosem_jax.store import verify
from monosem_jax.store.arrays import checksum
from monosem_jax.store.location import Location
from monosem_jax.store.verify import verify_store
from tests.store.small import (
    BUCKET,
    CONVERTED,
    MANIFEST,
    ROWS,
    SHARD,
    WIDTH,
    content,
    numbers,
    places,
    values,
    write_store,
)

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


def damages(path) -> list[str]:
    """What is reported, each in one line."""
    try:
        found = verify_store(Location(path))[0]
    except BadInput as e:
        found = [str(e)]
    assert all(len(line.splitlines()) == 1 for line in found)
    return found


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


def forge(path: pathlib.Path, change: dict, *, seal: bool = True) -> None:
    """Changes the manifest, with a fitting checksum, or as an earlier version would have written it."""
    manifest = json.loads((path / "store.json").read_text()) | change
    manifest = {k: v for k, v in manifest.items() if v is not None and k != "checksum"}
    (path / "store.json").write_text(json.dumps(manifest | ({"checksum": checksum(manifest)} if seal else {})))


@pytest.mark.parametrize("change, line", [
    ({"rows_written": ROWS - 1}, f"store.json: {ROWS - 1} of {ROWS} rows are written, complete is True"),
    ({"complete": False}, f"store.json: {ROWS} of {ROWS} rows are written, complete is False"),
    ({"rows_written": ROWS + 1}, f"store.json: {ROWS + 1} of {ROWS} rows are written, complete is True"),
    ({"mean_norm": 2.0}, "store.json: mean_norm is 2.0, that of the rows is "),
    ({"mean_square": None}, "store.json: mean_square is nan, that of the rows is "),
    ({"mean_square": 2.0}, "store.json: mean_square is 2.0, that of the rows is "),
    ({"n_rows": ROWS + 1, "complete": False}, "activations/zarr.json: shape is not what store.json implies"),
    ({"width": WIDTH + 1}, "activations/zarr.json: codecs, chunk_grid, shape is not what store.json implies"),
    ({"dtype": "float16"}, "activations/zarr.json: data_type"),
    ({"context_length": 11}, "tokens/zarr.json: chunk_grid, codecs, shape is not what store.json implies"),
    ({"n_rows": float(ROWS)}, f"store.json has n_rows {float(ROWS)}: expected a count"),
    ({"rows_written": -1}, "store.json has rows_written -1: expected a count"),
    ({"width": "4"}, "store.json has width '4': expected a count"),
])  # fmt: skip
@pytest.mark.parametrize("seal", [True, False])
def test_a_manifest_that_contradicts_the_arrays_is_reported(store, change, line, seal):
    forge(store, change | ({} if seal else {"arrays": None}), seal=seal)
    found = damages(store)
    words = sorted(re.findall(r"[\w.]+", line))
    assert line in found[0] or sorted(re.findall(r"[\w.]+", found[0])) == words


@pytest.mark.parametrize("change", [{"site": "x"}, {"seed": 1}, {"model": "n"}, {"mean_norm": 1e9}, {"more": 1}])
def test_a_manifest_that_is_not_as_it_was_written_is_reported(store, change):
    manifest = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps(manifest | change))
    assert damages(store) == ["store.json: it has changed since it was written: its checksum differs"]


def test_a_store_of_an_earlier_version_without_hashes_is_whole(templates, tmp_path):
    for name in TEMPLATES:
        path = shutil.copytree(templates[name], tmp_path / name)
        forge(path, {"arrays": None}, seal=False)
        assert not {"checksum", "arrays"} & json.loads((path / "store.json").read_text()).keys()
        assert not damages(path)


def test_means_may_differ_by_the_rounding_of_another_order_of_summing(store):
    manifest = json.loads((store / "store.json").read_text())
    forge(store, {"mean_norm": manifest["mean_norm"] * (1 + 5e-6), "mean_square": manifest["mean_square"] * (1 - 5e-6)})
    assert not damages(store)
    forge(store, {"mean_norm": manifest["mean_norm"] * (1 + 2e-5), "mean_square": manifest["mean_square"] * (1 - 2e-5)})
    assert [line.split(" is ")[0] for line in damages(store)] == ["store.json: mean_norm", "store.json: mean_square"]


def with_origin(path, at: int, place: list[int], manifest: dict = MANIFEST) -> list[str]:
    origin = places()
    origin[at] = place
    write_store(path, values(), manifest, origin=origin)
    return damages(path)


@pytest.mark.parametrize("at, other", [(0, 1), (5, 8999), (3000, 5000), (8191, 8192), (7, 6)])
def test_a_place_recorded_twice_is_reported(tmp_path, at, other):
    (line,) = with_origin(tmp_path, at, places()[other].tolist())
    first, last = map(int, re.search(r"rows (\d+) to (\d+) is recorded twice", line).groups())
    assert first <= max(at, other) <= last


@pytest.mark.parametrize("place", [[1000, 0], [0, 12], [2**32 - 1, 2**32 - 1]])
def test_a_place_outside_of_the_tokens_is_reported(tmp_path, place):
    assert with_origin(tmp_path, 4321, place) == [f"origin: row 4321 comes from {place}, outside of the tokens"]


@pytest.mark.parametrize("place, line", [
    ([7, 0], "origin: a place among rows 0 to 8999 is recorded twice"), ([2**32 - 1, 0], None),
])  # fmt: skip
def test_of_a_converted_array_row_numbers_recorded_twice_are_reported(tmp_path, place, line):
    origin = numbers()
    origin[4321] = place
    write_store(tmp_path, values(), CONVERTED, origin=origin)
    assert damages(tmp_path) == ([line] if line else [])


@pytest.mark.parametrize("kind", ["file", "json"])
def test_a_store_may_lie_anywhere(store, tmp_path, kind):
    name = f'{{"driver": "file", "path": "{store}/"}}' if kind == "json" else f"file://{store}/"
    assert not damages(name)
    odd = shutil.copytree(store, tmp_path / "a b%20c?d#e")
    assert not damages(odd)


@pytest.mark.parametrize("content, line", [
    (b"[]", "store.json is not a manifest"), (b"{}", "has store format None"), (b"{", "store.json is not valid JSON"),
    (b"\xff\xfe", "store.json is not valid JSON"), (None, "store.json does not exist"),
])  # fmt: skip
def test_a_manifest_that_cannot_be_read_is_an_error(tmp_path, content, line):
    if content is not None:
        (tmp_path / "store.json").write_bytes(content)
    with pytest.raises(BadInput, match=line):
        verify_store(Location(tmp_path))
