"""Checkpoints: what comes back, which steps stay, what damage does, and on which devices they can be read."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from monosem_jax.runtime.checkpoint import Checkpoints, Retention, checkpoint_steps, load_params, restore_together
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import tree_shardings
from tests.conftest import mesh_of

# A read that fails leaves futures and coroutines of Orbax behind that nobody waits for.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]

RULES = {"W": PartitionSpec(None, "model"), "b": PartitionSpec("model"), "s": PartitionSpec()}


def make_state(seed: int = 0) -> tuple[dict, dict]:
    """(params, rest) as training has them: matrices, vectors, 0-d arrays, optimizer state, a random key."""
    a, b = jax.random.split(jax.random.key(seed))
    scalar = jnp.float32(seed + 3)
    params = {"W": jax.random.normal(a, (8, 16)), "b": jax.random.normal(b, (16,)), "deep": {"s": scalar}}
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale_by_learning_rate(1e-3))
    _, opt_state = tx.update(params, tx.init(params), params)
    rest = {"step": jnp.int32(seed), "opt_state": opt_state, "stats": {}, "hyper": {"l1_coefficient": scalar}}
    return params, {**rest, "key": jax.random.key(seed + 7)}


def plain(tree) -> list:
    """The leaves as (type, array), keys as their data."""

    def one(x):
        is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return str(x.dtype), np.asarray(jax.random.key_data(x) if is_key else x)

    return [one(x) for x in jax.tree.leaves(tree)]


def assert_same(found, expected) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (kind, a), (wanted, b) in zip(plain(found), plain(expected), strict=True):
        assert kind == wanted and a.shape == b.shape
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def opened():
    """Opens checkpoints and closes them after the test."""
    managers = []

    def opened(path, **kwargs) -> Checkpoints:
        managers.append(Checkpoints(path, **kwargs))
        return managers[-1]

    yield opened
    for m in managers:
        m.close()


def save(path, steps, **kwargs) -> None:
    manager = Checkpoints(path, **kwargs)
    for step in steps:
        manager.save(step, *make_state(step))
    manager.wait()
    manager.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "checkpoints"
    save(path, [0, 4, 9])
    return path


@pytest.fixture
def saved(original, tmp_path):
    """Steps 0, 4 and 9; step n holds make_state(n)."""
    return shutil.copytree(original, tmp_path / "checkpoints")


def test_what_is_saved_comes_back(saved, opened):
    step, params, rest = opened(saved).restore_latest(*make_state(1))
    assert step == 9
    assert_same((params, rest), make_state(9))


def test_a_restored_key_draws_the_same_numbers(saved, opened):
    _, _, rest = opened(saved).restore_latest(*make_state(1))
    assert np.array_equal(jax.random.normal(rest["key"], (5,)), jax.random.normal(make_state(9)[1]["key"], (5,)))


def test_a_new_directory_holds_no_step(tmp_path, opened):
    manager = opened(tmp_path / "checkpoints")
    assert manager.steps() == [] and manager.restore_latest(*make_state()) is None


@pytest.mark.parametrize("keep", [1, 3])
def test_step_zero_and_the_newest_stay(tmp_path, keep):
    save(tmp_path / "c", range(6), retention=Retention(keep))
    assert checkpoint_steps(tmp_path / "c") == [0, *range(6 - keep, 6)]


def test_a_step_on_disk_is_left_as_it_is(saved, opened):
    manager = opened(saved)
    manager.save(9, *make_state(1))
    manager.wait()
    assert_same(manager.restore_latest(*make_state(1))[1:], make_state(9))


def test_saved_arrays_may_be_donated_at_once(tmp_path, opened):
    manager, (params, rest) = opened(tmp_path / "c"), make_state(2)
    manager.save(2, params, rest)
    for x in jax.tree.leaves((params, rest)):
        x.delete()
    manager.wait()
    assert_same(manager.restore_latest(*make_state(1))[1:], make_state(2))


def largest(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def cut_short(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGE = {
    "data of params gone": lambda step: [p.unlink() for p in (step / "params" / "d").iterdir()],
    "data of rest gone": lambda step: [p.unlink() for p in (step / "rest" / "d").iterdir()],
    "data of params cut short": lambda step: [cut_short(p) for p in (step / "params" / "d").iterdir()],
    "manifest cut short": lambda step: cut_short(step / "params" / "manifest.ocdbt"),
    "metadata cut short": lambda step: cut_short(step / "rest" / "_METADATA"),
    "metadata empty": lambda step: (step / "params" / "_METADATA").write_bytes(b""),
    "array metadata gone": lambda step: [p.unlink() for p in (step / "rest" / "array_metadatas").iterdir()],
    "params gone": lambda step: shutil.rmtree(step / "params"),
    "rest gone": lambda step: shutil.rmtree(step / "rest"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_step_is_named_and_the_one_before_is_used(saved, opened, capsys, kind):
    DAMAGE[kind](saved / "9")
    step, params, rest = opened(saved).restore_latest(*make_state(1))
    assert step == 4
    assert_same((params, rest), make_state(4))
    assert f"{saved / '9'} cannot be read" in capsys.readouterr().err


def test_a_damaged_step_can_be_saved_again(saved, opened):
    DAMAGE["params gone"](saved / "9")
    manager = opened(saved)
    manager.restore_latest(*make_state(1))
    manager.save(9, *make_state(9))
    manager.wait()
    assert_same(manager.restore_latest(*make_state(1))[1:], make_state(9))


def test_steps_are_not_thrown_away_when_none_of_them_can_be_read(saved, opened):
    """Then the fault lies elsewhere, and a run that began anew would cost all that was done."""
    params, rest = make_state(1)
    with pytest.raises(BadInput, match="checkpoints"):
        opened(saved).restore_latest({**params, "W": jnp.zeros((8, 15))}, rest)
    assert checkpoint_steps(saved) == [0, 4, 9]


HELD = [[0, 4, 9, 12], [0, 4, 9], [0, 3, 4, 9]]


@pytest.fixture
def several(tmp_path, opened):
    """(paths, wanted) of three stores with the steps HELD; step n of the i-th holds make_state(10 * i + n)."""
    paths = [tmp_path / str(i) for i in range(3)]
    for i, path in enumerate(paths):
        manager = Checkpoints(path, Retention(9))
        for step in HELD[i]:
            manager.save(step, *make_state(10 * i + step))
        manager.wait()
        manager.close()
    return paths, [(opened(path, retention=Retention(9)), *make_state(1)) for path in paths]


def assert_together(several, step: int) -> None:
    """That step is found in all stores, and nothing later is left in any."""
    paths, wanted = several
    found = restore_together(wanted)
    assert found[0] == step
    for i, both in enumerate(found[1]):
        assert_same(both, make_state(10 * i + step))
    assert [checkpoint_steps(path) for path in paths] == [[s for s in held if s <= step] for held in HELD]


def test_the_newest_step_that_all_stores_have_is_used_and_what_is_newer_is_removed(several):
    assert_together(several, 9)


@pytest.mark.parametrize("damaged", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_step_that_is_damaged_in_any_store_is_left_out_in_all(several, capsys, damaged):
    for i in damaged:
        DAMAGE["data of rest gone"](several[0][i] / "9")
    assert_together(several, 4)
    assert f"{several[0][damaged[0]] / '9'} cannot be read" in capsys.readouterr().err


def test_stores_without_a_common_step_have_nothing_to_restore_and_keep_what_they_have(several):
    paths, wanted = several
    for i, step in enumerate((0, 4, 9)):
        wanted[i][0].delete_after(step - 1)
    wanted[2][0].save(12, *make_state(12))
    wanted[2][0].wait()
    held = [checkpoint_steps(path) for path in paths]
    assert held == [[], [0], [0, 3, 4, 12]]
    assert restore_together(wanted) is None
    assert [checkpoint_steps(path) for path in paths] == held


def test_no_step_is_removed_when_none_that_is_common_can_be_read(several):
    for i, step in enumerate((0, 4, 9)):
        DAMAGE["params gone"](several[0][i] / str(step))
    with pytest.raises(BadInput, match=r"none of the checkpoints \[9, 4, 0\] in .*/0, .*/1, .*/2 can be read"):
        restore_together(several[1])
    assert [checkpoint_steps(path) for path in several[0]] == HELD


def test_params_are_read_as_numpy_arrays(saved):
    found = load_params(saved)
    assert found.keys() == {"params"}
    assert all(type(x) is np.ndarray for x in jax.tree.leaves(found))
    assert_same(found["params"], jax.tree.map(np.asarray, make_state(9)[0]))


def test_params_are_read_without_the_rest(saved):
    shutil.rmtree(saved / "9" / "rest")
    assert_same(load_params(saved)["params"], jax.tree.map(np.asarray, make_state(9)[0]))


def test_params_of_an_older_step_are_read_when_asked_for(saved):
    assert_same(load_params(saved, 0)["params"], jax.tree.map(np.asarray, make_state(0)[0]))


def test_a_step_that_is_not_there_is_refused_with_those_that_are(saved):
    with pytest.raises(BadInput, match=r"does not hold step 5: it holds \[0, 4, 9\]"):
        load_params(saved, 5)


@pytest.mark.parametrize("name", ["", "missing"])
def test_a_directory_without_steps_is_refused(tmp_path, name):
    with pytest.raises(BadInput, match="does not hold a step: it holds none"):
        load_params(tmp_path / name)


def on_mesh(seed: int, data: int, model: int):
    params, rest = make_state(seed)
    tree = {"params": params, "rest": rest}
    placed = jax.device_put(tree, tree_shardings(tree, RULES, mesh_of(data, model)))
    return placed["params"], placed["rest"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (8, 1), (4, 2)])
def test_a_step_saved_on_eight_devices_is_restored_on_any_mesh(tmp_path, opened, shape):
    manager = opened(tmp_path / "c")
    manager.save(5, *on_mesh(5, 2, 4))
    manager.wait()
    step, params, rest = opened(tmp_path / "c").restore_latest(*on_mesh(1, *shape))
    assert step == 5
    assert_same((params, rest), make_state(5))
    wanted = NamedSharding(mesh_of(*shape), RULES["W"])
    assert params["W"].sharding.is_equivalent_to(wanted, 2)
    assert rest["opt_state"][1].mu["W"].sharding.is_equivalent_to(wanted, 2)


def test_params_saved_on_eight_devices_are_read_whole(tmp_path, opened):
    manager = opened(tmp_path / "c")
    manager.save(5, *on_mesh(5, 2, 4))
    manager.wait()
    assert_same(load_params(tmp_path / "c")["params"], jax.tree.map(np.asarray, make_state(5)[0]))
