"""Pretrained models divided over a mesh: they give what one device gives, each device holds its part, and no weight
travels."""

from __future__ import annotations

import collections
import dataclasses
import re

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from monosem_jax.models.pretrained import Pretrained
from monosem_jax.models.sharding import bytes_per_device, placed, spec_of
from tests.conftest import mesh_of
from tests.models.small import GEMMA, LLAMA, THREE, write_model

MODELS = {"llama": LLAMA, "three heads of keys": THREE, "gemma": GEMMA}
MESHES = {
    "llama": [(8, 1), (2, 4), (1, 8)],
    "three heads of keys": [(2, 4), (1, 8), (2, 3)],
    "gemma": [(8, 1), (2, 4), (1, 8)],
}
CASES = [(name, shape) for name, shapes in MESHES.items() for shape in shapes]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Pretrained]:
    root = tmp_path_factory.mktemp("models")
    return {name: write_model(root / name.replace(" ", "_"), config) for name, config in MODELS.items()}


def tokens() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 96, (8, 12)).astype(np.int32)


def everything(model):
    """The compiled function (params, tokens) -> (logits, all sites side by side, logits spliced in block 1)."""

    @jax.jit
    def run(params, tokens):
        variables = {"params": params}
        acts = model.apply(variables, tokens, "+".join(model.sites), method=model.to_acts)[1]
        spliced = []
        for site in ("attn_z.1", "mlp_hidden.1"):
            carry, at = model.apply(variables, tokens, site, method=model.to_acts)
            spliced.append(model.apply(variables, carry, at[:, ::-1], site, method=model.from_acts))
        return model.apply(variables, tokens), acts, spliced

    return run


@pytest.fixture(scope="module")
def alone(models):
    """name -> what one device gives."""
    return {name: everything(found.model())(found.params(), tokens()) for name, found in models.items()}


@pytest.mark.parametrize(("name", "shape"), CASES, ids=str)
def test_a_mesh_gives_what_one_device_gives(models, alone, name, shape):
    found, mesh = models[name], mesh_of(*shape)
    given = jax.device_put(tokens(), NamedSharding(mesh, PartitionSpec("data")))
    got = everything(found.model())(found.params(mesh), given)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(alone[name]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize(("name", "shape"), CASES, ids=str)
def test_every_device_holds_its_part_of_the_bytes(models, name, shape):
    found, mesh, n = models[name], mesh_of(*shape), shape[1]
    params = found.params(mesh)
    held, total = bytes_per_device(params), sum(p.nbytes for p in jax.tree.leaves(params))
    assert len(held) == shape[0] * n and len(set(held.values())) == 1
    whole = sum(p.nbytes for p in jax.tree.leaves(params) if p.sharding.is_fully_replicated)
    assert set(held.values()) == {(total - whole) // n + whole}
    names = {path for path, p in _paths(params) if n > 1 and p.sharding.is_fully_replicated}
    kept = {path.split("/")[-2] for path in names if not path.split("/")[-2].startswith("ln_")}
    expected = {"k", "v"} if found.config.n_kv_heads % n and not found.config.n_heads % n else set()
    assert kept - {"q_norm", "k_norm"} == expected


def _paths(params):
    return [("/".join(k.key for k in path), p) for path, p in jax.tree_util.tree_leaves_with_path(params)]


@pytest.mark.parametrize(("name", "shape"), [("llama", (1, 2)), ("llama", (2, 4)), ("gemma", (1, 8))], ids=str)
def test_a_block_sums_twice_over_devices_and_gathers_no_weight(models, name, shape):
    found, mesh = models[name], mesh_of(*shape)
    model, params = found.model(), found.params(mesh)
    given = jax.device_put(tokens(), NamedSharding(mesh, PartitionSpec("data")))
    text = jax.jit(lambda p, x: model.apply({"params": p}, x)).lower(params, given).compile().as_text()
    kinds = r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast"
    calls = re.findall(rf" ({kinds})(?:-start)?\(.*op_name=\"([^\"]*)\"", text)
    assert {kind for kind, _ in calls} == {"all-reduce"}
    # After W_O and after the MLP in each of two blocks, and of the rows of the embedding.
    where = collections.Counter(next(n for n in ("attn_proj", "down", "embed") if f"/{n}/" in op) for _, op in calls)
    assert where == {"attn_proj": 2, "down": 2, "embed": 1}


def test_what_does_not_divide_is_on_every_device():
    mesh = mesh_of(1, 4)
    config = dataclasses.make_dataclass("Config", [("n_heads", int, 8), ("n_kv_heads", int, 2)])()
    assert spec_of("blocks_0/q/kernel", (32, 64), mesh, config) == PartitionSpec(None, "model")
    assert spec_of("blocks_0/q/bias", (64,), mesh, config) == PartitionSpec("model")
    assert spec_of("blocks_0/k/kernel", (32, 16), mesh, config) == PartitionSpec()
    assert spec_of("blocks_0/k/bias", (16,), mesh, config) == PartitionSpec()
    assert spec_of("blocks_0/attn_proj/bias", (32,), mesh, config) == PartitionSpec()
    assert spec_of("blocks_0/ln_mlp/scale", (32,), mesh, config) == PartitionSpec()
    assert spec_of("embed/embedding", (96, 32), mesh, config) == PartitionSpec("model", None)
    assert spec_of("embed/embedding", (97, 32), mesh, config) == PartitionSpec()


def test_what_lies_in_place_is_not_moved(models):
    found, mesh = models["llama"], mesh_of(2, 4)
    params = found.params(mesh)
    again = placed(params, mesh, found.config)
    assert all(a is b for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(params), strict=True))
    other = placed(params, mesh_of(1, 8), found.config)
    assert len(other["blocks_0"]["q"]["kernel"].sharding.device_set) == 8
    np.testing.assert_array_equal(other["blocks_0"]["q"]["kernel"], params["blocks_0"]["q"]["kernel"])


def test_where_heads_do_not_divide_activations_are_gathered_and_no_weight(models):
    found, mesh = models["three heads of keys"], mesh_of(1, 4)
    model, params = found.model(), found.params(mesh)
    text = jax.jit(lambda p, x: model.apply({"params": p}, x)).lower(params, tokens()).compile().as_text()
    gathered = re.findall(r"= \w+\[([\d,]+)\]\S* all-gather(?:-start)?\(", text)
    assert gathered and {tuple(shape.split(",")[:2]) for shape in gathered} == {("8", "12")}
