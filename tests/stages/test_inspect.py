"""The description that `experiments.inspect` prints of a directory, and the damage that it finds."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import tarfile

import numpy as np
import pytest

from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.workdir import FORMAT
from monosem_jax.stages import harvest, inspect
from monosem_jax.stages.inspect import InspectConfig
from tests.experiments.tiny import run

# A read that fails leaves futures and coroutines of Orbax behind that nobody waits for.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Sharding info not provided:UserWarning"),
]
FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
VERIFY = InspectConfig(verify=True)


def unpack(name: str, path: pathlib.Path) -> pathlib.Path:
    """A run of train_sae that a signal stopped at step 12 of 24."""
    with tarfile.open(FIXTURES / f"{name}.tar.gz") as f:
        f.extractall(path, filter="data")
    return path / name


@pytest.fixture
def dictionary(tmp_path) -> pathlib.Path:
    return unpack("format2", tmp_path)


def shown(capsys, path: pathlib.Path, config: InspectConfig = InspectConfig()) -> str:  # noqa: B008
    assert inspect.inspect(path, config) == ({} if not config.verify else {"steps": len(steps(path))})
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def steps(path: pathlib.Path) -> list[int]:
    return sorted(int(p.parent.name) for p in path.rglob("_CHECKPOINT_METADATA"))


def flip(path: pathlib.Path, step: int, part: str = "params") -> None:
    """Changes one bit of the largest file with arrays of a step."""
    file = max((path / "checkpoints" / str(step) / part).rglob("d/*"), key=lambda p: p.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)


def section(text: str, name: str) -> list[str]:
    """The lines below a heading."""
    return re.search(rf"^{name}.*\n((?:  .*\n)*)", text, re.M)[1].splitlines()


def test_a_dictionary_is_described(capsys, dictionary):
    out = shown(capsys, dictionary)
    first, *_ = out.splitlines()
    assert first == f"{dictionary}: train_sae, not finished, format 2"
    record = json.loads((dictionary / "config.json").read_text())
    assert f"\nmade from     source: {record['parents']['source']['path']}\n" in out
    assert f"jax {record['versions']['jax']}, " in out and f"; git {record['git'][:12]}\n" in out
    settings = dict(line.split(maxsplit=1) for line in section(out, "configuration") if len(line.split()) > 1)
    assert settings["sae.n_features"] == "16" and settings["train.learning_rate"] == "0.01"
    assert settings["resample.steps"] == "[6]" and settings["train.eps"] == "1e-08"
    assert "\nsummary\n" not in out


def test_checkpoints_are_listed_with_their_size_and_format(capsys, dictionary):
    out = shown(capsys, dictionary)
    assert f"\ncheckpoints   2 steps, {inspect.size(dictionary / 'checkpoints')}\n" in out
    first, last = section(out, "checkpoints")
    assert re.fullmatch(r"  step 0 +[\d.]+ kB  format 2", first)
    assert re.fullmatch(r"  step 12 +[\d.]+ kB  format 2; .*loss 0\.\d+, mse .*", last)


def test_checkpoints_say_what_their_metrics_were(capsys, dictionary):
    file = dictionary / "checkpoints" / "12" / "_CHECKPOINT_METADATA"
    noted = json.loads(file.read_text())
    noted["custom_metadata"]["metrics"] = {"mse": 0.123456789, **{f"m{i}": float(i) for i in range(20)}}
    file.write_text(json.dumps(noted))
    line = section(shown(capsys, dictionary), "checkpoints")[1]
    assert "format 2; mse 0.123457, m0 0, m1 1" in line and line.endswith("m6 6")


def test_the_last_metrics_are_shown(capsys, dictionary):
    lines = [json.loads(line) for line in (dictionary / "metrics.jsonl").read_text().splitlines()]
    out = shown(capsys, dictionary)
    (told,) = re.findall(r"^metrics       (.*)$", out, re.M)
    assert told.startswith(f"{len(lines)} lines up to step {lines[-1]['step']}; last: ")
    known = {k: v for line in lines for k, v in line.items()}
    assert f"loss {known['loss']:.6g}" in told and "time" not in told and "step " not in told.partition("last: ")[2]


def test_of_many_metrics_the_first_are_shown(capsys, dictionary):
    line = {"step": 16, "time": 1.0, **{f"m{i}": 0.5 for i in range(20)}}
    (dictionary / "metrics.jsonl").write_text(json.dumps(line))
    told = ", ".join(f"m{i} 0.5" for i in range(8))
    assert f"\nmetrics       1 lines up to step 16; last: {told}\n" in shown(capsys, dictionary)


def test_files_and_folders_are_listed_with_their_sizes_but_hidden_ones_are_not(capsys, dictionary):
    (dictionary / "some.bin").write_bytes(bytes(12_345))
    found = dict(line.split(maxsplit=1) for line in section(shown(capsys, dictionary), "files"))
    assert found.keys() == {"checkpoints/", "config.json", "input.json", "metrics.jsonl", "some.bin"}
    assert found["some.bin"] == "12.3 kB"


def test_an_old_directory_is_described_too(capsys, tmp_path):
    out = shown(capsys, unpack("format1", tmp_path))
    assert "train_sae, not finished, format 1\n" in out
    assert all(line.endswith("format 1") for line in section(out, "checkpoints"))


def made(path: pathlib.Path, experiment: str, **summary) -> pathlib.Path:
    path.mkdir(parents=True)
    record = {"format": FORMAT, "experiment": experiment, "config": {"seed": 3}, "parents": {}}
    (path / "config.json").write_text(json.dumps(record))
    if summary:
        (path / "summary.json").write_text(json.dumps(summary))
    return path


def test_a_finished_run_shows_its_summary_without_long_lists(capsys, tmp_path):
    path = made(tmp_path / "run", "train_transformer", heldout_loss=3.14159265, params_sha256="abc", losses=[1] * 100)
    out = shown(capsys, path)
    assert out.startswith(f"{path}: train_transformer, finished, format {FORMAT}\n")
    assert section(out, "summary") == ["  heldout_loss   3.14159", "  params_sha256  abc"]


def test_a_run_that_has_just_begun_is_described(capsys, tmp_path):
    out = shown(capsys, made(tmp_path / "run", "train_sae"))
    assert "not finished" in out and "checkpoints" not in out and "metrics" not in out
    assert section(out, "configuration") == ["  seed  3"]


def test_a_harvest_is_described(capsys, tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((2000, 4), np.float32))
    config = HarvestConfig(bucket_rows=1024, shard_rows=1024, dtype="float32")
    harvest.harvest(tmp_path / "store", harvest.HarvestRunConfig(source=str(tmp_path / "rows.npy"), harvest=config))
    capsys.readouterr()
    out = shown(capsys, tmp_path / "store")
    assert "store: harvest, finished" in out and f"made from     source: {tmp_path}/rows.npy" in out
    assert "  n_rows " in out and "checkpoints" not in out
    assert "activations/" in out and "store.json" in out


@pytest.fixture
def sweep(tmp_path) -> pathlib.Path:
    path = made(tmp_path / "sweep", "sweep", members=[{"name": "a"}])
    for name in ("a", "b"):
        (path / "members").mkdir(exist_ok=True)
        unpack("format2", tmp_path).rename(path / "members" / name)
    made(path / "members" / "c", "train_sae")
    return path


def test_a_sweep_is_described_with_its_members(capsys, sweep):
    out = shown(capsys, sweep)
    assert "\nmembers       2 with checkpoints\n" in out
    assert section(out, "members") == ["  a  steps [0, 12]", "  b  steps [0, 12]"]


def test_a_checkpoint_whose_metadata_are_damaged_is_listed_as_such(capsys, dictionary):
    for damage in ("nothing", "[]", '{"custom_metadata": {"format": "two"}}', "[" * 100_000):
        (dictionary / "checkpoints" / "12" / "_CHECKPOINT_METADATA").write_text(damage)
        assert "its metadata cannot be read (" in section(shown(capsys, dictionary), "checkpoints")[1]


@pytest.mark.parametrize("name", ["format1", "format2"])
def test_checkpoints_that_are_whole_are_verified(capsys, tmp_path, name):
    out = shown(capsys, unpack(name, tmp_path), VERIFY)
    assert out.endswith("\nverified      2 checkpoints are whole\n")


@pytest.mark.parametrize("part", ["params", "rest"])
@pytest.mark.parametrize("step", [0, 12])
def test_the_step_in_which_a_bit_is_wrong_is_named(capsys, dictionary, step, part):
    flip(dictionary, step, part)
    with pytest.raises(BadInput, match="1 of 2 checkpoints are damaged, listed above") as e:
        inspect.inspect(dictionary, VERIFY)
    assert str(e.value).startswith(f"{dictionary}: ")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"damaged: checkpoint {dictionary}/checkpoints/{step} cannot be read")


def test_nothing_but_text_is_shown(capsys, dictionary):
    record = json.loads((dictionary / "config.json").read_text())
    record["config"]["seed"] = "\x1b[2J\nbell\a \u202e"
    (dictionary / "config.json").write_text(json.dumps(record))
    out = shown(capsys, dictionary)
    assert "\\x1b[2J\\nbell\\x07 \\u202e" in out and all(c.isprintable() or c == "\n" for c in out)


def test_without_verify_nothing_is_read_of_the_arrays(capsys, dictionary):
    flip(dictionary, 12)
    assert "step 12" in shown(capsys, dictionary)


def test_the_members_of_a_sweep_are_verified(capsys, sweep):
    assert "verified      4 checkpoints are whole" in shown(capsys, sweep, VERIFY)
    flip(sweep / "members" / "b", 12)
    with pytest.raises(BadInput, match="1 of 4 checkpoints are damaged"):
        inspect.inspect(sweep, VERIFY)
    assert f"damaged: checkpoint {sweep}/members/b/checkpoints/12 " in capsys.readouterr().err


def test_what_is_no_run_directory_is_refused_in_one_line(tmp_path):
    with pytest.raises(BadInput, match=r"^.* is not a run directory: it holds no config\.json$"):
        inspect.inspect(tmp_path, InspectConfig())


@pytest.mark.parametrize(
    ("value", "expected"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (12_345_678, "12.3 MB")]
)  # fmt: skip
def test_sizes_are_of_a_file_or_of_all_files_in_a_folder(tmp_path, value, expected):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(bytes(value // 2))
    (tmp_path / "y").write_bytes(bytes(value - value // 2))
    assert inspect.size(tmp_path) == expected
    (tmp_path / "z").write_bytes(bytes(value))
    assert inspect.size(tmp_path / "z") == expected


def test_the_program_names_the_damaged_step_and_ends_with_exit_code_2(dictionary, tmp_path):
    whole = run("inspect", f"--workdir={dictionary}", "--verify")
    assert whole.returncode == 0 and whole.stdout.endswith("verified      2 checkpoints are whole\n"), whole.stderr
    flip(dictionary, 12)
    assert run("inspect", f"--workdir={dictionary}").returncode == 0
    damaged = run("inspect", f"--workdir={dictionary}", "--verify")
    named, counted = damaged.stderr.splitlines()
    assert damaged.returncode == 2 and named.startswith(f"damaged: checkpoint {dictionary}/checkpoints/12 ")
    assert counted == f"error: {dictionary}: 1 of 2 checkpoints are damaged, listed above"
    shutil.rmtree(dictionary)
    gone = run("inspect", f"--workdir={dictionary}")
    assert gone.returncode == 2
    assert gone.stderr == f"error: {dictionary} is not a run directory: it holds no config.json\n"
