"""The arithmetic of a step, against arrays that are made and programs that are compiled."""

from __future__ import annotations

import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.cost_model import (
    SCALARS,
    PredictedCollective,
    StepCost,
    choose_mesh,
    count_parameters,
    describe,
)
from tests.conftest import mesh_of

B, F, M = 1024, 768, 96
RULES = {
    "W_enc": PartitionSpec(None, "model"),
    "W_dec": PartitionSpec("model", None),
    "b_enc": PartitionSpec("model"),
    "b_dec": PartitionSpec(),
}
MESHES = [(1, 1), (8, 1), (1, 8), (2, 4), (4, 2)]


def shapes(n_features: int = F, width: int = M) -> dict[str, jax.ShapeDtypeStruct]:
    sizes = {"W_enc": (width, n_features), "W_dec": (n_features, width), "b_enc": (n_features,), "b_dec": (width,)}
    return {name: jax.ShapeDtypeStruct(size, jnp.float32) for name, size in sizes.items()}


def step(params, x):
    """A plain step: the loss of the paper, its gradients by JAX, an update, and how often each feature fired."""

    def loss(p):
        f = jax.nn.relu(x @ p["W_enc"] + (p["b_enc"] - p["b_dec"] @ p["W_enc"]))
        error = f @ p["W_dec"] + p["b_dec"] - x
        return jnp.mean(error**2) + 0.1 * jnp.sum(f) / len(x), jnp.sum(f > 0, axis=0, dtype=jnp.int32)

    gradients, fired = jax.grad(loss, has_aux=True)(params)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients), fired


def compiled(data: int, model: int):
    """The step, compiled for a mesh."""
    mesh = mesh_of(data, model)
    put = lambda *spec: NamedSharding(mesh, PartitionSpec(*spec))  # noqa: E731
    params = {name: NamedSharding(mesh, spec) for name, spec in RULES.items()}
    program = jax.jit(step, in_shardings=(params, put("data")), out_shardings=(params, put("model")))
    return program.lower(shapes(), jax.ShapeDtypeStruct((B, M), jnp.float32)).compile()


def all_reduced(program) -> int:
    """Bytes of all arrays that a compiled program all-reduces; fails on any other collective."""
    text = program.as_text()
    assert not re.search(r"(all-gather|all-to-all|reduce-scatter|collective-permute)\(", text)
    found = 0
    for result in re.findall(r"= (.*?) all-reduce\(", text):
        sizes = re.findall(r"[fs]32\[([\d,]*)\]", result)
        found += sum(4 * math.prod(int(n) for n in s.split(",") if n) for s in sizes)
    return found


@pytest.mark.parametrize(("data", "model"), MESHES)
def test_collectives_are_those_of_a_compiled_step(data, model):
    counted = sum(c.bytes for c in StepCost(data, model, F, M, B).collectives)
    scalars = 4 * SCALARS * (model > 1)  # of metrics, which the plain step does not have
    assert counted - scalars == all_reduced(compiled(data, model))


@pytest.mark.parametrize(("data", "model"), MESHES)
def test_flops_are_those_of_a_compiled_step(data, model):
    counted = compiled(data, model).cost_analysis()["flops"]
    assert StepCost(data, model, F, M, B).flops == pytest.approx(counted, rel=0.05)  # the rest is elementwise


@pytest.mark.parametrize(("data", "model"), MESHES)
def test_parameters_state_and_gradients_are_what_a_device_is_given(data, model):
    mesh = mesh_of(data, model)
    state = jax.eval_shape(optax.scale_by_adam().init, shapes())
    trees = {"mu": state.mu, "nu": state.nu, "params": shapes()}
    count = {name: np.prod(NamedSharding(mesh, RULES[name]).shard_shape(a.shape)) for name, a in shapes().items()}
    fired = NamedSharding(mesh, RULES["b_enc"]).shard_shape((F,))[0]
    layout = StepCost(data, model, F, M, B)
    assert layout.parameters == sum(count.values())
    assert layout.state_bytes == sum(4 * count[name] for tree in trees.values() for name in tree) + 4 * fired
    assert layout.gradient_bytes == sum(4 * n for n in count.values())


def test_parameters_of_a_whole_dictionary():
    assert count_parameters(F, M) == sum(math.prod(a.shape) for a in shapes().values())
    assert count_parameters(4096, 512) == 4_198_912


@pytest.mark.parametrize(("data", "model", "micro", "dtype"), [(1, 1, 1, "f4"), (2, 4, 1, "f2"), (2, 4, 8, "f2")])
def test_activations_are_two_operands_and_an_fp32_result(data, model, micro, dtype):
    shape = (B // data // micro, F // model)
    arrays = [np.zeros(shape, dtype), np.zeros(shape, dtype), np.zeros(shape, np.float32)]
    layout = StepCost(data, model, F, M, B, np.dtype(dtype).itemsize, micro)
    assert layout.activation_bytes == sum(a.nbytes for a in arrays)


def test_rows_are_those_of_two_dispatches():
    layout = StepCost(4, 2, F, M, B)
    assert layout.row_bytes(10, 2) == 2 * np.zeros((10, B // 4, M), np.float16).nbytes
    assert layout.row_bytes(10, 4) == 2 * layout.row_bytes(10, 2)


def sent_in_a_ring(n: int, size: int) -> float:
    """Bytes that a device sends, counted part by part: n - 1 rounds to sum, n - 1 rounds to spread the sums."""
    return sum(size / n for phase in ("sum", "spread") for hop in range(n - 1))


@pytest.mark.parametrize(("data", "model"), [*MESHES, (3, 1), (1, 3), (2, 3)])
def test_traffic_is_that_of_rings(data, model):
    layout = StepCost(data, model, F, M, 6 * B)
    by_axis = {c.axis: c for c in layout.collectives}
    assert by_axis.keys() == {name for name, n in (("data", data), ("model", model)) if n > 1}
    for name, n in (("data", data), ("model", model)):
        if n > 1:
            assert by_axis[name].devices == n
            assert by_axis[name].traffic == pytest.approx(n * sent_in_a_ring(n, by_axis[name].bytes))
    assert layout.traffic == pytest.approx(sum(sent_in_a_ring(c.devices, c.bytes) for c in layout.collectives))


def test_a_step_by_hand():
    """A/1 of the paper on eight devices, in bfloat16."""
    layout = StepCost(data=2, model=4, n_features=4096, width=512, batch_size=8192, compute_bytes=2)
    assert layout.parameters == 2 * 1024 * 512 + 1024 + 512 == 1_050_112
    assert layout.activation_bytes == 4096 * 1024 * 8
    assert layout.collectives == (
        PredictedCollective("model", 4, 4 * (4096 * 512 + 512 + 4)),
        PredictedCollective("data", 2, 4 * 1_050_112 + 4 * 1024),
    )
    assert layout.traffic == 1.5 * 8_390_672 + 1.0 * 4_204_544
    assert layout.flops * 8 == 10 * 8192 * 512 * 4096


def test_one_device_has_no_traffic():
    layout = StepCost(1, 1, 512, 64, 7)
    assert layout.collectives == () and layout.traffic == 0


def least(n: int, n_features: int, width: int, batch: int) -> list[tuple[int, int]]:
    """Every mesh of the least traffic that fits, found by trying all."""
    found = {}
    for data in [d for d in range(1, n + 1) if n % d == 0]:
        model = n // data
        if batch % data == n_features % model == 0:
            rows, features = batch // data, n_features // model
            over_model = 8 * (rows * width + width + 4) * (model - 1) * data
            over_data = 8 * (2 * features * width + features + width + features) * (data - 1) * model
            found[data, model] = over_model + over_data
    return [mesh for mesh, cost in found.items() if cost == min(found.values())]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 7, 8, 12, 13, 16, 30, 64, 4096])
def test_the_chosen_mesh_has_the_least_traffic(n):
    for n_features, batch in itertools.product([1, 4, 7, 12, 64, 130, 512, 4096], [1, 6, 13, 64, 390, 8192]):
        best = least(n, n_features, 32, batch)
        if best:
            assert choose_mesh(n, n_features, 32, batch) == max(best)
        else:
            with pytest.raises(BadInput, match=f"no mesh of {n} devices fits: .* {batch}, .* {n_features} features"):
                choose_mesh(n, n_features, 32, batch)


def test_of_equal_meshes_the_one_with_more_data_is_chosen():
    # B M + M + 4 numbers over model, 2 F M + 2 F + M over data: 8 + 2 + 4 = 8 + 4 + 2
    assert least(2, 2, 2, 4) == [(1, 2), (2, 1)]
    assert choose_mesh(2, 2, 2, 4) == (2, 1)


def test_narrow_dictionaries_are_split_by_rows_and_wide_ones_by_features():
    assert choose_mesh(8, 512, 512, 8192) == (8, 1)
    assert choose_mesh(8, 4096, 512, 8192) == (2, 4)
    assert choose_mesh(8, 131_072, 512, 8192) == (1, 8)


def test_a_prime_number_of_devices_goes_along_one_axis():
    assert choose_mesh(7, 4096, 512, 7 * 1024) == (7, 1)
    assert choose_mesh(7, 7 * 4096, 512, 8192) == (1, 7)


@pytest.mark.parametrize("n", [0, -1, 4097])
def test_a_number_of_devices_that_makes_no_sense_is_refused(n):
    with pytest.raises(BadInput, match=f"{n} devices: expected 1 to 4096"):
        choose_mesh(n, 512, 512, 8192)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": 3}, "batch_size 1024 is not divisible by the 3 data shards$"),
        ({"model": 5}, "n_features 768 is not divisible by the 5 model shards"),
        (
            {"data": 2, "micro_batches": 1024},
            "batch_size 1024 is not divisible by the 2 data shards x 1024 micro-batches",
        ),
        ({"model": 0}, "model is 0: at least 1"),
        ({"micro_batches": -1}, "micro_batches is -1: at least 1"),
        ({"width": 0}, "width is 0: at least 1"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(change, said):
    with pytest.raises(BadInput, match=said):
        StepCost(**{"data": 1, "model": 1, "n_features": F, "width": M, "batch_size": B, **change})


def test_the_description_says_where_the_bytes_are():
    layout = StepCost(2, 4, 131_072, 512, 8192, compute_bytes=2)
    assert describe(layout, steps_per_dispatch=100, element_bytes=2) == (
        "mesh data=2,model=4: 2.45 GB on each device (state 403 MB, gradients 134 MB, activations 1.07 GB, "
        "rows 839 MB), 687 GFLOP a step\n"
        "each step all-reduces 8.39 MB over 4 model shards and 134 MB over 2 data shards: 147 MB sent by each device"
    )
    assert describe(StepCost(1, 1, F, M, B), 1, 2).endswith(" a step\nno collectives")
