"""Damage to any file of a step: either the saved values are read, or the step is named and the one before is used.

A byte that does not matter may change (a date, the copy of an array that Orbax merged into another file).
"""

import contextlib
import io
import pathlib
import shutil

import jax
import numpy as np
import pytest

from monosem_jax.runtime.checkpoint import Checkpoints, Retention, load_params, load_placed
from monosem_jax.runtime.checkpoint import read as saved
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import tree_shardings
from tests.conftest import mesh_of
from tests.runtime.checkpoint.test_manager import RULES, assert_same, make_state, save

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]
FLIPS = 3  # of every file


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "checkpoints"
    save(path, [4, 9], retention=Retention(9))
    return path


@pytest.fixture
def stored(original, tmp_path) -> pathlib.Path:
    """Steps 4 and 9; step n holds make_state(n)."""
    return shutil.copytree(original, tmp_path / "checkpoints")


def files(path: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p.relative_to(path / "9") for p in (path / "9").rglob("*") if p.is_file())


def told(read) -> tuple[object, str]:
    """What was read, and what was said of checkpoints meanwhile; Python may tell of what a read left behind."""
    with contextlib.redirect_stderr(io.StringIO()) as err:
        found = read()
    return found, "".join(line for line in err.getvalue().splitlines() if line.startswith("checkpoint "))


def outcome(path: pathlib.Path) -> str:
    """How both readers saw a damaged step 9: "caught" or "harmless"."""
    kinds = []
    params, line = told(lambda: load_params(path)["params"])
    step = 4 if line else 9
    assert_same(params, jax.tree.map(np.asarray, make_state(step)[0]))
    assert not line or f"checkpoint {path / '9'} cannot be read" in line
    kinds.append("caught" if line else "harmless")
    store = Checkpoints(path)
    (step, *both), line = told(lambda: store.restore_latest(*make_state(1)))
    store.close()
    assert_same(tuple(both), make_state(step))
    assert step == (4 if line else 9)
    assert not line or f"checkpoint {path / '9'} cannot be read" in line or "is not whole" in line
    assert (path / "9").exists() == (step == 9)
    kinds.append("caught" if line else "harmless")
    return "caught" if "caught" in kinds else "harmless"


def outcomes(path: pathlib.Path, original: pathlib.Path, damage) -> dict[str, str]:
    """The outcome for every file after `damage(file)`."""
    found = {}
    for name in files(path):
        damage(path / "9" / name)
        found[str(name)] = outcome(path)
        shutil.rmtree(path / "9", ignore_errors=True)
        shutil.copytree(original / "9", path / "9")
    return found


def must_be_caught(name: str) -> bool:
    """Whether a file holds what is needed to read a step."""
    return name.startswith(("params/d/", "rest/d/")) or name in ("params/manifest.ocdbt", "rest/manifest.ocdbt")


@pytest.mark.parametrize("part", [0, 2], ids=["empty", "half"])
def test_a_file_that_is_cut_short_is_noticed(stored, original, part):
    def cut(file):
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // part] if part else b"")

    found = outcomes(stored, original, cut)
    assert all(found[name] == "caught" for name in found if must_be_caught(name) or name == saved.METADATA)


def test_a_file_that_is_missing_is_noticed(stored, original):
    """Without the last one that is written, a step is not even listed."""
    (stored / "9" / saved.METADATA).unlink()
    assert_same(load_params(stored)["params"], jax.tree.map(np.asarray, make_state(4)[0]))
    shutil.copy(original / "9" / saved.METADATA, stored / "9")

    found = outcomes(stored, original, lambda file: file.unlink() if file.name != saved.METADATA else None)
    assert all(found[name] == "caught" for name in found if must_be_caught(name))


def flip(file: pathlib.Path, rng: np.random.Generator) -> None:
    data = bytearray(file.read_bytes())
    if data:
        data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        file.write_bytes(data)


@pytest.mark.parametrize("seed", range(FLIPS))
def test_a_byte_that_changed_is_noticed(stored, original, seed):
    rng = np.random.default_rng(seed)
    found = outcomes(stored, original, lambda file: flip(file, rng))
    assert all(found[name] == "caught" for name in found if must_be_caught(name))


@pytest.fixture
def wrong(stored):
    """A step in which one number is not the one that was saved, though every file is as Orbax writes it."""
    params, rest = make_state(9)
    tree = {"params": {**params, "W": params["W"].at[3, 5].multiply(1.0000002)}, "rest": rest}
    noted = saved.read_metadata(stored / "9")
    shutil.rmtree(stored / "9")
    saved.write(stored.absolute() / "9", tree, noted).result()
    return stored


def test_a_number_that_changed_is_noticed_by_the_checksum_alone(wrong):
    assert outcome(wrong) == "caught"


def test_a_number_that_changed_is_refused_where_its_step_is_asked_for(wrong):
    place = lambda tree: tree_shardings(tree, RULES, mesh_of(2, 4))  # noqa: E731
    for read in (lambda: load_params(wrong, 9), lambda: load_placed(wrong, 9, place)):
        with pytest.raises(BadInput, match=r"9 cannot be read: params/W is not what was saved: its che") as e:
            read()
        assert len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["opt_state", "key", "step", "hyper"])
def test_what_is_not_a_parameter_is_compared_too(stored, name):
    params, rest = make_state(9)
    noted = saved.read_metadata(stored / "9")
    shutil.rmtree(stored / "9")
    saved.write(
        stored.absolute() / "9", {"params": params, "rest": {**rest, name: make_state(8)[1][name]}}, noted
    ).result()
    store = Checkpoints(stored)
    (step, *_), line = told(lambda: store.restore_latest(*make_state(1)))
    store.close()
    assert step == 4 and f"(rest/{name}" in line
    assert_same(load_params(stored, 4)["params"], jax.tree.map(np.asarray, make_state(4)[0]))


def test_an_array_whose_checksum_was_not_noted_is_not_taken_for_whole(stored):
    params, rest = make_state(9)
    noted = saved.read_metadata(stored / "9")
    shutil.rmtree(stored / "9")
    noted["checksums"].pop("rest/step")
    saved.write(stored.absolute() / "9", {"params": params, "rest": rest}, noted).result()
    store = Checkpoints(stored)
    (step, *_), line = told(lambda: store.restore_latest(*make_state(1)))
    store.close()
    assert step == 4 and "rest/step is not what was saved" in line


def test_when_every_step_is_damaged_it_is_said_so_and_nothing_is_removed(stored, capsys):
    for step in ("4", "9"):
        for file in (stored / step / "params" / "d").iterdir():
            file.unlink()
    with pytest.raises(BadInput, match=rf"checkpoint {stored / '4'} cannot be read: "):
        load_params(stored)
    assert f"checkpoint {stored / '9'} cannot be read" in capsys.readouterr().err
    store = Checkpoints(stored)
    with pytest.raises(
        BadInput,
        match=r"none of the checkpoints \[9, 4\] in .* can be read, for the reasons above",
    ):
        store.restore_latest(*make_state(1))
    store.close()
    assert store.steps() == [4, 9] and (stored / "9").exists()


@pytest.mark.parametrize("what", ["dtype", "shape", "name"])
def test_a_step_of_other_arrays_is_not_taken(stored, what):
    params, rest = make_state(1)
    other = {"dtype": lambda w: w.astype("bfloat16"), "shape": lambda w: w[:, :15], "name": lambda w: w}[what]
    like = {**params, ("V" if what == "name" else "W"): other(params["W"])}
    store = Checkpoints(stored)
    with pytest.raises(BadInput, match="none of the checkpoints"):
        store.restore_latest(like, rest)
    store.close()
