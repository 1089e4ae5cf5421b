"""The cost model of a step, compared with real arrays and compiled programs."""

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

from launch.compile_check.hlo_cost import collectives
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures import (
    GatedConfig,
    JumpReluConfig,
    MatryoshkaConfig,
    ReluConfig,
    TopKConfig,
    TranscoderConfig,
    build,
)
from monosem_jax.sae.cost_model import PredictedCollective, StepCost, choose_mesh, describe
from monosem_jax.sae.step_trace import read_trace
from monosem_jax.sae.trainer import step_cost
from monosem_jax.stages.train_sae import lower_dispatch
from monosem_jax.training.config import TrainConfig
from tests.conftest import mesh_of

B, F, M = 1024, 768, 96
NORM = 8  # scalars at most, of the norm of the gradients, which is no part of the objective
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


def cost(data: int = 1, model: int = 1, config=None, width: int = M, batch: int = B, dtype=jnp.float32, micro: int = 1):
    """The cost of a step on a mesh, by default of the ReLU dictionary."""
    config = config or ReluConfig(n_features=F)
    train = TrainConfig(batch_size=batch, micro_batches=micro)
    return step_cost(build(config, width, dtype), config, train, mesh_of(data, model))


def by_hand(**changes) -> StepCost:
    """Figures that no program has."""
    own = {"data": 1, "model": 1, "n_features": F, "row_width": M, "batch_size": B, "compute_bytes": 4}
    own |= {"micro_batches": 1, "all_parameters": 10, "parameters": 10, "reconstructed": M, "flops": 10}
    return StepCost(**{**own, **changes})


@pytest.mark.parametrize(("data", "model"), MESHES)
def test_collectives_are_those_of_a_compiled_step(data, model):
    counted = sum(c.bytes for c in cost(data, model).collectives)
    scalars = 4 * (2 * (model > 1) + 3 * (data > 1))  # of metrics, which the plain step does not have
    assert counted - scalars == all_reduced(compiled(data, model))


@pytest.mark.parametrize(("data", "model"), MESHES)
def test_flops_are_those_of_a_compiled_step(data, model):
    counted = compiled(data, model).cost_analysis()["flops"]
    found = cost(data, model).flops
    assert found == 10 * B * M * F / (data * model)
    assert found == pytest.approx(counted, rel=0.05)  # the rest is elementwise


@pytest.mark.parametrize(("data", "model"), MESHES)
def test_parameters_state_and_gradients_are_what_a_device_is_given(data, model):
    mesh = mesh_of(data, model)
    state = jax.eval_shape(optax.scale_by_adam().init, shapes())
    trees = {"mu": state.mu, "nu": state.nu, "params": shapes()}
    count = {name: np.prod(NamedSharding(mesh, RULES[name]).shard_shape(a.shape)) for name, a in shapes().items()}
    fired = NamedSharding(mesh, RULES["b_enc"]).shard_shape((F,))[0]
    found = cost(data, model)
    assert found.all_parameters == sum(math.prod(a.shape) for a in shapes().values())
    assert found.parameters == sum(count.values())
    assert found.state_bytes == sum(4 * count[name] for tree in trees.values() for name in tree) + 4 * fired
    assert found.gradient_bytes == sum(4 * n for n in count.values())


@pytest.mark.parametrize(("data", "model", "micro", "dtype"), [(1, 1, 1, "f4"), (2, 4, 1, "f2"), (2, 4, 8, "f2")])
def test_activations_are_two_operands_an_fp32_result_and_two_reconstructions(data, model, micro, dtype):
    shape, x_hat = (B // data // micro, F // model), (B // data // micro, M)
    arrays = [np.zeros(shape, dtype), np.zeros(shape, dtype), np.zeros(shape, np.float32)]
    arrays += [np.zeros(x_hat, np.float32)] * 2
    found = cost(data, model, dtype=jnp.dtype("float32" if dtype == "f4" else "bfloat16"), micro=micro)
    assert found.activation_bytes == sum(a.nbytes for a in arrays)


def test_rows_are_those_of_two_dispatches():
    found = by_hand(data=4, model=2)
    assert found.row_bytes(10, 2) == 2 * np.zeros((10, B // 4, M), np.float16).nbytes
    assert found.row_bytes(10, 4) == 2 * found.row_bytes(10, 2)


FEW = {"n_features": 64, "k": 4, "k_aux": 8}
# name -> (configuration, numbers in its parameters, FLOPs of a row and feature and width, reconstructions of a row) for
# rows of width 24 and 64 features; AuxK decodes once more, with both gradients, and so does Multi-TopK.
ARCHITECTURES = {
    "relu": (ReluConfig(n_features=64), 2 * 24 * 64 + 64 + 24, 10, 1),
    "gated": (GatedConfig(n_features=64), 2 * 24 * 64 + 3 * 64 + 24, 14, 2),
    "jumprelu": (JumpReluConfig(n_features=64), 2 * 24 * 64 + 2 * 64 + 24, 10, 1),
    "topk": (TopKConfig(**FEW, aux_coefficient=0), 2 * 24 * 64 + 64 + 24, 10, 1),
    "topk with AuxK": (TopKConfig(**FEW), 2 * 24 * 64 + 64 + 24, 16, 2),
    "multi-topk": (TopKConfig(**FEW, aux_coefficient=0, multi=0.1), 2 * 24 * 64 + 64 + 24, 16, 2),
    "matryoshka": (
        MatryoshkaConfig(**FEW, aux_coefficient=0, groups=(0.25, 0.25, 0.5)),
        2 * 24 * 64 + 64 + 24,
        10,
        3,
    ),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_counted_by_its_own_program(name):
    """The numbers are by hand, from the formulas in the architectures' docstrings."""
    config, parameters, products, reconstructions = ARCHITECTURES[name]
    found = cost(config=config, width=24, batch=40)
    assert found.all_parameters == found.parameters == parameters
    assert found.flops == pytest.approx(products * 40 * 24 * 64)
    assert found.reconstructed == reconstructions * 24


@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_has_two_widths(skip):
    """Encoder: the product and its gradient; decoder: the product and two gradients; W_skip as the encoder."""
    config = TranscoderConfig(**FEW, aux_coefficient=0, skip=skip, widths=(16, 8))
    found = cost(config=config, width=24, batch=40)
    assert found.row_width == 24
    assert found.all_parameters == 16 * 64 + 64 + 64 * 8 + 8 + 16 * 8 * skip
    assert found.flops == 40 * (4 * 16 * 64 + 6 * 64 * 8 + 4 * 16 * 8 * skip)
    assert found.reconstructed == 8 * (1 + skip)


@pytest.mark.parametrize("name", ["matryoshka", "gated", "topk", "skip"])
def test_collectives_of_an_architecture_are_those_of_its_compiled_program(name):
    skip = TranscoderConfig(**FEW, aux_coefficient=0, skip=True, widths=(16, 8))
    config = skip if name == "skip" else ARCHITECTURES[name][0]
    sae, train = build(config, 24, jnp.float32), TrainConfig(batch_size=32, steps_per_dispatch=1)
    text = lower_dispatch(sae, config, train, mesh_of(2, 4), 1).compile().as_text()
    found = [c for c in collectives(text) if not c.conditional]
    for told in cost(2, 4, config, 24, 32).collectives:
        same = [c for c in found if c.devices == told.devices]
        reduced = sum(c.bytes for c in same if c.kind == "all-reduce")
        assert 0 <= reduced - told.bytes <= 4 * NORM, told.axis
        assert told.gathered == sum(c.bytes for c in same if c.kind == "all-gather"), told.axis
    assert (name in ("topk", "skip")) == any(c.kind == "all-gather" for c in found)


def test_the_branch_with_most_products_counts_and_loops_count_all_their_steps():
    def program(x, w):
        y = jax.lax.cond(x[0, 0] > 0, lambda: x @ w @ w, lambda: x @ w)
        w @ w  # of which nothing comes
        return jax.lax.scan(lambda y, _: (y @ w, None), y, None, length=5)[0]

    arrays = (jax.ShapeDtypeStruct((4, 8), jnp.float32), jax.ShapeDtypeStruct((8, 8), jnp.float32))
    traced = read_trace(jax.make_jaxpr(program)(*arrays), 4, 8)
    assert traced.flops == 7 * 2 * 4 * 8 * 8 and traced.reconstructions == 7
    assert not traced.reduced and not traced.gathered


def sent_in_a_ring(n: int, reduced: int, gathered: int = 0) -> float:
    """Bytes that a device sends, counted part by part: n - 1 rounds to sum, n - 1 rounds to distribute the sums; a part
    that is gathered goes on n - 1 times."""
    return sum(reduced / n for phase in ("sum", "distribute") for hop in range(n - 1)) + (n - 1) * gathered


@pytest.mark.parametrize(("data", "model"), [(1, 1), (8, 1), (1, 8), (2, 4), (3, 1), (1, 3), (2, 3)])
def test_traffic_is_that_of_rings(data, model):
    collectives = (PredictedCollective("model", model, 600, 24), PredictedCollective("data", data, 1200))
    found = by_hand(data=data, model=model, collectives=tuple(c for c in collectives if c.devices > 1))
    for c in found.collectives:
        assert c.traffic == pytest.approx(c.devices * sent_in_a_ring(c.devices, c.bytes, c.gathered))
    sent = sum(sent_in_a_ring(c.devices, c.bytes, c.gathered) for c in found.collectives)
    assert found.traffic == pytest.approx(sent)


def test_a_step_by_hand():
    """A/1 of the paper on eight devices, in bfloat16."""
    found = cost(2, 4, ReluConfig(n_features=4096), 512, 8192, jnp.bfloat16)
    assert found.parameters == 2 * 1024 * 512 + 1024 + 512 == 1_050_112
    assert found.activation_bytes == 4096 * 1024 * 8 + 2 * 4096 * 512 * 4
    assert found.collectives == (
        PredictedCollective("model", 4, 4 * (4096 * 512 + 512 + 2)),
        PredictedCollective("data", 2, 4 * (1_050_112 + 1024 + 3)),
    )
    assert found.flops * 8 == 10 * 8192 * 512 * 4096


def test_one_device_has_no_traffic():
    found = cost(config=ReluConfig(n_features=512), width=64, batch=7)
    assert found.collectives == () and found.traffic == 0


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


@pytest.mark.parametrize(("n", "n_features", "batch"), [(6, 4096, 8192), (3, 32, 64), (5, 7, 8), (7, 1, 1), (12, 5, 7)])
def test_each_way_out_of_devices_that_do_not_fit_is_one(n, n_features, batch):
    with pytest.raises(BadInput) as refused:
        choose_mesh(n, n_features, 32, batch, may_leave=True)
    said = str(refused.value)
    rows, features = (re.search(rf"{key} (\d+(?: or \d+)?)", said)[1] for key in ("batch_size", "sae.n_features"))
    for other in rows.split(" or "):
        assert choose_mesh(n, n_features, 32, int(other))
    for other in features.split(" or "):
        assert choose_mesh(n, int(other), 32, batch)
    data, model = (int(text) for text in re.search(r"train\.mesh=data=(\d+),model=(\d+)", said).groups())
    assert data * model < n and batch % data == n_features % model == 0
    assert said.endswith(f"leaves {n - data * model} unused")
    with pytest.raises(BadInput) as of_several_processes:
        choose_mesh(n, n_features, 32, batch)
    assert "train.mesh" not in str(of_several_processes.value)


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


def test_the_description_says_where_the_bytes_are():
    found = cost(2, 4, ReluConfig(n_features=131_072), 512, 8192, jnp.bfloat16)
    assert describe(found, steps_per_dispatch=100, element_bytes=2) == (
        "mesh data=2,model=4: about 2.47 GB on each device (state 403 MB, gradients 134 MB, activations about 1.09 GB, "
        "rows 839 MB), 687 GFLOP a step if no product skips zeros\n"
        "each step all-reduces 8.39 MB over 4 model shards and 134 MB over 2 data shards: 147 MB sent by each device"
    )
    assert describe(by_hand(), 1, 2).endswith(" skips zeros\nno collectives")
    gathers = by_hand(model=2, collectives=(PredictedCollective("model", 2, 2000, 1000),))
    said = "each step all-reduces 2 kB over 2 model shards and all-gathers 1 kB over 2 model shards: 3 kB sent by each"
    assert said in describe(gathers, 1, 2)
