"""A store's statements about its rows, checked against the rows: sizes, means, and origins."""

import json
import re

import pytest

from monosem_jax.activations.store import verify
from monosem_jax.activations.store.verify import verify_store
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.kvstore import Location
from tests.activations.store.small import (
    CONVERTED,
    MANIFEST,
    ROWS,
    WIDTH,
    damages,
    forge,
    numbers,
    places,
    values,
    write_store,
)


@pytest.fixture
def store(tmp_path):
    write_store(tmp_path / "s")
    return tmp_path / "s"


def with_origin(path, at: int, place: list[int], manifest: dict = MANIFEST) -> list[str]:
    origin = places()
    origin[at] = place
    write_store(path, values(), manifest, origin=origin)
    return damages(path)


@pytest.mark.parametrize("at, other", [(0, 1), (5, 8999), (7, 6), (3000, 5000), *((8191, 16 + i) for i in range(8))])
@pytest.mark.parametrize("blocks", [1, 16])
def test_a_place_recorded_twice_is_reported(tmp_path, monkeypatch, at, other, blocks):
    monkeypatch.setattr(verify, "READ_BLOCKS", blocks)
    (line,) = with_origin(tmp_path, at, places()[other].tolist())
    first, last = map(int, re.search(r"rows (\d+) to (\d+) is recorded twice", line).groups())
    assert first <= max(at, other) <= last


@pytest.mark.parametrize("place", [[1000, 0], [0, 12], [2**32 - 1, 2**32 - 1]])
def test_a_place_outside_of_the_tokens_is_reported(tmp_path, place):
    assert with_origin(tmp_path, 4321, place) == [f"origin: row 4321 comes from {place}, outside of the tokens"]


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


def test_means_may_differ_by_the_rounding_of_another_order_of_summing(store):
    manifest = json.loads((store / "store.json").read_text())
    forge(store, {"mean_norm": manifest["mean_norm"] * (1 + 5e-6), "mean_square": manifest["mean_square"] * (1 - 5e-6)})
    assert not damages(store)
    forge(store, {"mean_norm": manifest["mean_norm"] * (1 + 2e-5), "mean_square": manifest["mean_square"] * (1 - 2e-5)})
    assert [line.split(" is ")[0] for line in damages(store)] == ["store.json: mean_norm", "store.json: mean_square"]


def test_places_are_not_judged_without_tokens(tmp_path):
    with_origin(tmp_path, 4321, [ROWS + 1, 3])
    (tmp_path / "tokens" / "zarr.json").unlink()
    (line,) = damages(tmp_path)
    assert line.startswith("tokens/zarr.json: ")


@pytest.mark.parametrize("place, line", [
    ([7, 0], "origin: a place among rows 0 to 8999 is recorded twice"), ([2**32 - 1, 0], None),
])  # fmt: skip
def test_of_a_converted_array_row_numbers_recorded_twice_are_reported(tmp_path, place, line):
    origin = numbers()
    origin[4321] = place
    write_store(tmp_path, values(), CONVERTED, origin=origin)
    assert damages(tmp_path) == ([line] if line else [])


@pytest.mark.parametrize("content, line", [
    (b"[]", "store.json is not a manifest"), (b"{}", "has store format None"), (b"{", "store.json is not valid JSON"),
    (b"\xff\xfe", "store.json is not valid JSON"), (None, "store.json does not exist"),
])  # fmt: skip
def test_a_manifest_that_cannot_be_read_is_an_error(tmp_path, content, line):
    if content is not None:
        (tmp_path / "store.json").write_bytes(content)
    with pytest.raises(BadInput, match=line):
        verify_store(Location(tmp_path))
