"""Communication in compiled programs; no device ever holds a whole dictionary or all its activations."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from launch.compile_check.hlo_cost import collectives, largest
from monosem_jax.analysis.metrics import batch_sums, row_sums
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.mesh import tree_shardings
from monosem_jax.sae.architectures import build
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.objective import dictionary_optimizer
from monosem_jax.sae.ops.geometric_median import geometric_median
from monosem_jax.sae.params import RULES
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.resample import Resampler
from monosem_jax.sae.trainer import step_cost
from monosem_jax.stages import train_sae
from monosem_jax.training.config import OptimizerConfig, TrainConfig
from monosem_jax.training.step import create_state
from tests.conftest import TINY, mesh_of
from tests.engine import initial_state, relu_sae

B, M, F, K = 32, 16, 512, 3
WHOLE = min(B, M) * F  # elements of the activations of a batch, or of a matrix
SCALARS = 12  # at most so many numbers besides, of which programs may sum several at once
STEPS = pytest.mark.parametrize(
    ("shape", "micro_batches"), [((8, 1), 1), ((1, 8), 1), ((1, 8), 4), ((2, 4), 1), ((2, 4), 4)], ids=str
)  # fmt: skip
SPLIT = pytest.mark.parametrize("shape", [(1, 8), (2, 4)], ids=["1x8", "2x4"])


@functools.cache
def dispatch(shape: tuple[int, int], micro_batches: int = 1, width: int = M, n_features: int = F, **changes) -> str:
    """The training program of K steps."""
    config = ReluConfig(n_features=n_features)
    train = TrainConfig(batch_size=B, micro_batches=micro_batches, compute_dtype="float32", **changes)
    sae = build(config, width, jnp.float32)
    return train_sae.lower_dispatch(sae, config, train, mesh_of(*shape), K).compile().as_text()


def sums(text: str, devices: int) -> tuple[list[tuple[int, ...]], int]:
    """(shapes of what is summed over so many devices in a step, the number of scalars besides)."""
    found: list[tuple[int, ...]] = []
    for c in collectives(text):
        if c.devices == devices:
            assert c.times % K == 0 and {o.dtype for o in c.operands} <= {"f32", "s32"}
            found += [o.dims for o in c.operands for _ in range(c.times // K)]
    return sorted(dims for dims in found if dims), found.count(())


def expected(shape: tuple[int, int], micro_batches: int) -> dict[str, list[tuple[int, ...]]]:
    """Over `model` the parts of the reconstructions and of a vector; over `data` gradients and counts, once a step."""
    data, model = shape
    part = (B // data // micro_batches, M)
    over_data = [(M, F // model), (F // model, M), (F // model,), (F // model,), (M,)]
    return {"model": sorted([part, (M,)] * micro_batches) * (model > 1), "data": sorted(over_data) * (data > 1)}


@STEPS
def test_a_step_sums_reconstructions_over_model_and_gradients_over_data_and_nothing_else(shape, micro_batches):
    text, wanted = dispatch(shape, micro_batches), expected(shape, micro_batches)
    found = collectives(text)
    assert {c.kind for c in found} == {"all-reduce"} and not any(c.conditional for c in found)
    assert {c.devices for c in found} == set(shape) - {1}
    for axis, devices in zip(("data", "model"), shape, strict=True):
        if devices > 1:
            shapes, scalars = sums(text, devices)
            assert shapes == wanted[axis] and scalars <= SCALARS, axis


@STEPS
def test_the_bytes_are_those_that_are_told_before_a_run(shape, micro_batches):
    config, train = ReluConfig(n_features=F), TrainConfig(batch_size=B, micro_batches=micro_batches)
    cost = step_cost(build(config, M, jnp.float32), config, train, mesh_of(*shape))
    told = {c.axis: c.bytes for c in cost.collectives}
    for axis, devices in zip(("data", "model"), shape, strict=True):
        if devices > 1:
            shapes, scalars = sums(dispatch(shape, micro_batches), devices)
            found = 4 * (sum(int(np.prod(dims)) for dims in shapes) + scalars)
            assert 0 <= found - told[axis] <= 4 * SCALARS  # the norm of the gradients is not part of the objective


def test_one_device_has_nothing_to_say():
    assert collectives(dispatch((1, 1), 4)) == []


@SPLIT
def test_clipping_by_the_norm_adds_scalars_only(shape):
    """The norm itself is a metric, and computed always."""
    for devices in set(shape) - {1}:
        plain, clipped = (
            sums(dispatch(shape, **c), devices) for c in ({}, {"optimizer": OptimizerConfig(clip_norm=1.0)})
        )
        assert plain[0] == clipped[0] and clipped[1] <= SCALARS


@STEPS
def test_no_device_holds_more_than_its_part_while_training(shape, micro_batches):
    (data, model), found = shape, largest(dispatch(shape, micro_batches))
    activations, matrix, rows = B // data // micro_batches * F // model, M * F // model, K * B // data * M
    assert found.elements == max(activations, matrix, rows), found.line


def test_the_program_that_visits_positive_features_has_its_collectives_outside_of_the_choice():
    """Its devices may choose differently, so a sum within a branch would wait for ever."""
    text = dispatch((1, 8), width=128, n_features=8 * 2048)
    assert " conditional(" in text
    found = collectives(text)
    assert found and {c.kind for c in found} == {"all-reduce"} and not any(c.conditional for c in found)
    assert largest(text).elements < B * 8 * 2048


@pytest.fixture
def made(monkeypatch):
    """The texts of all programs that would be called."""
    texts, jit = [], jax.jit

    def recording(function, **options):
        compiled = jit(function, **options)

        def call(*arguments):
            texts.append(compiled.lower(*arguments).compile().as_text())

        return call

    monkeypatch.setattr(jax, "jit", recording)
    return texts


def first(seed=0, l1_coefficient=0.1):
    tx = dictionary_optimizer(TrainConfig())
    return initial_state(relu_sae(M, F), tx, jnp.zeros(M), 1.0, seed, l1_coefficient)


def laid_out(shape: tuple[int, int]):
    """A state of which nothing is computed."""
    state = jax.eval_shape(first)
    place = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)  # noqa: E731
    return jax.tree.map(place, state, tree_shardings(state, RULES, mesh_of(*shape)))


def array(mesh, spec, *dims, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dims, dtype, sharding=NamedSharding(mesh, spec))


def assert_divided(text: str, shape: tuple[int, int], most: int = 0) -> None:
    """No array is larger than a device's part of a matrix, of activations, or `most`."""
    found = largest(text)
    assert found.elements <= max(B * F // shape[1], most), found.line


@SPLIT
def test_a_state_is_made_in_parts(shape, made):
    create_state(first, RULES, mesh_of(*shape))
    assert len(made) == 1 and not collectives(made[0])
    assert largest(made[0]).elements <= WHOLE // shape[1], largest(made[0]).line


@SPLIT
def test_stacked_states_are_made_in_parts(shape, made):
    create_state(first, RULES, mesh_of(*shape), np.arange(2, dtype=np.uint32), np.ones(2, np.float32))
    assert len(made) == 1 and largest(made[0]).elements <= 2 * WHOLE // shape[1], largest(made[0]).line


@SPLIT
def test_an_event_is_computed_in_parts(shape):
    mesh, state = mesh_of(*shape), laid_out(shape)
    r = Resampler(relu_sae(M, F), mesh, RULES, window=1, method="paper")
    block = array(mesh, PartitionSpec(None, "data"), K, B, M)
    numbers = array(mesh, PartitionSpec(), F, dtype=jnp.int32)
    parts = array(mesh, PartitionSpec("data", "model", None), shape[0], F, M)
    programs = {
        "weigh": r.weigh.lower(state, block),
        "draw": r.draw.lower(state, None, array(mesh, PartitionSpec(), K, B)),
        "collect": r.collect.lower(state, (block, np.int32(0)), numbers),
        "finish": finishing(r, state, parts),
        "kaiming": finishing(Resampler(relu_sae(M, F), mesh, RULES, window=1, method="kaiming"), state),
    }
    for name, lowered in programs.items():
        text = lowered.compile().as_text()
        assert_divided(text, shape, K * B * M)
        moved = [o.dims for c in collectives(text) for o in c.operands]
        assert max([np.prod(dims) for dims in moved], default=0) <= max(F, B * M, F * M // shape[1]), name


def finishing(r: Resampler, state, *parts):
    """What `finish` compiles."""
    return jax.jit(r._finish, donate_argnums=0, out_shardings=r._shardings(state)).lower(state, None, *parts)


@pytest.mark.parametrize("shape", [(8, 1), (2, 4)], ids=["8x1", "2x4"])
def test_the_median_is_computed_of_each_devices_rows(shape):
    mesh, n = mesh_of(*shape), 640
    x = array(mesh, PartitionSpec("data"), n, M)
    text = jax.jit(geometric_median, out_shardings=NamedSharding(mesh, PartitionSpec())).lower(x).compile().as_text()
    assert largest(text).elements == n * M // shape[0]
    assert {c.kind for c in collectives(text)} == {"all-reduce"}
    assert max(np.prod(o.dims) for c in collectives(text) for o in c.operands) <= M


@SPLIT
def test_rows_are_evaluated_in_parts(shape):
    mesh = mesh_of(*shape)
    params = laid_out(shape).params
    x, weight = array(mesh, PartitionSpec("data"), B, M), array(mesh, PartitionSpec("data"), B)
    sae = PublishedSAE(relu_sae(M, F), params)
    text = row_sums.lower(sae, x, np.zeros(M, np.float32), weight).compile().as_text()
    assert_divided(text, shape)
    assert largest(text).elements < WHOLE


@SPLIT
def test_contexts_are_evaluated_in_parts(shape, tiny):
    model, params = tiny
    mesh, width, contexts = mesh_of(*shape), TINY.d_mlp, 8
    sae_params = {
        "W_enc": array(mesh, RULES["W_enc"], width, F), "b_enc": array(mesh, RULES["b_enc"], F),
        "W_dec": array(mesh, RULES["W_dec"], F, width), "b_dec": array(mesh, RULES["b_dec"], width),
    }  # fmt: skip
    params = jax.tree.map(lambda p: array(mesh, PartitionSpec(), *p.shape), params)
    tokens = array(mesh, PartitionSpec("data"), contexts, TINY.context_length, dtype=jnp.int32)
    weight = array(mesh, PartitionSpec("data"), contexts)
    tapped, sae = TappedModel(model, params, "mlp_hidden.0", 0), PublishedSAE(relu_sae(width, F), sae_params)
    text = batch_sums.lower(tapped, sae, np.zeros(width, np.float32), tokens, weight).compile().as_text()
    assert largest(text).elements <= contexts * TINY.context_length * F // 8, largest(text).line
    assert "all-gather" not in {c.kind for c in collectives(text)}
