"""GGUF files: every quantisation, split files, and every damage in one line."""

import builtins
import contextlib
import pathlib
import struct
import time

import gguf
import numpy as np
import pytest

from monosem_jax.models.pretrained import open_pretrained
from monosem_jax.models.weights import gguf_header
from monosem_jax.models.weights.gguf import File
from monosem_jax.runtime.errors import BadInput
from tests.models.small import LLAMA, write_model
from tests.models.weights.gguf_files import F32, gguf_of
from tests.models.weights.quantised import REFERENCES
from tests.models.weights.test_hf import line

Kind = gguf.GGMLQuantizationType
ROWS, COLUMNS = 6, 512
PLAIN = {"F32": np.float32, "F16": np.float16}
TAKEN = ("F32", "F16", *(kind.name for kind in gguf.quants._type_traits))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf") / "model"
    write_model(folder, LLAMA)
    return folder


def blocks(kind: Kind, rows: int = ROWS) -> np.ndarray:
    """Random blocks [rows, bytes] of a type, whose scales are finite numbers."""
    values, size = gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(kind).integers(0, 256, (rows, COLUMNS // values, size), dtype=np.uint8)
    raw = raw.reshape(rows, -1)
    for _ in range(40):  # a scale that is no number is drawn again
        with np.errstate(invalid="ignore", over="ignore"):
            odd = ~np.isfinite(gguf.dequantize(raw, kind)).reshape(rows, -1, values).all(-1)
        if not odd.any():
            return raw
        new = np.random.default_rng(raw).integers(0, 128, raw.shape, dtype=np.uint8)
        raw = np.where(np.repeat(odd, size, axis=1), new, raw)
    raise AssertionError(kind)


def write_one(path: pathlib.Path, kind: Kind, raw: np.ndarray) -> File:
    """A file with a tensor [ROWS, COLUMNS], at Hugging Face's name lm_head.weight."""
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_tensor("output.weight", raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return File(path)


@pytest.mark.parametrize("name", TAKEN)
def test_every_type_is_read_as_the_package_does_by_rows_and_columns(tmp_path, name):
    kind = Kind[name]
    raw = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype(PLAIN[name]) if name in PLAIN else blocks(kind)
    found = write_one(tmp_path / "m.gguf", kind, raw)
    expected = gguf.dequantize(raw, kind)
    found.check("lm_head.weight")
    read = found.read("lm_head.weight")
    assert found.shapes == {"lm_head.weight": (ROWS, COLUMNS)} and len(set(expected.reshape(-1).tolist())) > 2
    np.testing.assert_array_equal(read.astype(np.float32), expected)
    for index in ((slice(2, 5), slice(None)), (slice(1, 4), slice(100, 300)), (slice(3, 3), slice(None))):
        np.testing.assert_array_equal(found.read("lm_head.weight", index), read[index])


@pytest.mark.parametrize("name", REFERENCES)
def test_the_package_reads_a_type_as_its_layout_says(name):
    """Against a reading in float64, block by block, written from the layout in ggml."""
    raw = blocks(Kind[name], 2)
    expected = REFERENCES[name](raw.reshape(-1, gguf.GGML_QUANT_SIZES[Kind[name]][1]))
    np.testing.assert_allclose(gguf.dequantize(raw, Kind[name]).reshape(-1), expected.reshape(-1), rtol=1e-6)


QUANTISED = [name for name in TAKEN[2:] if name not in ("TQ1_0", "TQ2_0", "MXFP4", "BF16") and
             "quantize_blocks" in vars(gguf.quants._type_traits[Kind[name]])]  # fmt: skip


@pytest.mark.parametrize("name", QUANTISED)
def test_a_quantised_model_is_close_to_the_one_it_was_made_from(folder, tmp_path, name):
    wide = tmp_path / "wide"
    near = write_model(wide, LLAMA | {"hidden_size": 64, "intermediate_size": 64})
    path = gguf_of(wide, tmp_path / "m.gguf", lambda _, array: Kind[name] if array.ndim > 1 else F32)
    for a, b in zip(*(_leaves(p.params()) for p in (near, open_pretrained(str(path)))), strict=True):
        error = np.sqrt(((a - b) ** 2).mean() / (a**2).mean())
        assert error < {"4": 0.15, "5": 0.08, "8": 0.01}[name[1]] and (a.ndim == 1) == (error == 0)


def _leaves(tree):
    import jax

    return jax.tree.leaves(tree)


def test_a_type_that_the_package_cannot_read_is_named(tmp_path):
    found = write_one(tmp_path / "m.gguf", Kind.Q8_1, np.zeros((ROWS, COLUMNS // 32 * 40), np.uint8))
    assert line(lambda: found.check("lm_head.weight")).endswith(
        "output.weight is quantised as Q8_1: gguf cannot read it"
    )
    content = bytearray((tmp_path / "m.gguf").read_bytes())
    at = content.index(struct.pack("<IQ", Kind.Q8_1, 0))
    content[at : at + 4] = struct.pack("<I", 777)
    (tmp_path / "m.gguf").write_bytes(content)
    assert "number 777, which gguf does not know" in line(lambda: File(tmp_path / "m.gguf").check("lm_head.weight"))


def test_files_into_which_one_was_split_are_read_together(folder, tmp_path):
    gguf_of(folder, tmp_path / "m.gguf", split_max_tensors=5)
    parts = sorted(tmp_path.glob("m-*-of-*.gguf"))
    assert len(parts) == 5
    whole = open_pretrained(str(gguf_of(folder, tmp_path / "whole.gguf")))
    for part in (parts[0], parts[3]):
        found = open_pretrained(str(part))
        assert found.config == whole.config
        for name in whole.source.shapes:
            np.testing.assert_array_equal(found.source.read(name), whole.source.read(name))
    parts[0].rename(tmp_path / "renamed.gguf")
    assert "is one of 5 files: expected names" in line(lambda: open_pretrained(str(tmp_path / "renamed.gguf")).config)
    assert "m-00001-of-00005.gguf does not exist here" in line(lambda: open_pretrained(str(parts[1])).config)


@pytest.fixture
def content(folder, tmp_path):
    return bytearray(gguf_of(folder, tmp_path / "m.gguf").read_bytes())


def refusal(tmp_path, content) -> str:
    (tmp_path / "m.gguf").write_bytes(content)
    begin = time.perf_counter()
    text = line(lambda: _checked(tmp_path / "m.gguf"))
    assert time.perf_counter() - begin < 5
    return text


def _checked(path) -> None:
    found = open_pretrained(str(path))
    found._table.parameters_in(found.config, found.source)
    _ = found._shapes


def test_a_file_cut_short_anywhere_is_refused(tmp_path, content):
    for cut in (0, 3, 7, 20, 100, 500, len(content) // 4, len(content) // 2, len(content) - 40):
        text = refusal(tmp_path, content[:cut])
        assert "is not a readable GGUF file" in text or "cut short" in text, (cut, text)


def test_other_kinds_of_files_are_named(tmp_path, content):
    assert "begins with b'PK" in refusal(tmp_path, b"PK\3\4" + content[4:])
    assert "its version is 1: expected 2 or 3" in refusal(tmp_path, content[:4] + struct.pack("<I", 1) + content[8:])
    assert "its numbers are big-endian" in refusal(tmp_path, content[:4] + struct.pack(">I", 3) + content[8:])


def test_counts_that_no_file_has_are_refused_at_once(tmp_path, content):
    for at, what in ((8, "tensors"), (16, "keys")):
        for n in (2**63, 10**9):
            assert f"it would have {n:,} {what}" in refusal(
                tmp_path, content[:at] + struct.pack("<Q", n) + content[at + 8 :]
            )
    key = struct.pack("<Q", 1) + b"k"
    begin = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key
    rest = b"\0" * 1000
    strings, numbers = (struct.pack("<IIQ", 9, kind, 2**40) for kind in (8, 4))
    assert "strings in an array: expected at most" in refusal(tmp_path, begin + strings + rest)
    assert "it ends within its header" in refusal(tmp_path, begin + numbers + rest)
    assert "it ends within its header" in refusal(tmp_path, begin + struct.pack("<IQ", 8, 2**62) + rest)
    assert "an array has elements of type 9" in refusal(tmp_path, begin + struct.pack("<IIQ", 9, 9, 5) + rest)
    assert "a value has type 77" in refusal(tmp_path, begin + struct.pack("<I", 77) + rest)
    many = b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + (key + struct.pack("<IB", 0, 1)) * 2
    assert "k is there twice" in refusal(tmp_path, many)


def test_a_header_longer_than_any_is_not_read_on(tmp_path, monkeypatch, content):
    monkeypatch.setattr(gguf_header, "FIRST_READ", 100)
    assert open_pretrained(str(tmp_path / "m.gguf")).config.n_layers == 2
    monkeypatch.setattr(gguf_header, "LONGEST", 300)
    assert "its header is longer than 300 bytes" in refusal(tmp_path, content)


def test_tensors_that_cannot_be_are_refused(tmp_path, content):
    name = b"output_norm.weight"
    at = content.index(name) + len(name)
    assert struct.unpack_from("<IQI", content, at) == (1, 32, F32)
    for axes, n, kind, expected in (
        (9, 32, F32, "has 9 axes"),
        (1, 2**50, F32, "cut short"),
        (1, 16, F32, "model.norm.weight has shape [16]: expected [32]"),
        (1, 40, Kind.Q4_0, "has rows of 40 values: expected a multiple of 32"),
    ):
        changed = bytearray(content)
        struct.pack_into("<IQI", changed, at, axes, n, kind)
        assert expected in refusal(tmp_path, changed)
    assert "has no tensor model.norm.weight: it has 21 others, such as" in refusal(
        tmp_path, content.replace(name, b"output_nxxx.weight")
    )


KEYS = {
    "missing": (lambda w: w.kv_data[0].pop("llama.block_count"), "has no key llama.block_count"),
    "a string": (lambda w: w.kv_data[0].pop("llama.block_count") and w.add_string("llama.block_count", "x"),
                 "llama.block_count is x: expected a whole number"),
    "experts": (lambda w: w.add_expert_count(8), "is a mixture of 8 experts"),
    "a part of a head": (lambda w: w.add_rope_dimension_count(4), "llama.rope.dimension_count is 4: expected 8"),
    "longrope": (lambda w: w.add_string("llama.rope.scaling.type", "longrope"), "rope.scaling.type is longrope"),
    "another scale": (lambda w: w.add_float32("llama.attention.scale", 0.5), "llama.attention.scale is 0.5"),
    "another of angles": (lambda w: w.add_tensor("rope_freqs.weight", np.linspace(1, 3, 4, dtype=np.float32)),
                          "divides angles in another way"),
    "layers that differ": (lambda w: w.add_array("llama.expert_count", [0, 2]), "differs between layers"),
    "a scale beside": (lambda w: w.add_tensor("blk.0.attn_q.scale", np.ones(1, np.float32)),
                       "blk.0.attn_q.weight has a scale in a tensor of its own"),
}  # fmt: skip


@pytest.mark.parametrize("extra, expected", KEYS.values(), ids=KEYS)
def test_a_model_that_is_not_computed_here_is_refused(folder, tmp_path, extra, expected):
    path = gguf_of(folder, tmp_path / "m.gguf", extra=extra)
    assert expected in line(lambda: _checked(path))


def test_an_architecture_without_names_is_refused_with_those_that_have(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    text = line(lambda: open_pretrained(str(tmp_path / "m.gguf")).config)
    assert "general.architecture is 'mamba': expected one of llama, qwen2, qwen3, gemma" in text


def test_without_the_package_one_line_says_what_to_install(folder, tmp_path, monkeypatch):
    path = gguf_of(folder, tmp_path / "m.gguf")
    plain = builtins.__import__

    def without(name, *rest):
        if name == "gguf":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadInput, match="reading GGUF needs the package gguf: pip install gguf"):
        _ = open_pretrained(str(path)).config


def test_whatever_bytes_a_header_has_it_is_read_or_refused(tmp_path, content):
    rng, end = np.random.default_rng(0), content.index(b"blk.1.")
    for _ in range(150):
        changed = bytearray(content)
        for at in rng.integers(8, end, rng.integers(1, 4)):
            changed[at] = rng.choice([0, 1, 128, 255, rng.integers(256)])
        (tmp_path / "m.gguf").write_bytes(changed)
        found = File(tmp_path / "m.gguf")
        with contextlib.suppress(BadInput):
            assert found.config and found.shapes
