"""Arrays that users bring: every format and type reads bit by bit as written, and damage is refused by one line."""

import gzip
import hashlib
import io
import itertools
import json
import os
import pathlib
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
import tensorstore as ts
from safetensors.numpy import save_file

from monosem_jax.activations.store.foreign import NpyRows, SafetensorsRows, ZarrRows, identity, open_foreign
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.kvstore import Location, context
from tests.cases import cases

DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
ROWS, WIDTH = 300, 8
MIB = 1 << 20
ZARR_TYPES = {"float32": "<f4", "float16": "<f2", "bfloat16": "bfloat16"}
BLOSC = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}
BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
SHARDS = {
    "name": "sharding_indexed",
    "configuration": {"chunk_shape": [16, 4], "codecs": [BYTES, {"name": "zstd", "configuration": {"level": 1}}]},
}
unique = itertools.count()


def values(dtype=np.float32, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, WIDTH)).astype(dtype)


def patterns(dtype) -> np.ndarray:
    """Every bit pattern of a 2-byte type; of fp32 random ones and the extremes: NaN payloads, -0, subnormals, Inf."""
    if np.dtype(dtype).itemsize == 2:
        return np.arange(1 << 16, dtype=np.uint16).view(dtype).reshape(-1, WIDTH)
    bits = np.random.default_rng(0).integers(1 << 32, size=(ROWS, WIDTH), dtype=np.uint32)
    bits[0] = [0x7FC00001, 0x7F800001, 0xFFFFFFFF, 0x80000000, 1, 0x807FFFFF, 0x7F800000, 0xFF800000]
    return bits.view(np.float32)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def save(path: pathlib.Path, array: np.ndarray) -> pathlib.Path:
    np.save(path, array)
    return path


def zarr2(source, array: np.ndarray, **metadata) -> str:
    """Writes a zarr v2 array in chunks of [64,5] with TensorStore."""
    spec = {"shape": array.shape, "chunks": [64, 5], "dtype": ZARR_TYPES[array.dtype.name], "compressor": None}
    return zarr(source, "zarr", array, {**spec, **metadata})


def zarr3(source, array: np.ndarray, *codecs, **metadata) -> str:
    """Writes a zarr v3 array in chunks of [64,8] with TensorStore."""
    grid = {"name": "regular", "configuration": {"chunk_shape": [64, 8]}}
    spec = {"shape": array.shape, "data_type": array.dtype.name, "chunk_grid": grid, "codecs": codecs or [BYTES]}
    return zarr(source, "zarr3", array, {**spec, **metadata})


def zarr(source, driver: str, array: np.ndarray, metadata: dict) -> str:
    spec = {"driver": driver, "kvstore": Location(source).spec, "metadata": metadata}
    ts.open(spec, create=True, context=context()).result().write(array).result()
    return str(source)


def safe(path: pathlib.Path, **tensors: np.ndarray) -> pathlib.Path:
    save_file(tensors, path)
    return path


WRITERS = {
    "npy": lambda p, a: save(p / "a.npy", a),
    "npy F": lambda p, a: save(p / "a.npy", np.asfortranarray(a)),
    "safetensors": lambda p, a: safe(p / "a.safetensors", acts=a),
    "safetensors:name": lambda p, a: f"{safe(p / 'a.safetensors', other=a[:7], x=a[:1, :3], acts=a)}:acts",
    "zarr v2": lambda p, a: zarr2(p / "a", a),
    "zarr v2 blosc": lambda p, a: zarr2(p / "a", a, compressor=BLOSC),
    "zarr v2 zstd F": lambda p, a: zarr2(p / "a", a, compressor={"id": "zstd", "level": 3}, order="F"),
    "zarr v2 gzip /": lambda p, a: zarr2(p / "a", a, compressor={"id": "gzip", "level": 1}, dimension_separator="/"),
    "zarr v3": lambda p, a: zarr3(p / "a.npy", a),  # a directory may have any name
    "zarr v3 big-endian": lambda p, a: zarr3(p / "a", a, {"name": "bytes", "configuration": {"endian": "big"}}),
    "zarr v3 shards": lambda p, a: zarr3(p / "a", a, SHARDS),
    "zarr v2 URL": lambda p, a: zarr2(f"memory://foreign/{next(unique)}/", a, compressor=BLOSC),
    "zarr v3 URL": lambda p, a: zarr3(f"memory://foreign/{next(unique)}", a, SHARDS),
    "zarr v3 file URL": lambda p, a: zarr3(f"file://{p}/a", a),
}
KINDS = {"n": NpyRows, "s": SafetensorsRows, "z": ZarrRows}


def refusal(source: str | pathlib.Path) -> str:
    with pytest.raises(BadInput) as e:
        open_foreign(source)
    assert len(str(e.value).splitlines()) == 1
    return str(e.value)


@cases("dtype", DTYPES)
@pytest.mark.parametrize("writer", WRITERS)
def test_every_bit_pattern_of_every_type_reads_as_it_was_written(tmp_path, writer, dtype):
    expected = patterns(dtype)
    rows = open_foreign(WRITERS[writer](tmp_path, expected))
    assert isinstance(rows, KINDS[writer[0]])
    assert (rows.n_rows, rows.width, rows.dtype) == (*expected.shape, np.dtype(dtype))
    assert type(rows.n_rows) is type(rows.width) is int
    assert same_bits(rows.read(0, rows.n_rows), expected)
    assert type(rows.read(0, 1)) is np.ndarray


@pytest.mark.parametrize("writer", WRITERS)
def test_slices_are_those_of_numpy_also_beyond_the_end_and_from_several_threads(tmp_path, writer):
    expected = values()
    rows = open_foreign(WRITERS[writer](tmp_path, expected))
    bounds = np.sort(np.random.default_rng(1).integers(ROWS + 40, size=(100, 2)))
    bounds = [*bounds.tolist(), [0, 0], [ROWS, ROWS], [ROWS - 1, ROWS], [ROWS + 5, ROWS + 9]]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda b: rows.read(*b), bounds)
        assert all(same_bits(x, expected[a:b]) for x, (a, b) in zip(found, bounds, strict=True))


ARRAYS = {
    "npy": lambda p, a: save(p / "a.npy", a),
    "safetensors": lambda p, a: safe(p / "a.safetensors", acts=a),
    "safetensors:name": lambda p, a: f"{safe(p / 'a.safetensors', acts=a, z=values())}:acts",
    "zarr v2": lambda p, a: zarr(p, "zarr", a, {"shape": a.shape, "dtype": a.dtype.str, "compressor": None}),
    "zarr v3": lambda p, a: zarr(p, "zarr3", a, {"shape": a.shape, "data_type": a.dtype.name}),
}


@cases("shape", [(5,), (2, 3, 4), (0, 4), (4, 0), ()])
@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_that_is_not_rows_of_activations_is_refused_with_its_shape(tmp_path, kind, shape):
    line = refusal(ARRAYS[kind](tmp_path, np.zeros(shape, np.float32)))
    assert f"has shape {shape}: expected [n, M] with at least one row" in line and str(tmp_path) in line


@cases("dtype", [np.int8, np.int32, np.float64, np.uint16, np.int64, bool])
@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_of_another_type_is_refused_with_its_type(tmp_path, kind, dtype):
    line = refusal(ARRAYS[kind](tmp_path, np.zeros((3, 4), dtype)))
    safetensors = {"int8": "I8", "int32": "I32", "float64": "F64", "uint16": "U16", "int64": "I64", "bool": "BOOL"}
    name = np.dtype(dtype).name
    name = safetensors[name] if kind.startswith("safe") else name
    assert f"has dtype {name}: expected bfloat16, float32, float16" in line and str(tmp_path) in line


@cases("name", ["a.npy", "a.safetensors", "a.safetensors:acts", "no/a.npy"])
def test_a_file_that_does_not_exist_is_refused(tmp_path, name):
    assert refusal(tmp_path / name) == f"{tmp_path / name.split(':')[0]} does not exist"


@cases("url", ["s3://b/a.npy", "s3://b/a.safetensors:x", "file:///tmp/a.safetensors"])
def test_files_at_urls_are_refused_before_anything_is_asked_for(url):
    assert "only zarr arrays are read over URLs" in refusal(url)


def test_what_is_no_array_is_none(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    (tmp_path / "b.npy").mkdir()
    for source in (tmp_path, tmp_path / "a.csv", tmp_path / "none", tmp_path / "b.npy", "memory://foreign/none/"):
        assert open_foreign(source) is None
        with pytest.raises(BadInput, match="is not an array"):
            identity(source)


@pytest.mark.parametrize("kind", [NpyRows, SafetensorsRows])
def test_what_cannot_be_opened_as_a_file_is_refused(tmp_path, kind):
    with pytest.raises(BadInput, match="is not a readable"):
        kind(tmp_path)


# .npy


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


@pytest.mark.parametrize(("name", "what"), [("a.npy", ".npy array"), ("a.safetensors", ".safetensors file")])
def test_a_file_cut_short_is_refused_wherever_it_is_cut(tmp_path, name, what):
    writer = {"a.npy": save, "a.safetensors": lambda path, a: safe(path, acts=a)}[name]
    whole = writer(tmp_path / name, values(rows=3)).read_bytes()
    for size in range(len(whole)):
        (tmp_path / name).write_bytes(whole[:size])
        assert f"{name} is not a readable {what}" in refusal(tmp_path / name)


@pytest.mark.parametrize("writer", ["npy", "safetensors"])
def test_a_damaged_header_raises_nothing_but_a_refusal(tmp_path, writer):
    path = WRITERS[writer](tmp_path, values(rows=3))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(1000):
        data = bytearray(whole)
        data[rng.integers(len(whole) - 96)] = rng.integers(256)
        path.write_bytes(data)
        try:
            open_foreign(path).read(0, 1)
        except BadInput as e:
            assert len(str(e).splitlines()) == 1


def test_an_archive_of_arrays_under_the_name_of_an_array_is_refused(tmp_path):
    archive = io.BytesIO()
    np.savez(archive, a=values())
    (tmp_path / "a.npy").write_bytes(archive.getvalue())
    assert "not a readable .npy array" in refusal(tmp_path / "a.npy")


def test_a_header_too_long_for_numpy_is_refused_in_one_line(tmp_path):
    text = str({"descr": "<f4", "fortran_order": False, "shape": (3, 8)}).encode() + b" " * 50_000 + b"\n"
    content = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + bytes(96)
    (tmp_path / "a.npy").write_bytes(content)
    assert "is not a readable .npy array: Header info length" in refusal(tmp_path / "a.npy")


def test_two_bytes_that_are_two_fields_are_not_taken_for_bf16(tmp_path):
    fields = np.zeros((3, 4), [("a", np.uint8), ("b", np.uint8)])
    assert "has dtype" in refusal(save(tmp_path / "a.npy", fields))


# .safetensors


def test_the_only_array_of_a_file_needs_no_name(tmp_path):
    path = safe(tmp_path / "a.safetensors", bias=np.zeros(5, np.float32), ids=np.zeros((3, 4), np.int64), acts=values())
    assert same_bits(open_foreign(path).read(0, ROWS), values())


def test_several_arrays_need_a_name_and_the_refusal_lists_them(tmp_path):
    tensors = {f"layer{i}\n": values() for i in range(9)}
    line = refusal(safe(tmp_path / "a.safetensors", bias=np.zeros(5, np.float32), **tensors))
    assert "a.safetensors holds several arrays: expected" in line and "a.safetensors:NAME" in line
    assert r"'layer0\n' (F32 [300, 8]), 'layer1\n'" in line and "bias" not in line
    assert "layer8" not in line and line.endswith(" and 1 more")


def test_a_file_without_an_array_is_refused_with_what_it_has(tmp_path):
    path = safe(tmp_path / "a.safetensors", bias=np.zeros(5, np.float32), ids=np.zeros((3, 4), np.int64))
    assert "holds no 2-D tensor of bfloat16, float32, float16: it has 'bias' (F32 [5]), 'ids' (I64 [3, 4])" in refusal(
        path
    )
    assert refusal(safe(tmp_path / "b.safetensors")).endswith("it has none")


@cases("name", ["nope", "", "acts:0"])
def test_a_tensor_that_is_not_there_is_refused_with_those_that_are(tmp_path, name):
    safe(tmp_path / "a.safetensors", acts=values())
    assert f"has no tensor {name!r}: it has 'acts' (F32 [300, 8])" in refusal(tmp_path / f"a.safetensors:{name}")


@cases("name", ["", "a:b", "x/y.npy", "b.safetensors", "b.safetensors:c", "line\nbreak"])
def test_a_tensor_may_have_any_name(tmp_path, name):
    path = safe(tmp_path / "a.safetensors", **{name: values(), "other": values()[:5]})
    assert same_bits(open_foreign(f"{path}:{name}").read(0, ROWS), values())
    bad = safe(tmp_path / "b.safetensors", **{name: np.zeros(5, np.int8), "other": values()})
    assert f"{name!r} has shape (5,)" in refusal(f"{bad}:{name}")


def test_a_tensor_at_an_odd_place_in_the_file_reads_right(tmp_path):
    header = json.dumps({"acts": {"dtype": "F32", "shape": [3, 8], "data_offsets": [0, 96]}}).encode()
    header += b" " * (1 - len(header) % 2)  # an odd length: no value is aligned
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + values(rows=3).tobytes())
    assert same_bits(open_foreign(tmp_path / "a.safetensors").read(0, 3), values(rows=3))


@pytest.mark.parametrize("name", ["a.npy", "a.safetensors"])
def test_a_file_is_not_loaded_as_a_whole(tmp_path, name):
    data = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float32, (64 * MIB // 32, 8))
    if name == "a.safetensors":
        safe(tmp_path / name, acts=np.asarray(data))
    tracemalloc.start()
    try:
        assert not open_foreign(tmp_path / name).read(1000, 1010).any()
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def header(length: int | None = None, data: int = 64, **tensors) -> bytes:
    """A file of `data` zero bytes with tensor `a` [4,4] changed as `tensors` say."""
    a = {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}
    text = json.dumps({"a": {**a, **tensors.pop("a", {})}, **tensors}).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(data)


def raw(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text + bytes(64)


TENSOR = b'"dtype":"F32","shape":[4,4],"data_offsets":[0,64]'
ATTACKS = {
    "header beyond the file": header(length=10_000),
    "huge header": header(length=1 << 40),
    "largest header": header(length=(1 << 64) - 1),
    "empty header": header(length=0),
    "cut header": header(length=20),
    "offsets outside": header(a={"shape": [8, 4], "data_offsets": [0, 128]}),
    "offsets before": header(a={"data_offsets": [-64, 0]}),
    "offsets reversed": header(a={"data_offsets": [64, 0]}),
    "hole": header(a={"shape": [3, 4], "data_offsets": [16, 64]}),
    "overlap": header(b={"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}),
    "rest": header(data=80),
    "size is not the shape's": header(a={"shape": [5, 4]}),
    "negative shape": header(a={"shape": [-4, -4]}),
    "shape overflows": header(a={"shape": [1 << 32, 1 << 32]}),
    "shape of fractions": header(a={"shape": [4.0, 4]}),
    "shape of text": header(a={"shape": "4,4"}),
    "unknown type": header(a={"dtype": "F31"}),
    "missing key": raw(b'{"a":{"dtype":"F32","shape":[4,4]}}'),
    "twice the same key": raw(b'{"a":{"dtype":"F16",' + TENSOR + b"}}"),
    "not JSON": raw(b"not JSON"),
    "not UTF-8": raw(b'{"\xff":{' + TENSOR + b"}}"),
    "not an object": raw(b"[]"),
    "null": raw(b"null"),
    "deep": raw(b'{"a":' * 100_000),
    "deep arrays": raw(b"[" * 100_000),
    "deep where nobody looks": raw(b'{"a":{' + TENSOR + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"),
    "long number": raw(b'{"a":{' + TENSOR + b',"x":' + b"1" * 10_000 + b"}}"),
}


@cases("attack", ATTACKS)
def test_a_hostile_header_is_refused(tmp_path, attack):
    (tmp_path / "a.safetensors").write_bytes(ATTACKS[attack])
    assert "is not a readable .safetensors file" in refusal(tmp_path / "a.safetensors")


def test_the_header_that_the_attacks_change_is_itself_fine(tmp_path):
    for content in (header(), raw(b'{"a":{' + TENSOR + b"}}")):
        (tmp_path / "a.safetensors").write_bytes(content)
        assert open_foreign(tmp_path / "a.safetensors").read(0, 9).shape == (4, 4)


# zarr


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_a_zarr_v2_array_made_by_hand_reads_as_its_format_says(tmp_path, order, endian):
    """Rows 0-3 in gzip chunks [4,5], edge chunks filled up; the chunk of rows 4-6, columns 5-7 was never written."""
    expected = values(rows=7)
    metadata = {
        "zarr_format": 2, "shape": [7, 8], "chunks": [4, 5], "dtype": f"{endian}f4", "order": order,
        "compressor": {"id": "gzip", "level": 5}, "filters": None, "fill_value": -1.5,
    }  # fmt: skip
    (tmp_path / ".zarray").write_text(json.dumps(metadata))
    padded = np.full((8, 10), 99, f"{endian}f4")
    padded[:7, :8] = expected
    for i, j in [(0, 0), (0, 1), (1, 0)]:
        chunk = padded[4 * i : 4 * i + 4, 5 * j : 5 * j + 5]
        (tmp_path / f"{i}.{j}").write_bytes(gzip.compress(chunk.tobytes(order)))
    expected[4:, 5:] = -1.5
    rows = open_foreign(tmp_path)
    assert same_bits(rows.read(0, 7), expected) and same_bits(rows.read(3, 6), expected[3:6])


@pytest.mark.parametrize(("writer", "fill"), [(zarr2, None), (zarr2, 2.5), (zarr3, 2.5), (zarr3, "NaN")])
def test_chunks_nobody_wrote_hold_the_fill_value(tmp_path, writer, fill):
    writer(tmp_path, values(), fill_value=fill)
    for chunk in [p for p in tmp_path.rglob("*") if p.is_file() and p.name not in ("zarr.json", ".zarray")]:
        chunk.unlink()
    found = open_foreign(tmp_path).read(5, 200)
    assert np.array_equal(found, np.full((195, WIDTH), float(fill or 0)), equal_nan=True)


def test_v3_is_taken_where_the_metadata_of_both_versions_is_there(tmp_path):
    zarr2(tmp_path, values())
    zarr3(tmp_path, values()[:100])
    assert open_foreign(tmp_path).n_rows == 100


def test_metadata_is_not_asked_for_again_when_rows_are_read():
    url = zarr2(f"memory://foreign/{next(unique)}/", values())
    rows = open_foreign(url)
    Location(url).write(".zarray", b"gone")
    assert same_bits(rows.read(0, ROWS), values())


BAD_METADATA = [
    ("zarr.json", {"codecs": [BYTES, {"name": "lz77"}]}, '"lz77" is not registered'),
    ("zarr.json", {"node_type": "group"}, 'Expected "array", but received: "group"'),
    ("zarr.json", {"zarr_format": 4}, "received: 4"),
    ("zarr.json", {"shape": [-1, 8]}, "received: -1"),
    ("zarr.json", {"data_type": "float33"}, "float33"),
    (".zarray", {"compressor": {"id": "lzma9"}}, '"lzma9" is not registered'),
    (".zarray", {"filters": [{"id": "delta"}]}, "filters are not supported"),
    (".zarray", {"dtype": [["a", "<f4"], ["b", "<f4"]]}, 'Must specify a "field"'),
    (".zarray", {"chunks": [0, 8]}, "received: 0"),
]


@cases("file, change, reason", BAD_METADATA)
def test_metadata_that_cannot_be_followed_is_refused_with_the_reason(tmp_path, file, change, reason):
    path = tmp_path / ("long" * 40)  # the reason must be seen all the same
    (zarr3 if file == "zarr.json" else zarr2)(path, values())
    (path / file).write_text(json.dumps({**json.loads((path / file).read_text()), **change}))
    line = refusal(path)
    assert f"is not a readable zarr array: {file}: " in line and reason in line and "tensorstore" not in line


@cases("content", [b"", b"{", b"[]", b"\xff", b"null", b'{"a":' * 100_000, b"[" * 100_000])
@pytest.mark.parametrize("file", ["zarr.json", ".zarray"])
def test_damaged_metadata_is_refused(tmp_path, file, content):
    (tmp_path / file).write_bytes(content)
    assert f"{tmp_path} is not a readable zarr array: {file}: " in refusal(tmp_path)


@pytest.mark.parametrize("writer", ["zarr v2", "zarr v2 blosc", "zarr v2 gzip /", "zarr v3 shards"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_chunk_is_refused_when_it_is_read(tmp_path, writer, damage):
    rows = open_foreign(WRITERS[writer](tmp_path, values()))
    chunk = next(p for p in (tmp_path / "a").rglob("*") if p.is_file() and p.name not in ("zarr.json", ".zarray"))
    data = chunk.read_bytes()
    chunk.write_bytes(data[: len(data) // 2] if damage == "cut" else bytes(b ^ 0x55 for b in data) + b"x")
    with pytest.raises(BadInput, match="rows 0 to 300 cannot be read") as e:
        rows.read(0, ROWS)
    assert len(str(e.value).splitlines()) == 1 and str(tmp_path) in str(e.value) and " [" not in str(e.value)


# identity


def sha(source) -> str:
    return identity(source)["sha256"]


def test_the_identity_of_a_npy_file_is_its_size_beginning_and_end(tmp_path):
    path = save(tmp_path / "a.npy", values(rows=3 * MIB // 32))
    data = path.read_bytes()
    expected = hashlib.sha256(str(len(data)).encode() + data[:MIB] + data[-MIB:]).hexdigest()
    assert identity(path) == {"path": str(path), "sha256": expected}


@cases("place", [(0, 0), (0, -1), (-1, 0), (-1, -1)])
@pytest.mark.parametrize("writer", WRITERS)
def test_the_identity_changes_with_the_first_and_the_last_row(tmp_path, writer, place):
    data = values()
    before = sha(WRITERS[writer](tmp_path, data))
    data[place] += 1
    (tmp_path / "b").mkdir()
    assert sha(WRITERS[writer](tmp_path / "b", data)) != before


@pytest.mark.parametrize("writer", WRITERS)
def test_the_identity_changes_with_the_length_and_not_with_the_place(tmp_path, writer):
    found = []
    for i, rows in enumerate([ROWS, ROWS, ROWS - 1]):
        (tmp_path / str(i)).mkdir()
        source = WRITERS[writer](tmp_path / str(i), np.zeros((rows, WIDTH), np.float32))
        record = identity(source)
        assert record["path"] == str(source) and isinstance(open_foreign(record["path"]), KINDS[writer[0]])
        found.append(record["sha256"])
    assert found[0] == found[1] != found[2]


def test_the_identity_of_a_tensor_is_not_only_that_of_its_file(tmp_path):
    """The tensor `b` lies in neither the first nor the last MiB of its file."""
    around, changed = np.zeros((MIB // 16, 8), np.float32), values()
    changed[-1, -1] = 0
    one = safe(tmp_path / "one.safetensors", a=around, b=values(), c=around)
    same = safe(tmp_path / "same.safetensors", a=around, b=values(), c=around)
    other = safe(tmp_path / "other.safetensors", a=around, b=changed, c=around)
    assert len({sha(f"{one}:{name}") for name in "abc"}) == 3
    assert sha(f"{one}:b") == sha(f"{same}:b") != sha(f"{other}:b")


def test_the_identity_of_a_tensor_is_the_same_by_name_and_as_the_only_one(tmp_path):
    path = str(safe(tmp_path / "a.safetensors", acts=values()))
    assert sha(path) == sha(f"{path}:acts")


def test_the_identity_of_a_zarr_array_changes_with_its_metadata(tmp_path):
    assert sha(zarr2(tmp_path / "a", values())) != sha(zarr2(tmp_path / "b", values(), fill_value=1))
