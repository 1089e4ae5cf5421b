"""Leftovers of killed processes under checkpoints/: they are never mistaken for a step, and are deleted."""

import errno
import os
import pathlib
import shutil

import pytest

from monosem_jax.runtime.checkpoint import Checkpoints, Retention, checkpoint_steps, load_params
from monosem_jax.runtime.checkpoint import manager as steps
from monosem_jax.runtime.checkpoint import read as saved
from monosem_jax.runtime.errors import BadInput
from tests.runtime.checkpoint.test_manager import assert_same, make_state, save

TEMPORARY = "7.orbax-checkpoint-tmp-1700000000"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "checkpoints"
    save(path, [0, 4], retention=Retention(9))
    return path


@pytest.fixture
def stored(original, tmp_path) -> pathlib.Path:
    """Steps 0 and 4; step n holds make_state(n)."""
    return shutil.copytree(original, tmp_path / "checkpoints")


def names(path: pathlib.Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


def half(path: pathlib.Path, name: str) -> None:
    """A step whose last file is not there yet."""
    shutil.copytree(path / "4", path / name)
    (path / name / saved.METADATA).unlink()


def assert_restored(store: Checkpoints, step: int) -> None:
    found, *both = store.restore_latest(*make_state(1))
    assert found == step
    assert_same(tuple(both), make_state(step))


LEFT = {
    "deleted in the midst": lambda path: half(path, ".deleted-7"),
    "deleted, still whole": lambda path: shutil.copytree(path / "4", path / ".deleted-7"),
    "written in the midst": lambda path: half(path, TEMPORARY),
    "written, not yet renamed": lambda path: shutil.copytree(path / "4", path / TEMPORARY),
    "empty": lambda path: (path / TEMPORARY).mkdir(),
}


@pytest.mark.parametrize("kind", LEFT)
def test_what_a_killed_process_leaves_is_no_step_and_goes_when_the_next_opens(stored, kind, capsys):
    LEFT[kind](stored)
    assert checkpoint_steps(stored) == [0, 4]
    assert_same(load_params(stored, 4), load_params(stored))
    assert len(names(stored)) == 3  # reading changes nothing
    store = Checkpoints(stored)
    assert names(stored) == ["0", "4"] and store.steps() == [0, 4]
    store.save(7, *make_state(7), needed=True)
    assert_restored(store, 7)
    store.close()
    assert capsys.readouterr().err == ""


def test_a_step_that_is_not_whole_is_told_and_can_be_saved_again(stored, capsys):
    half(stored, "7")
    assert checkpoint_steps(stored) == [0, 4]
    with pytest.raises(BadInput, match=r"does not hold step 7: it holds \[0, 4\]"):
        load_params(stored, 7)
    store = Checkpoints(stored)
    line = f"checkpoint {stored / '7'} is not whole (_CHECKPOINT_METADATA is missing): it is not used\n"
    assert capsys.readouterr().err == line
    assert_restored(store, 4)
    store.save(7, *make_state(7), needed=True)
    assert_restored(store, 7)
    store.close()
    assert names(stored) == ["0", "4", "7"] and checkpoint_steps(stored) == [0, 4, 7]


def test_other_files_stay(stored):
    (stored / "notes.txt").write_text("mine")
    (stored / "best").symlink_to("4")
    Checkpoints(stored).close()
    assert names(stored) == ["0", "4", "best", "notes.txt"] and checkpoint_steps(stored) == [0, 4]


def killed(*args, **kwargs):
    raise KeyboardInterrupt


def nothing(*args, **kwargs):
    pass


@pytest.mark.parametrize("rmtree", [killed, nothing])
def test_a_process_that_dies_while_it_deletes_leaves_nothing_that_looks_like_a_step(stored, rmtree, monkeypatch):
    store = Checkpoints(stored, Retention(1))
    with monkeypatch.context() as patch:
        patch.setattr(steps.shutil, "rmtree", rmtree)
        store.save(7, *make_state(7))
        if rmtree is killed:
            with pytest.raises(KeyboardInterrupt):
                store.wait()
        else:
            store.wait()
    assert checkpoint_steps(stored) == [0, 7] and ".deleted-4" in names(stored)
    store.close()
    again = Checkpoints(stored, Retention(1))
    assert again.steps() == [0, 7] and names(stored) == ["0", "7"]
    again.close()


def test_a_step_is_out_of_sight_before_any_of_its_files_goes(stored, monkeypatch):
    seen = []
    remove = shutil.rmtree

    def rmtree(path, **kwargs):
        seen.append((pathlib.Path(path).name, (pathlib.Path(path) / saved.METADATA).exists(), checkpoint_steps(stored)))
        remove(path, **kwargs)

    monkeypatch.setattr(steps.shutil, "rmtree", rmtree)
    store = Checkpoints(stored, Retention(1))
    store.save(7, *make_state(7), needed=True)
    store.close()
    assert (".deleted-4", True, [0, 7]) in seen


def test_a_step_is_deleted_only_after_the_next_one_is_whole(stored, monkeypatch):
    store = Checkpoints(stored, Retention(1))

    class Failing:
        def result(self):
            raise RuntimeError("no")

    monkeypatch.setattr(saved, "write", lambda *args: Failing())
    store.save(7, *make_state(7))
    with pytest.raises(RuntimeError, match="no"):
        store.wait()
    assert store.steps() == checkpoint_steps(stored) == [0, 4]
    store.close()


def test_what_went_wrong_is_raised_by_the_next_save_or_told_when_closing(stored, monkeypatch, capsys):
    class Failing:
        def result(self):
            raise RuntimeError("the cable\nis out")

    monkeypatch.setattr(saved, "write", lambda *args: Failing())
    store = Checkpoints(stored)
    store.save(7, *make_state(7))
    with pytest.raises(RuntimeError, match="the cable"):
        store.save(8, *make_state(8))
    with pytest.raises(RuntimeError, match="the cable"):
        store.save(8, *make_state(8), needed=True)
    store.save(8, *make_state(8))
    store.close()
    line = f"the last checkpoint in {stored} was not written: the cable\n"
    assert capsys.readouterr().err == line


def test_what_is_there_of_a_step_that_could_not_be_written_goes_at_once(stored, monkeypatch):
    def write(where, *args):
        (where.parent / f"{where.name}.orbax-checkpoint-tmp-1").mkdir()
        raise RuntimeError("no")

    monkeypatch.setattr(saved, "write", write)
    store = Checkpoints(stored)
    with pytest.raises(RuntimeError, match="no"):
        store.save(7, *make_state(7))
    assert names(stored) == ["0", "4"]
    store.close()


def test_a_step_on_the_disk_is_not_written_again(stored):
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (stored / "4").rglob("*")}
    store = Checkpoints(stored)
    store.save(4, *make_state(1), needed=True)
    store.close()
    assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (stored / "4").rglob("*")} == before


def test_steps_after_one_are_removed_and_only_those(stored):
    store = Checkpoints(stored, Retention(9))
    for step in (7, 9):
        store.save(step, *make_state(step))
    store.wait()
    store.delete_after(4)
    assert store.steps() == [0, 4] and names(stored) == ["0", "4"]
    store.close()
    assert not os.path.exists(stored / ".deleted-7")


class Full:
    """What writing returns, or raises at once, where the disk is full."""

    def __init__(self, at_once: bool):
        self.at_once = at_once

    def __call__(self, *args):
        if self.at_once:
            self.result()
        return self

    def result(self):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(("patient", "needed"), [(False, False), (False, True), (True, False), (True, True)])
def test_a_full_disk_is_an_error_but_for_the_patient_who_can_do_without(
    stored, monkeypatch, capsys, at_once, patient, needed
):
    monkeypatch.setattr(saved, "write", Full(at_once))
    store = Checkpoints(stored, patient=patient)
    line = f"the disk is full: no checkpoint of step 7 in {stored}, training goes on without\n"
    if patient and not needed:
        store.save(7, *make_state(7))
        store.wait()
        assert capsys.readouterr().err == line
    else:
        with pytest.raises(OSError, match="No space left"):
            store.save(7, *make_state(7), needed=needed)
            store.wait()
        assert capsys.readouterr().err == ""
    assert store.steps() == [0, 4]
    store.close()


def test_another_mistake_is_one_for_the_patient_too(stored, monkeypatch):
    store = Checkpoints(stored, patient=True)
    monkeypatch.setattr(saved, "write", lambda *args: (_ for _ in ()).throw(PermissionError("no")))
    with pytest.raises(PermissionError):
        store.save(7, *make_state(7))
    store.close()
