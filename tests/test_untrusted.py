"""Untrusted files: no file that is read can run code, and one line says what is wrong with it.

Every payload would make a directory if it were run.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable

import jax
import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.store.store import Store, open_rows
from monosem_jax.interop import exported as interop_dictionary
from monosem_jax.interop.readers import saelens
from monosem_jax.interop.tensors import read_tensors
from monosem_jax.load import KINDS
from monosem_jax.runtime.checkpoint import Checkpoints, check_step
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.metric_writers import MetricWriters, read_metrics
from monosem_jax.runtime.workdir import FORMAT, RunDir
from monosem_jax.stages import harvest, inspect
from monosem_jax.stages.harvest import HarvestRunConfig
from monosem_jax.stages.inspect import InspectConfig
from monosem_jax.text.corpus import read_corpus
from monosem_jax.text.directory import Text
from monosem_jax.text.pack import TextConfig, prepare_text
from monosem_jax.text.tokenizer import load_tokenizer
from monosem_jax.training.metric_log import MetricsLog
from tests.cases import cases
from tests.conftest import write_words
from tests.experiments.tiny import run
from tests.interop.small import random_params, write_folder

# A read that fails leaves futures and coroutines of Orbax behind that nobody waits for.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Sharding info not provided:UserWarning"),
]
FIXTURES = pathlib.Path(__file__).parent / "fixtures"


class Trap:
    """Makes a directory when it is unpickled."""

    def __init__(self, mark: pathlib.Path):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.fixture(autouse=True)
def trap(tmp_path):
    """A payload that nothing in a test runs."""
    found = Trap(tmp_path / "sprung")
    yield found
    assert not (tmp_path / "sprung").exists()


def pickled_array(trap: Trap) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray([[trap]], object), allow_pickle=True)
    return file.getvalue()


def archive(trap: Trap) -> bytes:
    file = io.BytesIO()
    np.savez(file, np.asarray([trap], object), W_enc=np.ones((2, 3)))
    return file.getvalue()


def torch_archive(trap: Trap) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("archive/data.pkl", pickle.dumps(trap, 2))
        z.writestr("archive/version", "3")
    return file.getvalue()


def command(trap: Trap) -> bytes:
    return f"cos\nsystem\n(S'mkdir {trap.mark}'\ntR.".encode()


DEEP = 200_000
HOSTILE: dict[str, Callable[[Trap], bytes]] = {
    "a pickle": pickle.dumps,
    "an old pickle": lambda t: pickle.dumps(t, 0),
    "a command in a pickle": command,
    "a pickled array": pickled_array,
    "an archive of pickled arrays": archive,
    "an archive of PyTorch": torch_archive,
    "a compressed pickle": lambda t: gzip.compress(pickle.dumps(t)),
    "nothing": lambda t: b"",
    "zeros": lambda t: bytes(100),
    "lists in lists": lambda t: b"[" * DEEP,
    "objects in objects": lambda t: b'{"a":' * DEEP,
    "no UTF-8": lambda t: b'{"a": "\xff\xfe"}',
    "a number of many digits": lambda t: b"1" * 10_000,
    "Python": lambda t: f"__import__('os').mkdir({t.mark!r})".encode(),
    "YAML": lambda t: f"!!python/object/apply:os.mkdir ['{t.mark}']".encode(),
}
WRONG: dict[str, Callable[[Trap], bytes]] = {
    "null": lambda t: b"null",
    "a number": lambda t: b"1",
    "no number": lambda t: b"NaN",
    "text": lambda t: b'"text"',
    "a list of lists": lambda t: b"[[], []]",
    "an empty object": lambda t: b"{}",
}
JSON = {**HOSTILE, **WRONG}


def test_the_payloads_work_where_pickles_are_read(tmp_path):
    for i, data in enumerate((pickle.dumps, command)):
        pickle.loads(data(Trap(tmp_path / f"made-{i}")))
        assert (tmp_path / f"made-{i}").is_dir()


def refusal(call: Callable[[], object]) -> str:
    """The one line of a refusal."""
    with pytest.raises(BadInput) as e:
        call()
    assert "\n" not in str(e.value) and len(str(e.value)) < 1000
    return str(e.value)


# Runs


@pytest.fixture
def dictionary(tmp_path) -> pathlib.Path:
    """A run of train_sae, with checkpoints of steps 0 and 12."""
    with tarfile.open(FIXTURES / "format2.tar.gz") as f:
        f.extractall(tmp_path, filter="data")
    return tmp_path / "format2"


def made(path: pathlib.Path, experiment: str, /, **record) -> pathlib.Path:
    path.mkdir(parents=True, exist_ok=True)
    whole = {"format": FORMAT, "experiment": experiment, "config": {}, "parents": {}, **record}
    (path / "config.json").write_text(json.dumps(whole))
    return path


@cases("what", JSON)
def test_a_configuration_is_refused(tmp_path, trap, what):
    (tmp_path / "config.json").write_bytes(JSON[what](trap))
    assert f"{tmp_path}" in refusal(lambda: load_run(tmp_path))
    refusal(lambda: inspect.inspect(tmp_path, InspectConfig()))
    refusal(lambda: RunDir(tmp_path, "toy", {}, {}))


ODD = {
    "experiment": [None, 3, [], {}, ["train_sae"]],
    "config": [None, 3, [], "text"],
    "parents": [None, 3, [], {"source": None}, {"source": {}}, {"source": {"path": 3}}, {"source": [1]}],
    "format": ["2", None, [2], 2.5],
    "versions": [[], "x"],
    "git": [3, ["a"]],
}


@pytest.mark.parametrize("key", ODD)
def test_a_configuration_with_values_of_other_types_is_refused(tmp_path, key):
    for value in ODD[key]:
        made(tmp_path / "run", "train_sae", **{key: value})
        assert "config.json is not one of ours" in refusal(lambda: load_run(tmp_path / "run"))


@pytest.mark.parametrize("sae", [None, [], {}, {"architecture": ["relu"]}, {"architecture": "os.system"}, {"a": 1}])
def test_a_dictionary_of_another_configuration_is_refused(tmp_path, sae):
    run = load_run(made(tmp_path / "run", "train_sae", config={"sae": sae}))
    (run.path / "input.json").write_text('{"input_scale": 1.0, "site": null, "width": 6}')
    assert "architecture" in refusal(lambda: run.feature(0))


@pytest.mark.parametrize(
    "parent", [{"path": "s3://bucket/x"}, {"path": "/dev/null"}, {"path": "a\0b", "relative": "c\0d"}]
)
def test_parents_that_are_no_runs_are_refused(tmp_path, parent):
    run = load_run(made(tmp_path / "run", "evaluate", parents={"run": parent}))
    assert "was made from" in (told := refusal(lambda: run.dictionary)) or "is not a run directory" in told


@cases("what", JSON)
def test_a_summary_is_refused(dictionary, trap, what):
    (dictionary / "summary.json").write_bytes(JSON[what](trap))
    if what == "an empty object":
        assert load_run(dictionary).summary == {}
    else:
        assert "summary.json" in refusal(lambda: load_run(dictionary).summary)
        refusal(lambda: inspect.inspect(dictionary, InspectConfig()))


@cases("what", JSON)
def test_what_is_said_of_the_inputs_is_refused(dictionary, trap, what):
    (dictionary / "input.json").write_bytes(JSON[what](trap))
    for call in (lambda: load_run(dictionary).params, lambda: load_run(dictionary).site):
        assert "input.json" in refusal(call)


@cases("scale", ["NaN", "Infinity", "-1", "0", "true", '"2"', "[]", "null", "1e999"])
def test_a_scale_that_is_no_positive_number_is_refused(dictionary, scale):
    (dictionary / "input.json").write_text(f'{{"input_scale": {scale}, "site": null}}')
    assert "input_scale" in refusal(lambda: load_run(dictionary).feature(1))


LINES = {
    **JSON,
    "an infinite step": lambda t: b'{"step": Infinity}',
    "no step": lambda t: b'{"step": NaN, "loss": 1}',
    "a step in a list": lambda t: b'{"step": [1]}',
}


@cases("what", LINES)
def test_lines_of_others_in_a_log_are_left_out(tmp_path, trap, what):
    own = json.dumps({"step": 5, "time": 1.0, "loss": 2.0}).encode()
    (tmp_path / "metrics.jsonl").write_bytes(own + b"\n" + LINES[what](trap).replace(b"\n", b" ") + b"\n" + own)
    assert read_metrics(tmp_path) == [(5, {"loss": 2.0})] * 2
    logs = MetricWriters(tmp_path)
    logs.rewind(9)
    logs.close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == (own + b"\n") * 2


@cases("what", JSON)
def test_an_unfinished_sum_is_refused(tmp_path, trap, what):
    with RunDir(tmp_path / "run", "toy", {}, {}) as run:
        (run.path / ".unfinished.json").write_bytes(JSON[what](trap))
        assert ".unfinished.json" in refusal(lambda: MetricsLog(run, 5, 0))


@cases("what", HOSTILE)
def test_figures_and_records_are_refused(tmp_path, trap, what):
    run = load_run(made(tmp_path / "run", "analyze"))
    for name in ("density.npy", "features.json", "categories.json"):
        (run.path / name).write_bytes(HOSTILE[what](trap))
        assert name in refusal(lambda name=name: getattr(run, name.partition(".")[0]))


@cases("what", sorted(WRONG.keys() - {"a list of lists"}))
def test_records_that_are_no_list_are_refused(tmp_path, trap, what):
    run = load_run(made(tmp_path / "run", "analyze"))
    for name in ("features", "categories"):
        (run.path / f"{name}.json").write_bytes(WRONG[what](trap))
        assert "expected a list" in refusal(lambda name=name: getattr(run, name))


def test_an_archive_under_the_name_of_an_array_is_refused(tmp_path):
    run = load_run(made(tmp_path / "run", "evaluate"))
    with open(run.path / "density.npy", "wb") as f:
        np.savez(f, np.ones(3))
    assert "density.npy is not a readable .npy array" in refusal(lambda: run.density)


@cases("experiment", KINDS)
def test_a_directory_that_holds_nothing_else_can_be_inspected(tmp_path, capsys, experiment):
    path = made(tmp_path / "run", experiment, config={"<script>": [None, {"a": "\x1b[31m"}]})
    inspect.inspect(path, InspectConfig())
    assert f"{experiment}, not finished" in capsys.readouterr().out


# Checkpoints


def damage(path: pathlib.Path, files: Callable[[pathlib.Path], bool], data: bytes) -> None:
    for p in [p for p in path.rglob("*") if p.is_file() and files(p.relative_to(path))]:
        p.write_bytes(data)


PLACES = {
    "everything but the note": lambda p: p.name != "_CHECKPOINT_METADATA",
    "the notes on trees": lambda p: p.name == "_METADATA",
    "manifests": lambda p: p.name == "manifest.ocdbt",
    "data": lambda p: "d" in p.parts,
    "all notes": lambda p: p.name in ("_METADATA", "_CHECKPOINT_METADATA", "_sharding", "process_0"),
}


def read_checkpoints(path: pathlib.Path) -> list[str]:
    """What every reader says of the newest checkpoint."""
    reads = (lambda run: run.params, lambda run: run.state(), lambda run: run.params_on(mesh()))
    return [refusal(functools.partial(read, load_run(path, 12))) for read in reads]


def mesh():
    return jax.make_mesh((1, 1), ("data", "model"), devices=jax.devices()[:1])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", ["a pickle", "a command in a pickle", "a pickled array", "lists in lists", "nothing"])
def test_a_checkpoint_of_pickles_is_refused(dictionary, trap, place, what):
    damage(dictionary / "checkpoints", PLACES[place], HOSTILE[what](trap))
    assert all("checkpoints/12 " in line for line in read_checkpoints(dictionary))
    assert check_step(dictionary / "checkpoints", 12)
    shutil.rmtree(dictionary / "checkpoints" / "0")
    refusal(lambda: interop_dictionary.of_run(dictionary))


@pytest.mark.parametrize("what", ["a pickle", "zeros", "lists in lists", "null", "a number", "a list of lists"])
def test_the_note_of_a_checkpoint_is_refused_or_taken_for_that_of_an_older_one(dictionary, trap, capsys, what):
    (dictionary / "checkpoints" / "12" / "_CHECKPOINT_METADATA").write_bytes(JSON[what](trap))
    assert all("checkpoints/12 " in line for line in read_checkpoints(dictionary))
    assert "checkpoints/12" in refusal(lambda: load_run(dictionary).feature(3))
    store = Checkpoints(dictionary / "checkpoints")
    store.close()
    assert load_run(dictionary).params["W_dec"].shape[0] == 16
    assert "taking an older one" in capsys.readouterr().err


HANDLERS = (
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "no.such.module",
    "orbax.checkpoint.PyTreeCheckpointHandler",
)


@pytest.mark.parametrize("handler", HANDLERS)
def test_handlers_that_a_checkpoint_names_are_not_looked_up(dictionary, monkeypatch, handler, tmp_path):
    for name in ("system", "popen"):
        monkeypatch.setattr(os, name, lambda *a: pytest.fail("it was called"))
    expected = load_run(dictionary).params
    for file in (dictionary / "checkpoints").glob("*/_CHECKPOINT_METADATA"):
        noted = json.loads(file.read_text())
        noted["item_handlers"] = {"params": handler, "rest": f"{handler}('mkdir {tmp_path}/sprung')"}
        file.write_text(json.dumps(noted))
    try:
        found = load_run(dictionary).state()["params"]
        assert np.array_equal(found["W_enc"], expected["W_enc"])
    except BadInput as e:
        assert "\n" not in str(e)


@pytest.mark.parametrize("kind", ["os.system", "subprocess.Popen", "jax.Array('os')", "", 7, None, ["a"]])
def test_types_that_a_checkpoint_names_are_not_looked_up(dictionary, monkeypatch, kind):
    for name in ("system", "popen"):
        monkeypatch.setattr(os, name, lambda *a: pytest.fail("it was called"))
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("it was called"))
    for file in (dictionary / "checkpoints").rglob("_METADATA"):
        noted = json.loads(file.read_text())
        for entry in noted["tree_metadata"].values():
            entry["value_metadata"]["value_type"] = kind
            entry["key_metadata"][0]["key_type"] = 2
        noted["tree_metadata"]["__import__('os').mkdir('x')"] = next(iter(noted["tree_metadata"].values()))
        file.write_text(json.dumps(noted))
    read_checkpoints(dictionary)


# Text


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("text")
    write_words(folder / "corpus.jsonl")
    prepare_text(folder / "text", TextConfig(str(folder / "corpus.jsonl"), vocab_size=300), 16, 0)
    return folder / "text"


TEXT_FILES = {
    "text.json": lambda text: text.bos,
    "documents.json": lambda text: text.labels,
    "tokenizer.json": lambda text: text.tokenizer,
    "train_tokens.npy": lambda text: text.tokens("train"),
    "heldout_documents.npy": lambda text: text.documents("heldout"),
}


@pytest.mark.parametrize("file", TEXT_FILES)
@cases("what", JSON)
def test_a_text_is_refused(words, tmp_path, trap, file, what):
    path = shutil.copytree(words, tmp_path / "text")
    (path / file).write_bytes(JSON[what](trap))
    refusal(lambda: TEXT_FILES[file](Text(path)))


@cases("what", JSON)
def test_a_tokenizer_is_refused(tmp_path, trap, what):
    (tmp_path / "tokenizer.json").write_bytes(JSON[what](trap))
    refusal(lambda: load_tokenizer(tmp_path / "tokenizer.json"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
@cases("what", JSON)
def test_a_corpus_is_refused(tmp_path, trap, name, what):
    data = JSON[what](trap)
    for content in [data] if name.endswith("l") else [data, gzip.compress(data)]:
        (tmp_path / name).write_bytes(content)
        assert name in refusal(lambda: read_corpus(str(tmp_path / name)))


def test_a_plain_text_is_only_text(tmp_path, trap):
    (tmp_path / "a.txt").write_bytes(command(trap))
    assert read_corpus(str(tmp_path / "a.txt"))[0].text == command(trap).decode()
    (tmp_path / "a.txt").write_bytes(pickle.dumps(trap))
    refusal(lambda: read_corpus(str(tmp_path / "a.txt")))


def test_a_small_file_that_unpacks_to_a_large_one_is_refused_when_it_is_no_text(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(bytes(20_000_000)))
    assert (tmp_path / "a.jsonl.gz").stat().st_size < 100_000
    assert "line 1 is not JSON" in refusal(lambda: read_corpus(str(tmp_path / "a.jsonl.gz")))


def test_links_in_a_folder_of_texts_lead_to_no_other_files(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("a text")
    (folder / "gone.txt").symlink_to(tmp_path / "nowhere")
    (folder / "round").symlink_to(folder)
    (folder / "loop.txt").symlink_to(folder / "loop.txt")
    assert [d.text for d in read_corpus(str(folder))] == ["a text"]


def test_labels_may_hold_anything_and_are_kept_as_they_are(tmp_path):
    label = "<script>alert(1)</script>\"'&\x1b[31m"
    lines = [json.dumps({"text": f"words {i}", "label": label, "origin": label}) for i in range(5)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert {(d.label, d.origin) for d in read_corpus(str(tmp_path / "a.jsonl"))} == {(label, label)}


# Arrays and stores


@pytest.mark.parametrize("name", ["a.npy", "a.safetensors"])
@cases("what", HOSTILE)
def test_an_array_is_refused(tmp_path, trap, name, what):
    (tmp_path / name).write_bytes(HOSTILE[what](trap))
    assert name in refusal(lambda: open_rows(tmp_path / name))
    if name.endswith("safetensors"):
        assert name in refusal(lambda: read_tensors(tmp_path / name, {"W_enc": (2, 3)}, {}))


@pytest.mark.parametrize("file", ["cfg.json", "sae_weights.safetensors"])
@cases("what", JSON)
def test_a_folder_of_saelens_is_refused(tmp_path, trap, file, what):
    folder = write_folder(tmp_path / "theirs", random_params(), architecture="topk", k=3)
    assert saelens.read(folder).k == 3
    (folder / file).write_bytes(JSON[what](trap))
    assert file in refusal(lambda: saelens.read(folder))


VALUES = [None, True, -1, 0, 10**30, 1.5, 1e999, "", "os.system", "a\nb", [], [[]], {}, {"k": []}, {"__class__": "x"}]


@pytest.mark.parametrize("key", [
    "architecture", "k", "d_in", "d_sae", "dtype", "rescale_acts_by_decoder_norm", "apply_b_dec_to_input",
    "activation_fn", "activation_fn_kwargs", "normalize_activations", "reshape_activations", "hook_name", "metadata",
])  # fmt: skip
def test_values_of_any_type_in_a_folder_of_saelens_are_taken_or_refused(tmp_path, key):
    for value in VALUES:
        folder = write_folder(tmp_path / "theirs", random_params(), architecture="topk", k=3)
        cfg = json.loads((folder / "cfg.json").read_text())
        for extra in ({}, {"activation_fn": "topk"}):
            (folder / "cfg.json").write_text(json.dumps({**cfg, **extra, key: value}))
            try:
                found = saelens.read(folder)
            except BadInput as e:
                assert "\n" not in str(e) and len(str(e)) < 1000
            else:
                assert found.architecture in ("topk", "relu") and found.k in (None, 3) and found.site is None


def safetensors(header: bytes, length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header


HEADERS = {
    "a header longer than the file": safetensors(b"{}", 1 << 40),
    "a header of all lengths": safetensors(b"{}", (1 << 64) - 1),
    "huge shapes": safetensors(
        b'{"x":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,4]}}' + bytes(4)
    ),
    "offsets beyond the end": safetensors(b'{"x":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}'),
    "offsets before the beginning": safetensors(b'{"x":{"dtype":"F32","shape":[1,1],"data_offsets":[-4,0]}}'),
    "lists in lists": safetensors(b'{"x":' + b"[" * DEEP),
    "metadata in metadata": safetensors(b'{"__metadata__":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}"),
}


@cases("what", HEADERS)
def test_a_header_that_promises_too_much_is_refused(tmp_path, what):
    (tmp_path / "a.safetensors").write_bytes(HEADERS[what])
    refusal(lambda: open_rows(tmp_path / "a.safetensors"))
    refusal(lambda: read_tensors(tmp_path / "a.safetensors", {"x": (1, 1)}, {}))


CODECS = [
    {"name": "os.system", "configuration": {"command": "mkdir sprung"}},
    {"name": "pickle"},
    {"name": "numcodecs.pickle", "configuration": {"protocol": 5}},
    {"name": "bytes", "configuration": {"endian": "__import__('os')"}},
    [],
    None,
]


@cases("codec", CODECS)
def test_an_array_of_zarr_with_a_codec_that_is_code_is_refused(tmp_path, codec):
    three = {
        "zarr_format": 3, "node_type": "array", "shape": [4, 2], "data_type": "float32", "fill_value": 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 2]}}, "codecs": [codec],
        "chunk_key_encoding": {"name": "default"}, "attributes": {"__reduce__": "os.system"},
    }  # fmt: skip
    two = {
        "zarr_format": 2, "shape": [4, 2], "chunks": [4, 2], "dtype": "|O", "fill_value": 0, "order": "C",
        "filters": [{"id": "pickle"}], "compressor": {"id": "pickle"},
    }  # fmt: skip
    for file, metadata in (("zarr.json", three), (".zarray", two)):
        (tmp_path / file).mkdir()
        (tmp_path / file / file).write_text(json.dumps(metadata))
        refusal(lambda file=file: open_rows(tmp_path / file))


@pytest.mark.parametrize("file", ["zarr.json", ".zarray"])
@cases("what", JSON)
def test_the_metadata_of_an_array_of_zarr_are_refused(tmp_path, trap, file, what):
    (tmp_path / file).write_bytes(JSON[what](trap))
    refusal(lambda: open_rows(tmp_path))


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> pathlib.Path:
    tmp = tmp_path_factory.mktemp("stored")
    np.save(tmp / "rows.npy", np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32))
    config = HarvestConfig(bucket_rows=1024, shard_rows=1024, dtype="float32")
    harvest.harvest(tmp / "store", HarvestRunConfig(source=str(tmp / "rows.npy"), harvest=config))
    return tmp / "store"


@pytest.mark.parametrize("file", ["store.json", "activations/zarr.json", "activations/c/0/0"])
@cases("what", JSON)
def test_a_store_is_refused(stored, tmp_path, trap, file, what):
    path = shutil.copytree(stored, tmp_path / "store")
    (path / file).write_bytes(JSON[what](trap))
    refusal(lambda: Store(path).read(0, 100))
    refusal(lambda: load_run(path).store.read(0, 100))


MANIFEST = {
    "n_rows": ["x", -1, 1.5, None, True],
    "width": [[], "4"],
    "dtype": [[], None, "object", {}],
    "format": ["1"],
}


@pytest.mark.parametrize("key", MANIFEST)
def test_a_manifest_with_values_of_other_types_is_refused(stored, tmp_path, key):
    path = shutil.copytree(stored, tmp_path / "store")
    manifest = json.loads((path / "store.json").read_text())
    for value in MANIFEST[key]:
        (path / "store.json").write_text(json.dumps({**manifest, key: value}))
        refusal(lambda: Store(path))


@pytest.mark.parametrize(
    "where", [["a"], {"driver": "no such"}, {"driver": "file", "path": 3}, 7, "no://where", "a\0b"]
)
def test_a_run_that_says_its_store_is_at_an_odd_place_is_refused(tmp_path, where):
    path = made(tmp_path / "run", "harvest", config={"store": where})
    refusal(lambda: load_run(path).store)


# Programs


ENTRIES = {
    "inspect": lambda p: ["inspect", f"--workdir={p}"],
    "harvest": lambda p: ["harvest", f"--workdir={p}-new", f"--from={p}/a.npy"],
    "evaluate": lambda p: ["evaluate", f"--workdir={p}-new", f"--config.run={p}"],
    "report": lambda p: ["report", f"--workdir={p}-new", f"--config.analysis={p}"],
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_program_says_it_in_one_line_and_ends_with_exit_code_2(tmp_path, trap, entry):
    path = made(tmp_path / "run", "analyze") if entry == "report" else tmp_path / "run"
    path.mkdir(exist_ok=True)
    for name in ("a.npy", "summary.json", "density.npy", *(["config.json"] if entry != "report" else [])):
        (path / name).write_bytes(pickled_array(trap))
    done = run(*ENTRIES[entry](path))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
