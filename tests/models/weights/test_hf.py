"""Directories of Hugging Face: what is read of them, and every damage is one line."""

import json
import os
import shutil

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models

from monosem_jax.models.pretrained import open_pretrained
from monosem_jax.models.weights import hf
from monosem_jax.models.weights.config_json import Settings, rope_of
from monosem_jax.runtime.errors import BadInput
from tests.models.small import LLAMA, write_model

FIRST, SECOND = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "model"
    write_model(folder, LLAMA)
    words = Tokenizer(models.WordLevel({"<s>": 0, "a": 1, "b": 2}, unk_token="<s>"))
    words.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "m")


def edit(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def line(action) -> str:
    with pytest.raises(BadInput) as e:
        action()
    text = str(e.value)
    assert len(text.splitlines()) == 1 and len(text) < 500
    return text


def refusal(folder) -> str:
    return line(lambda: open_pretrained(str(folder)).check())


def test_a_directory_is_read_whole_and_in_parts(made):
    found = open_pretrained(str(made))
    found.check()
    tensors = {k: v for f in (FIRST, SECOND) for k, v in load_file(made / f).items()}
    assert found.source.shapes == {k: v.shape for k, v in tensors.items()} and found.tokenizer.encode("a").ids == [1]
    for name, value in tensors.items():
        np.testing.assert_array_equal(found.source.read(name), value)
        part = tuple(slice(n // 3, n // 2) for n in value.shape)
        np.testing.assert_array_equal(found.source.read(name, part), value[part])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_types_are_read_to_the_bit(folder, dtype):
    values = np.random.default_rng(0).normal(size=(5, 3)).astype(dtype)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    save_file({"x": values, "scalar": np.asarray(2.5, dtype), "empty": np.zeros((0, 3), dtype)}, folder / hf.ONE)
    found = hf.Directory(folder)
    assert (
        found.read("x").dtype == dtype
        and found.read("x", (slice(1, 3), slice(2))).tobytes() == values[1:3, :2].tobytes()
    )
    assert float(found.read("scalar")) == 2.5 and found.read("empty").shape == (0, 3)


@pytest.mark.parametrize("dtype", ["int8", "float64", "uint8", "bool"])
def test_other_types_are_refused_where_they_are_needed(folder, dtype):
    tensors = load_file(folder / FIRST)
    name = sorted(tensors)[0]
    save_file({**tensors, "unused": np.zeros(3, dtype)}, folder / FIRST)
    open_pretrained(str(folder)).check()
    save_file({**tensors, name: tensors[name].astype(dtype)}, folder / FIRST)
    text = refusal(folder)
    assert name in text and "expected one of BF16, F32, F16" in text


def test_links_into_a_cache_are_followed(made, tmp_path):
    (tmp_path / "snapshot").mkdir()
    for file in made.iterdir():
        os.symlink(file, tmp_path / "snapshot" / file.name)
    linked = open_pretrained(str(tmp_path / "snapshot"))
    linked.check()
    assert linked.sha256 == open_pretrained(str(made)).sha256


def drop(key):
    return lambda values: values.pop(key)


def names(**files):
    return lambda values: values["weight_map"].update(files)


INDEX = {
    "names a file that does not exist": (names(x="no.safetensors"), "names no.safetensors, which"),
    "names a file outside": (names(x="../x.safetensors"), "names '../x.safetensors': expected"),
    "names an absolute path": (names(x="/etc/passwd"), "names '/etc/passwd': expected"),
    "names a tensor that its file lacks": (names(x=FIRST), f"has x in {FIRST}, which lacks it"),
    "has no map": (drop("weight_map"), "has no weight_map"),
    "has a list": (lambda v: v.update(weight_map=[FIRST]), "has no weight_map"),
    "has numbers": (lambda v: v.update(weight_map={"x": 3}), "has no weight_map"),
}  # fmt: skip


@pytest.mark.parametrize("change, expected", INDEX.values(), ids=INDEX)
def test_a_wrong_index_is_refused(folder, change, expected):
    edit(folder / hf.INDEX, change)
    assert expected in refusal(folder)


def test_a_tensor_in_two_files_is_refused(folder):
    first, second = load_file(folder / FIRST), load_file(folder / SECOND)
    name = sorted(first)[0]
    save_file({**second, name: first[name]}, folder / SECOND)
    assert f"{name} is in {FIRST} and again in {SECOND}" in refusal(folder)


def test_without_an_index_all_numbered_files_are_read_and_must_be_there(folder):
    (folder / hf.INDEX).unlink()
    open_pretrained(str(folder)).check()
    (folder / SECOND).unlink()
    assert f"has {FIRST} and no {SECOND}" in refusal(folder)


def test_pickles_are_refused_with_the_reason(folder):
    for file in (*folder.glob("*.safetensors"), folder / hf.INDEX):
        file.unlink()
    assert "has no model.safetensors: expected the weights as safetensors" in refusal(folder)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    text = refusal(folder)
    assert "pytorch_model.bin, a pickle, which can run code" in text and "save_pretrained" in text


@pytest.mark.parametrize("cut", [0, 5, 8, 40, -1])
def test_a_file_that_is_cut_short_is_refused(folder, cut):
    content = (folder / FIRST).read_bytes()
    (folder / FIRST).write_bytes(content[:cut] if cut >= 0 else content[:-1])
    text = refusal(folder)
    assert FIRST in text and ("bytes" in text or "cut short" in text)


def entry(shape: str, offsets: str) -> bytes:
    return f'{{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}'.encode()


HEADERS = {
    "no JSON": b"{not json}",
    "a list": b"[1, 2]",
    "deep": b"[" * 9999,
    "no shape": b'{"x": {"dtype": "F32", "data_offsets": [0, 4]}}',
    "a negative shape": b'{"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
    "a huge shape": b'{"x": {"dtype": "F32", "shape": [999999999999999999999], "data_offsets": [0, 4]}}',
    "another size": b'{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
    "an overlap": b'{"x": %b, "y": %b}' % (entry("[1]", "[0, 4]"), entry("[1]", "[0, 4]")),
    "a gap": b'{"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
    "a name twice": b'{"x": %b, "x": %b}' % (entry("[0]", "[0, 0]"), entry("[0]", "[0, 0]")),
}  # fmt: skip


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_damaged_header_is_refused(folder, header):
    (folder / FIRST).write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    assert f"{FIRST} is not a readable .safetensors file" in refusal(folder)


CONFIGS = {
    "null": ({"hidden_size": None}, "config.json has no hidden_size"),
    "a string": ({"hidden_size": "32"}, 'hidden_size is "32": expected a whole number'),
    "negative": ({"num_hidden_layers": -1}, "num_hidden_layers is -1: expected"),
    "none": ({"num_attention_heads": 0}, "n_heads is 0"),
    "many layers": ({"num_hidden_layers": 9_999}, "has no tensor model.layers.2."),
    "very many": ({"num_hidden_layers": 10**30}, "num_hidden_layers is 1000000000000"),
    "not a number": ({"rms_norm_eps": float("nan")}, "rms_norm_eps is NaN: expected a number"),
    "infinite": ({"rope_theta": float("inf")}, "rope_theta is Infinity: expected a number"),
    "huge": ({"rms_norm_eps": 10**400}, "rms_norm_eps is 1000000000"),
    "wide": ({"hidden_size": 2**31 - 8}, "expected [2147483640"),
    "a list": ({"model_type": ["llama"]}, 'model_type is ["llama"]: expected one of'),
    "unknown": ({"model_type": "mamba"}, 'model_type is "mamba": expected one of '),
    "a text of positions": ({"rope_scaling": "linear"}, 'rope_scaling is "linear": expected an object'),
    "quantised": ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config, method gptq"),
    "quantised oddly": ({"quantization_config": "fp8"}, "quantization_config, method fp8"),
    "too few tokens": ({"vocab_size": 2}, "has shape [96, 32]: expected [2, 32]"),
    "wrong kinds of layers": ({"model_type": "mistral", "sliding_window": 4, "layer_types": 3}, "layer_types is 3"),
}  # fmt: skip


@pytest.mark.parametrize("change, expected", CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_that_cannot_be_is_refused(folder, change, expected):
    edit(folder / "config.json", lambda values: values.update(change))
    assert expected in refusal(folder)


@pytest.mark.parametrize("content, expected", [
    (b"", "is not valid JSON"), (b"[1]", "is not an object"), (b"{" * 9999, "is not valid JSON"),
    (b'"\xff"', "is not valid JSON"), (b'{"a": ' + b"9" * 9999 + b"}", "is not valid JSON"),
])  # fmt: skip
def test_a_config_json_that_is_none_is_refused(folder, content, expected):
    (folder / "config.json").write_bytes(content)
    text = refusal(folder)
    assert "config.json" in text and expected in text


def test_a_very_long_json_file_is_not_read(folder):
    with open(folder / "config.json", "wb") as f:
        f.truncate(1 << 40)
    assert "config.json has more than" in refusal(folder)


def test_without_a_tokenizer_the_shapes_and_parameters_are_there(folder):
    (folder / "tokenizer.json").unlink()
    found = open_pretrained(str(folder))
    assert found.config.n_layers == 2 and found.params()
    assert "has no tokenizer.json: expected one" in line(lambda: found.tokenizer)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"version": "1.0", "model": 3}'])
def test_a_damaged_tokenizer_is_refused(folder, content):
    (folder / "tokenizer.json").write_bytes(content)
    assert "tokenizer.json cannot be read" in refusal(folder)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder):
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(96)}, unk_token="w0"))
    words.save(str(folder / "tokenizer.json"))
    open_pretrained(str(folder)).check()
    words.add_tokens(["one more"])
    words.save(str(folder / "tokenizer.json"))
    assert "has token 96: expected numbers below the model's vocab_size 96" in refusal(folder)


def test_what_is_no_model_is_refused_with_what_to_give(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "with").mkdir()
    (tmp_path / "with" / "x.gguf").touch()
    (tmp_path / "file.bin").touch()
    assert f"is a single file of a model: give its directory {folder}" in refusal(folder / FIRST)
    assert "has no config.json" in refusal(tmp_path / "empty")
    assert f"give the file {tmp_path}/with/x.gguf" in refusal(tmp_path / "with")
    assert "does not exist: expected" in refusal(tmp_path / "nothing")
    assert "is no file of a model: expected" in refusal(tmp_path / "file.bin")


@pytest.mark.parametrize("value", [True, 1.0, "1", [], {}, -1, 10**10])
def test_a_count_is_a_whole_number(value):
    with pytest.raises(BadInput, match=r"^config\.json: n is .*expected a whole number"):
        Settings({"n": value}).count("n")


def test_positions_before_and_since_transformers_5_are_the_same():
    scaling = {"rope_type": "linear", "factor": 2.0}
    before = rope_of({"rope_theta": 500.0, "rope_scaling": scaling})
    assert before == rope_of({"rope_parameters": {**scaling, "rope_theta": 500.0}}) and before.theta == 500
