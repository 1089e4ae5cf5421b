"""Reading parts of a step: the same numbers as in the whole step, and no other bytes are read from disk."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from monosem_jax.runtime.checkpoint import Checkpoints, load_params, load_placed, load_slice, read_metadata
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import tree_shardings
from monosem_jax.runtime.workdir import FORMAT
from tests.conftest import mesh_of
from tests.runtime.checkpoint.test_manager import assert_same, make_state, save

F, M = 4096, 256
RULES = {"W_enc": PartitionSpec(None, "model"), "W_dec": PartitionSpec("model", None), "b_enc": PartitionSpec("model")}
SHAPES = {"W_enc": (M, F), "W_dec": (F, M), "b_enc": (F,)}


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """(checkpoints, params) of a dictionary with matrices of 4 MB, and moments of the same sizes."""
    path, rng = tmp_path_factory.mktemp("big") / "checkpoints", np.random.default_rng(0)
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    placed = jax.device_put(params, tree_shardings(params, RULES, mesh_of(2, 4)))
    moments = {name: {n: jnp.asarray(rng.normal(size=SHAPES[n]), jnp.float32) for n in SHAPES} for name in ("mu", "nu")}
    store = Checkpoints(path)
    store.save(3, placed, {"opt_state": moments, "step": jnp.int32(3)}, {"loss": 1.5}, needed=True)
    store.close()
    return path, params


def bytes_read(read) -> int:
    """How many bytes this process asks the system for while `read` runs."""

    def asked() -> int:
        lines = pathlib.Path("/proc/self/io").read_text().split("\n")
        return int(lines[0].removeprefix("rchar: "))

    before = asked()
    read()
    return asked() - before


def size(path: pathlib.Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


INDICES = {
    "a row": np.s_[7],
    "the last row": np.s_[-1],
    "rows": np.s_[3:9],
    "a column": np.s_[:, 11],
    "columns": np.s_[:, 100:104],
    "a block": np.s_[5:9, 2:4],
    "an element": np.s_[1, 2],
    "from the end": np.s_[-3:, -9:-7],
    "beyond the end": np.s_[200:9999, ..., 4],
    "every third": np.s_[5:30:3, ::100],
    "the other end": np.s_[..., -1],
    "none": np.s_[9:5],
    "chosen rows": (np.array([5, -1, 200]), ...),
    "all": np.s_[:],
}


@pytest.mark.parametrize("kind", INDICES)
@pytest.mark.parametrize("name", ["W_enc", "W_dec"])
def test_a_slice_is_that_of_the_whole(big, name, kind):
    path, params = big
    found = load_slice(path, 3, name, INDICES[kind])
    np.testing.assert_array_equal(found, params[name][INDICES[kind]])
    assert found.dtype == np.float32


def test_a_slice_of_a_vector_and_of_a_nested_parameter(big, tmp_path):
    np.testing.assert_array_equal(load_slice(big[0], 3, "b_enc", np.s_[5:50]), big[1]["b_enc"][5:50])
    save(tmp_path, [9])
    assert load_slice(tmp_path, 9, "deep/s", ...) == np.float32(12)
    np.testing.assert_array_equal(load_slice(tmp_path, 9, "W", np.s_[2]), make_state(9)[0]["W"][2])


@pytest.mark.parametrize(
    ("name", "index"),
    [("W_dec", np.s_[7:9]), ("W_dec", np.s_[4000]), ("W_enc", np.s_[:, 7:9]), ("W_enc", np.s_[:, -1])],
)
def test_a_slice_reads_a_small_part_of_the_disk(big, name, index):
    """One of the devices' parts, of a megabyte."""
    assert bytes_read(lambda: load_slice(big[0], 3, name, index)) < 0.25 * F * M * 4


def test_a_matrix_of_one_device_is_read_in_parts_too(tmp_path):
    w = np.random.default_rng(0).normal(size=(F, M)).astype(np.float32)
    store = Checkpoints(tmp_path)
    store.save(1, {"W": jnp.asarray(w)}, {"step": jnp.int32(1)}, needed=True)
    store.close()
    found = []
    assert bytes_read(lambda: found.append(load_slice(tmp_path, 1, "W", np.s_[100:103]))) < 0.27 * w.nbytes
    np.testing.assert_array_equal(found[0], w[100:103])


def test_parameters_are_read_without_the_optimizers_state(big):
    path, params = big
    load_params(path)  # what is read of the libraries
    assert bytes_read(lambda: assert_same(load_params(path)["params"], params)) < 0.45 * size(path / "3")
    assert bytes_read(lambda: load_params(path, names=("params", "rest"))) > 0.8 * size(path / "3" / "params")


def test_several_parts_are_read_when_they_are_asked_for(big):
    found = load_params(big[0], 3, names=("rest", "params"))
    assert found.keys() == {"params", "rest"} and found["rest"]["step"] == 3
    assert found["rest"]["opt_state"]["mu"]["W_enc"].shape == (M, F)


@pytest.mark.parametrize("shape", [(1, 1), (8, 1), (1, 8), (2, 4)])
def test_what_is_placed_is_what_is_loaded(big, shape):
    path, params = big
    mesh = mesh_of(*shape)
    found = load_placed(path, 3, lambda tree: tree_shardings(tree, RULES, mesh))
    assert_same(found, params)
    for name, x in found.items():
        assert x.sharding.is_equivalent_to(NamedSharding(mesh, RULES[name]), x.ndim)


def test_another_part_can_be_placed_too(big):
    rules = {**RULES, "step": PartitionSpec()}
    found = load_placed(big[0], 3, lambda tree: tree_shardings(tree, rules, mesh_of(2, 4)), part="rest")
    assert_same(found, jax.tree.map(jnp.asarray, load_params(big[0], names=("rest",))["rest"]))


def test_keys_are_placed_and_read_as_keys(tmp_path):
    save(tmp_path, [9])
    found = load_placed(tmp_path, 9, lambda tree: tree_shardings(tree, {"*": PartitionSpec()}, mesh_of(2, 4)), "rest")
    wanted = make_state(9)[1]["key"]
    assert found["key"].dtype == wanted.dtype
    np.testing.assert_array_equal(jax.random.key_data(found["key"]), jax.random.key_data(wanted))


def test_what_was_noted_of_a_step(big):
    noted = read_metadata(big[0] / "3")
    assert noted["format"] == FORMAT and noted["metrics"] == {"loss": 1.5}
    names = {"params/W_enc", "params/W_dec", "params/b_enc", "rest/step"}
    assert noted["checksums"].keys() >= names and len(noted["checksums"]) == 10


PLACE = lambda tree: tree_shardings(tree, RULES, mesh_of(1, 1))  # noqa: E731
REFUSED = {
    "load_params, a step": (lambda p: load_params(p, 5), r"does not hold step 5: it holds \[3\]"),
    "load_placed, a step": (lambda p: load_placed(p, 5, PLACE), r"does not hold step 5: it holds \[3\]"),
    "load_slice, a step": (lambda p: load_slice(p, 5, "W_enc", 0), r"does not hold step 5: it holds \[3\]"),
    "load_params, a part": (lambda p: load_params(p, names=("other",)), r"3 cannot be read: KeyError"),
    "load_placed, a part": (lambda p: load_placed(p, 3, PLACE, "other"), r"3 cannot be read: KeyError"),
    "load_slice, a name": (lambda p: load_slice(p, 3, "W_no", 0), r"3: W_no cannot be read: "),
    "load_slice, an index": (lambda p: load_slice(p, 3, "W_enc", M), r"3: W_enc cannot be read: "),
    "load_slice, too many": (
        lambda p: load_slice(p, 3, "W_enc", (0, 0, 0)),
        "W_enc cannot be read: IndexError: 3 indices",
    ),
    "load_slice, a directory": (lambda p: load_slice(p.parent / "no", 3, "W_enc", 0), "step 3: it holds none"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_there_is_refused_in_one_line(big, kind):
    read, line = REFUSED[kind]
    with pytest.raises(BadInput, match=line) as e:
        read(big[0])
    assert len(str(e.value).splitlines()) == 1
