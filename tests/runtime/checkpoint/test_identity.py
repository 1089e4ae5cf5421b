"""A step is read only where it belongs: in its run, under its number, with the bytes that were saved."""

import dataclasses
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts
from jax.sharding import PartitionSpec

from monosem_jax.runtime.checkpoint import Checkpoints, load_params, load_placed, load_slice, read, read_metadata
from monosem_jax.runtime.checkpoint.checksum import block_checksums, checksums
from monosem_jax.runtime.config import field
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.loaded_run import TrainedRun
from monosem_jax.runtime.mesh import tree_shardings
from monosem_jax.runtime.workdir import RunDir
from tests.engine import mesh_of

F, M = 60, 20
BLOCK = 400  # bytes: 5 of F, 2 of M (rounded up to a block of 1)
RULES = {"W_enc": PartitionSpec(None, "model"), "W_dec": PartitionSpec("model", None), "*": PartitionSpec()}


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = 0
    keep: int = field(1, identity=False)


def params(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    shapes = {"W_enc": (M, F), "W_dec": (F, M), "b_enc": (F,), "cube": (6, 10, 7)}
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


REST = {"step": jnp.int32(0), "stats": {"age": jnp.arange(F)}}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(read, "CHUNK_BYTES", BLOCK)


def train(path: pathlib.Path, steps=(1, 2), config: Config = Config()) -> pathlib.Path:
    """Begins or resumes a run whose parameters are those of its seed."""
    with RunDir(path, "toy", config, {}) as run:
        store = Checkpoints(run.path / "checkpoints")
        store.restore_latest(params(), REST)
        for step in steps:
            store.save(step, params(config.seed), REST, needed=True)
        store.close()
    return path / "checkpoints"


def restore(path: pathlib.Path):
    store = Checkpoints(path)
    try:
        return store.restore_latest(params(), REST)
    finally:
        store.close()


def replicated(tree):
    return tree_shardings(tree, {"*": PartitionSpec()}, mesh_of(1, 1))


READERS = {
    "load_params": load_params,
    "load_placed": lambda p: load_placed(
        p, 2, lambda tree: tree_shardings(tree, {"*": PartitionSpec()}, mesh_of(1, 1))
    ),
    "a feature": lambda p: load_slice(p, 2, "W_dec", np.s_[3]),
    "statistics": lambda p: load_slice(p, 2, "stats/age", ..., part="rest"),
    "on resume": restore,
    "a run": lambda p: TrainedRun(p.parent).params,
}


@pytest.mark.parametrize("how", ["copied", "linked", "all steps linked"])
@pytest.mark.parametrize("reader", READERS)
def test_a_step_of_another_run_is_refused_with_both_names(tmp_path, reader, how):
    ours, theirs = train(tmp_path / "ours"), train(tmp_path / "theirs", config=Config(seed=9))
    if how == "all steps linked":
        shutil.rmtree(ours)
        ours.symlink_to(theirs)
    else:
        shutil.rmtree(ours / "2")
        shutil.copytree(theirs / "2", ours / "2") if how == "copied" else (ours / "2").symlink_to(theirs / "2")
    with pytest.raises(BadInput) as e:
        READERS[reader](ours)
    line = f"checkpoint {ours}/2 is of another run: it was written in {theirs.parent}"
    assert str(e.value) == line and (ours / "2" / "params").is_dir()


@pytest.mark.parametrize("reader", READERS)
def test_a_step_under_another_number_is_refused(tmp_path, reader):
    path = train(tmp_path / "run", steps=(1,))
    shutil.copytree(path / "1", path / "2")
    with pytest.raises(BadInput, match=r"checkpoints/2 is of another step: it was written as step 1 of .*/run$"):
        READERS[reader](path)


def test_a_run_stays_itself_when_it_is_moved_copied_resumed_and_written_to_by_hand(tmp_path):
    path = train(tmp_path / "a")
    identity = json.loads((tmp_path / "a/config.json").read_text())["identity"]
    train(tmp_path / "a", steps=(3,), config=Config(keep=7))
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    path = (tmp_path / "a").rename(tmp_path / "moved") / "checkpoints"
    record = json.loads((tmp_path / "moved/config.json").read_text())
    (tmp_path / "moved/config.json").write_text(json.dumps(record | {"config": {"seed": 0, "note": "mine"}}))
    for where in (path, tmp_path / "copy/checkpoints"):
        found = load_params(where, 3)["params"]
        assert np.array_equal(found["W_dec"], params()["W_dec"]) and restore(where)[0] == 3
    assert train(tmp_path / "again") and record["identity"] == identity
    assert json.loads((tmp_path / "again/config.json").read_text())["identity"] == identity
    train(tmp_path / "other", config=Config(seed=9))
    assert json.loads((tmp_path / "other/config.json").read_text())["identity"] != identity


def test_steps_may_lie_on_another_disk(tmp_path):
    path = train(tmp_path / "run")
    path.rename(tmp_path / "disk")
    path.symlink_to(tmp_path / "disk")
    assert restore(path)[0] == 2 and np.array_equal(load_slice(path, 2, "W_dec", 3), params()["W_dec"][3])


def test_a_run_begun_anew_in_its_place_is_not_taken_for_the_one_that_was_opened(tmp_path):
    train(tmp_path / "run")
    opened = TrainedRun(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    train(tmp_path / "run", config=Config(seed=9))
    with pytest.raises(BadInput, match="run holds another run than the one that was opened"):
        _ = opened.params


def drop(path: pathlib.Path, *keys: str) -> None:
    """Removes what earlier versions did not note of a step."""
    file = path / read.METADATA
    noted = json.loads(file.read_text())
    for key in keys:
        del noted["custom_metadata"][key]
    file.write_text(json.dumps(noted))


def test_a_run_whose_directory_was_begun_anew_does_not_write_into_the_new_one(tmp_path):
    """Deleted under a running program: the lock is gone with the directory."""
    with RunDir(tmp_path / "run", "toy", Config(0), {}) as run:
        store = Checkpoints(run.path / "checkpoints")
        store.save(1, params(0), REST, needed=True)
        shutil.rmtree(tmp_path / "run")
        train(tmp_path / "run", (1,), Config(1))
        with pytest.raises(BadInput, match="holds another run than the one that writes there"):
            store.save(2, params(0), REST)
        store.close()
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit()] == ["1"]


def test_a_step_of_an_earlier_version_is_read_as_it_was(tmp_path):
    path = train(tmp_path / "run")
    drop(path / "2", "run", "step", "blocks")
    assert np.array_equal(load_params(path)["params"]["W_dec"], params()["W_dec"]) and restore(path)[0] == 2
    damage(path / "2", "params", "W_dec")
    assert load_slice(path, 2, "W_dec", 3).shape == (M,)  # nothing was noted of it
    with pytest.raises(BadInput, match="not what was saved"):
        load_slice(path, 2, "W_dec", ...)


@pytest.mark.parametrize("value", [[], "x", {"identity": 3}, 7])
def test_a_note_of_another_kind_is_a_damage(tmp_path, value):
    path = train(tmp_path / "run")
    file = path / "2" / read.METADATA
    noted = json.loads(file.read_text())
    noted["custom_metadata"]["run"] = value
    file.write_text(json.dumps(noted))
    if value:
        with pytest.raises(BadInput) as e:
            load_params(path, 2)
        assert len(str(e.value).splitlines()) == 1


def damage(step: pathlib.Path, part: str, name: str, index=(3, 4)) -> None:
    """Changes one element of an array as it lies on the disk."""
    base = {"driver": "file", "path": f"{step / part}/"}
    store = {"driver": "zarr3", "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/"}}
    array = ts.open(store, open=True, read=True, write=True).result()
    array[index].write(array[index].read().result() + np.float32(1)).result()


WRONG = {
    "the feature": ("W_dec", np.s_[3], (3, 4)),
    "a feature of its block": ("W_dec", np.s_[4], (3, 4)),
    "a column": ("W_enc", np.s_[:, 4], (3, 4)),
    "a small array": ("b_enc", np.s_[4], (59,)),
    "rows": ("W_dec", np.s_[50:], (59, 19)),
    "an element": ("W_dec", np.s_[7, 1], (7, 1)),
    "chosen": ("W_dec", (np.array([1, 30]), ...), (30, 0)),
    "three axes": ("cube", np.s_[:, 4], (5, 4, 6)),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_part_that_is_not_what_was_saved_is_refused(tmp_path, kind):
    name, index, where = WRONG[kind]
    path = train(tmp_path / "run", steps=(1,))
    np.testing.assert_array_equal(load_slice(path, 1, name, index), np.asarray(params()[name])[index])
    damage(path / "1", "params", name, where)
    with pytest.raises(BadInput, match=f"checkpoint .*/1: {name} cannot be read: it is not what was saved"):
        load_slice(path, 1, name, index)


def test_parts_elsewhere_are_read(tmp_path):
    path = train(tmp_path / "run", steps=(1,))
    damage(path / "1", "params", "W_dec", (3, 4))
    np.testing.assert_array_equal(load_slice(path, 1, "W_dec", 40), params()["W_dec"][40])


def test_a_folder_whose_name_looks_like_part_of_a_url_is_read(tmp_path):
    path = train(tmp_path / "50%25 a?b#c", steps=(1,))
    assert np.array_equal(load_slice(path, 1, "W_dec", 3), params()["W_dec"][3])


@pytest.mark.parametrize("shape", [(1, 1), (8, 1), (1, 4), (2, 4)])
def test_checksums_of_blocks_are_the_same_on_every_mesh_and_add_up_to_the_whole(shape):
    tree = params()
    placed = jax.device_put(tree, tree_shardings(tree, RULES, mesh_of(*shape)))
    found = block_checksums(placed, BLOCK)
    assert found == block_checksums(tree, BLOCK) and found.keys() == {"W_enc", "W_dec", "cube"}
    assert [along["size"] for along in found["W_dec"]] == [5, 1]
    for name, along in found.items():
        for axis, blocks in enumerate(along):
            assert len(blocks["sums"]) == -(-tree[name].shape[axis] // blocks["size"])
            assert sum(blocks["sums"]) % (1 << 32) == checksums(tree)[name]


def test_what_is_noted_of_a_step(tmp_path):
    path = train(tmp_path / "run", steps=(5,))
    noted = read_metadata(path / "5")
    assert noted["step"] == 5 and noted["run"]["path"] == str(tmp_path / "run")
    assert noted["blocks"].keys() == {"params/W_enc", "params/W_dec", "params/cube"}
