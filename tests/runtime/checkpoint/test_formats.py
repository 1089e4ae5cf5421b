"""Runs that earlier versions made are read; those since format 3 resume, and those before are refused in one line,
as are those of newer versions."""

import dataclasses
import importlib.util
import json
import pathlib
import shutil
import tarfile
from typing import Any

import jax
import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.runtime.checkpoint import Checkpoints, checkpoint_steps, load_params, load_placed, load_slice
from monosem_jax.runtime.checkpoint import read as saved
from monosem_jax.runtime.errors import BadInput, NewerFormat
from monosem_jax.runtime.files import write_json
from monosem_jax.runtime.mesh import tree_shardings
from monosem_jax.runtime.workdir import FORMAT, RunDir, read_record
from monosem_jax.stages import train_sae
from monosem_jax.training import loop as fit
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.ensemble import restore
from tests import small_loop as toy
from tests.conftest import mesh_of

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures"
NAMES = ("format1_without_guard", "format1", "format2", "format3")
STOPPED, STEPS = 12, 24


def made_by() -> train_sae.SaeRunConfig:
    spec = importlib.util.spec_from_file_location("make", FIXTURES / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.config()


@pytest.fixture(params=NAMES)
def old(request, tmp_path):
    """(directory, expected parameters) of a run that an earlier version made."""
    with tarfile.open(FIXTURES / f"{request.param}.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    expected = dict(np.load(FIXTURES / f"{request.param}.npz"))
    assert expected.pop("step") == STOPPED
    return tmp_path / request.param, expected


def assert_params(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_there_is_a_run_of_every_released_format(tmp_path):
    numbers = []
    for name in NAMES:
        with tarfile.open(FIXTURES / f"{name}.tar.gz") as packed:
            packed.extractall(tmp_path, filter="data")
        numbers.append(read_record(tmp_path / name).get("format", 1))
    assert sorted(set(numbers)) == list(range(1, FORMAT + 1))


def test_an_old_run_is_read(old):
    run = load_run(old[0])
    assert run.steps[-1] == STOPPED
    assert_params(run.params, old[1])
    assert run.encode(np.ones((2, 8))).shape == (2, 16)


def test_an_old_run_is_placed_and_sliced(old):
    path, mesh = old[0] / "checkpoints", mesh_of(2, 4)
    params = load_params(path)["params"]
    rules = train_sae.sae_lib.RULES
    assert_params(load_placed(path, STOPPED, lambda tree: tree_shardings(tree, rules, mesh)), params)
    np.testing.assert_array_equal(load_slice(path, STOPPED, "W_dec", np.s_[3:5]), params["W_dec"][3:5])


@pytest.mark.parametrize("old", NAMES[:3], indirect=True)
def test_an_unfinished_run_of_other_random_streams_is_refused_in_one_line_and_stays(old):
    path, record = old[0], read_record(old[0])
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    with pytest.raises(BadInput) as e:
        train_sae.train_sae(path, made_by())
    number = record.get("format", 1)
    assert str(e.value) == (
        f"workdir {path} was begun by monosem_jax 0.1.0 at git {record['git'][:12]} (format {number}), which drew "
        "other random numbers: finish it with that version, or give a new --workdir"
    )
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before | {path / ".lock": b""}
    write_json(path / "config.json", {k: v for k, v in record.items() if k not in ("versions", "git")})
    with pytest.raises(BadInput, match=r"was begun by an earlier monosem_jax \(format "):
        train_sae.train_sae(path, made_by())


@pytest.mark.parametrize("old", NAMES[:3], indirect=True)
def test_a_finished_run_of_other_random_streams_is_left_as_it_is(old, capsys):
    write_json(old[0] / "summary.json", {"l0": 3.0})
    assert train_sae.train_sae(old[0], made_by()) == {"l0": 3.0}
    assert "is finished: nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("old", NAMES[3:], indirect=True)
def test_a_run_is_taken_up_with_all_that_was_saved_and_finished(old, capsys, monkeypatch):
    path, expected = old
    before, rest, seen = toy.lines(path), load_params(path / "checkpoints", names=("rest",))["rest"], {}

    def note(trained):
        step = restore(trained)
        seen.update(jax.device_get(vars(trained[0].state.replace(key=None))))
        return step

    monkeypatch.setattr(fit, "restore", note)
    summary = train_sae.train_sae(path, made_by())
    for name in ("opt_state", "stats", "hyper"):
        for a, b in zip(jax.tree.leaves(seen[name]), jax.tree.leaves(rest[name]), strict=True):
            np.testing.assert_array_equal(a, b)
    guard = {name: float(v) for name, v in rest["guard"].items()}
    assert {name: float(v) for name, v in seen["guard"].items()} == guard
    assert summary["resumed_from_step"] == STOPPED and load_run(path).summary == summary
    assert toy.lines(path)[: len(before)] == before and toy.lines(path)[-1]["step"] == STEPS
    assert load_run(path).steps == [0, STEPS]
    assert "cannot be read" not in capsys.readouterr().err
    assert not np.array_equal(load_run(path).params["W_enc"], expected["W_enc"])


def opened(path: pathlib.Path, train: TrainConfig) -> None:
    """Opens an old run with this `train`, as a process that resumes it; an unfinished one is refused for its format."""
    write_json(path / "summary.json", {})
    config = train_sae.identity(dataclasses.replace(made_by(), train=train))
    parents, default = read_record(path)["parents"], train_sae.identity(train_sae.SaeRunConfig())
    RunDir(path, "train_sae", config, parents, default).close()


def changed(key: str, value: Any) -> TrainConfig:
    """The `train` of the old runs, but for one key."""
    section, _, name = key.rpartition(".")
    train = made_by().train
    if section:
        return dataclasses.replace(train, **{section: dataclasses.replace(getattr(train, section), **{name: value})})
    return dataclasses.replace(train, **{name: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", 1e-3),
        ("optimizer.b1", 0.5),
        ("guard.spike_factor", 2.0),
        ("guard.stop_after", 3),
        ("schedule.kind", "cosine"),
        ("schedule.warmup_steps", 2),
    ],
)
def test_an_old_run_belongs_to_its_configuration_and_new_keys_have_their_defaults(old, key, value):
    """Also where the key had another name."""
    opened(old[0], made_by().train)
    with pytest.raises(BadInput, match=rf"configuration \(config\.train\.{key}: [^;]* -> {value!r}\): give"):
        opened(old[0], changed(key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mesh", "data=2,model=4"),
        ("checkpoint.keep", 7),
        ("checkpoint.keep_every", 7),
        ("checkpoint.keep_best", "loss"),
        ("checkpoint.when_disk_full", "continue"),
        ("logging.wandb", "project"),
    ],
)
def test_an_old_run_is_resumed_with_another_value_of_a_key_that_changes_no_result(old, key, value):
    opened(old[0], changed(key, value))


@pytest.fixture
def newer(tmp_path):
    """A directory of this version, begun, whose config.json says that a newer one made it."""
    toy.train(tmp_path / "run", steps=6, checkpoint_every=3)
    write_json(tmp_path / "run" / "config.json", {**read_record(tmp_path / "run"), "format": 99})
    return tmp_path / "run"


LINE = rf"format 99, this version reads up to {FORMAT}: upgrade monosem_jax$"


def assert_one_line(e) -> None:
    assert isinstance(e.value, BadInput) and len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize("take", [lambda p: toy.train(p, steps=6), lambda p: RunDir(p, "toy", {}, {}), read_record])
def test_a_directory_of_a_newer_version_is_refused(newer, take):
    with pytest.raises(NewerFormat, match=LINE) as e:
        take(newer)
    assert_one_line(e)


def test_load_run_refuses_a_directory_of_a_newer_version(newer):
    with pytest.raises(NewerFormat, match=LINE) as e:
        load_run(newer)
    assert_one_line(e)


@pytest.fixture
def newer_step(tmp_path):
    """A run whose newest step a newer version wrote."""
    toy.train(tmp_path / "run", steps=6, checkpoint_every=3)
    file = tmp_path / "run" / "checkpoints" / "6" / saved.METADATA
    values = json.loads(file.read_text())
    assert values["custom_metadata"]["format"] == FORMAT
    values["custom_metadata"]["format"] = 99
    file.write_text(json.dumps(values))
    return tmp_path / "run"


READERS = {
    "load_params": lambda path: load_params(path),
    "load_params of that step": lambda path: load_params(path, 6),
    "load_placed": lambda path: load_placed(path, 6, lambda tree: tree_shardings(tree, toy.RULES, mesh_of(1, 1))),
    "load_slice": lambda path: load_slice(path, 6, "w", np.s_[:1]),
    "resuming": lambda path: toy.train(path.parent, steps=6, checkpoint_every=3),
    "a longer training": lambda path: toy.train(path.parent, steps=9, checkpoint_every=3),
}


@pytest.mark.parametrize("name", READERS)
def test_a_checkpoint_of_a_newer_version_is_refused_and_stays(newer_step, name, capsys):
    with pytest.raises(NewerFormat, match=LINE) as e:
        READERS[name](newer_step / "checkpoints")
    assert_one_line(e)
    assert checkpoint_steps(newer_step / "checkpoints") == [0, 3, 6]
    assert "older one" not in capsys.readouterr().err


def test_an_older_step_beside_one_of_a_newer_version_is_read_when_asked_for(newer_step):
    assert load_params(newer_step / "checkpoints", 3)["params"]["w"].shape == (3,)


def test_a_directory_of_the_first_format_without_a_number_holds_steps_without_checksums(old):
    where = old[0] / "checkpoints" / str(STOPPED)
    about = saved.read_metadata(where)
    assert about.keys() == ({"format", "checksums", "metrics"} if old[0].name in NAMES[2:] else set())
    shutil.rmtree(where.parent / "0")
    store = Checkpoints(where.parent)
    assert store.steps() == [STOPPED]
    store.close()


def test_a_part_that_the_first_format_lacks_is_as_it_is_in_what_is_asked_for(old):
    where = old[0] / "checkpoints" / str(STOPPED)
    place = lambda tree: tree_shardings(tree, {"*": jax.sharding.PartitionSpec()}, mesh_of(1, 1))  # noqa: E731
    like = {part: load_placed(where.parent, STOPPED, place, part) for part in ("params", "rest")}
    guard = like["rest"].setdefault("guard", {"level": jax.device_put(7.0)})
    found = saved.read_like(where, like)
    assert jax.tree.structure(found) == jax.tree.structure(like)
    assert float(found["rest"]["guard"]["level"]) == float(guard["level"])
