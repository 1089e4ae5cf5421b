"""What a dictionary's objective gives the engine: gradients of the mean loss, sums of metrics, when features fired."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import device_put_sharded
from monosem_jax.sae.objective import dictionary_objective
from monosem_jax.sae.trainer import make_objective
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.metrics import Last
from tests import engine, reference
from tests.conftest import mesh_of
from tests.engine import L1, SAE, SCALE, STEP, B, F, M, close, placed, relu_sae, rows, state_at
from tests.sae import problems

# Every mesh, and every number of parts on one that divides rows and on one that divides features.
PAIRS = pytest.mark.parametrize(
    ("shape", "micro_batches"), [((1, 1), 1), ((1, 1), 4), ((8, 1), 2), ((1, 8), 4), ((2, 4), 1), ((2, 4), 2)], ids=str
)


@functools.cache
def found(shape: tuple[int, int] = (1, 1), step: int = STEP, **options):
    """What the objective gives for two batches in one, on a mesh."""
    mesh = mesh_of(*shape)
    objective = dictionary_objective(SAE, mesh, **options)
    return jax.jit(objective)(placed(state_at(step), mesh), device_put_sharded(batch(), mesh, PartitionSpec("data")))


def batch() -> np.ndarray:
    return rows(0, 2).reshape(2 * B, M)


def activations() -> np.ndarray:
    return reference.encode(state_at().params, batch() * SCALE)


@PAIRS
def test_gradients_are_of_the_mean_loss_of_scaled_rows_on_any_mesh_in_any_number_of_parts(shape, micro_batches):
    grads = found(shape, micro_batches=micro_batches).grads
    for name, expected in reference.gradients(state_at().params, batch() * SCALE, L1).items():
        close(grads[name], expected, name=name)


@PAIRS
def test_metrics_are_means_over_the_batch(shape, micro_batches):
    sums = engine.in_batch(found(shape, micro_batches=micro_batches))
    x, p = batch() * SCALE, state_at().params
    expected = {
        "loss": reference.row_losses(p, x, L1).sum(), "mse": reference.row_losses(p, x, 0).sum(),
        "l1": activations().sum(), "l0": (activations() > 0).sum(), "count": len(x),
    }  # fmt: skip
    assert {name: float(v) for name, v in sums.items()} == pytest.approx(expected, rel=1e-5)


@PAIRS
def test_the_step_after_which_a_feature_last_fired_is_noted_wherever_it_did(shape, micro_batches):
    stats = found(shape, micro_batches=micro_batches).stats
    before = np.asarray(state_at().stats["last_fired"])
    fired, on_the_first_device = ((activations()[:n] > 0).any(axis=0) for n in (2 * B, B // 4))
    assert on_the_first_device.sum() < fired.sum() < F
    np.testing.assert_array_equal(stats["last_fired"], np.where(fired, STEP + 1, before))


@pytest.mark.parametrize(("step", "share"), [(0, 0.1), (4, 0.5), (8, 0.9), (9, 1), (30, 1)])
def test_the_l1_coefficient_rises_from_the_first_step_to_the_last_of_its_warm_up(step, share):
    result = found(step=step, l1_warmup=10)
    sums = engine.in_batch(result)
    assert float((sums["loss"] - sums["mse"]) / sums["l1"]) == pytest.approx(share * L1, rel=1e-4)
    assert float(result.metrics["l1_coefficient"].number()) == pytest.approx(share * L1, rel=1e-6)
    close(result.grads["b_enc"], reference.gradients(state_at().params, batch() * SCALE, share * L1)["b_enc"])


@pytest.mark.parametrize(("warmup", "steps"), [(0.25, 10), (20.0, 20)])
def test_a_warm_up_below_one_is_a_fraction_of_the_steps(monkeypatch, warmup, steps):
    """40 of them; the names of what else the configuration decides are passed on too."""
    config = SaeRunConfig(train=TrainConfig(steps=40, micro_batches=2))
    config = type(config)(
        sae=type(config.sae)(l1_warmup=warmup, sparse="never"), train=config.train, source="x"
    )  # fmt: skip
    given = {}
    monkeypatch.setattr("monosem_jax.sae.trainer.dictionary_objective", lambda *a, **k: given.update(k))
    make_objective(SAE, config.sae, config.train, mesh_of(1, 1))
    assert given == {"sparse": "never", "l1_warmup": steps, "micro_batches": 2, "n_steps": 40}


def test_rows_of_half_precision_are_scaled_in_fp32():
    """As fp16 numbers they would overflow."""
    state = state_at(scale=3.0)
    x = np.full((B, M), 40_000, np.float16)
    result = jax.jit(dictionary_objective(SAE, mesh_of(1, 1)))(state, jnp.asarray(x))
    expected = reference.row_losses(state.params, x.astype(np.float64) * 3, L1).sum()
    assert float(result.loss.total) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "dtype", "visited"),
    [({}, "float32", True), ({"sparse": "never"}, "float32", False), ({}, "bfloat16", False)],
)
def test_positive_features_are_visited_on_cpus_in_fp32_unless_told_otherwise(options, dtype, visited):
    sae = relu_sae(128, 2048, jnp.dtype(dtype))
    state = state_at(0, np.zeros(2048, bool))
    params = {name: jnp.zeros(p.shape) for name, p in reference.random_dictionary(0, 128, 2048).items()}
    objective = dictionary_objective(sae, mesh_of(1, 1), **options)
    text = str(jax.make_jaxpr(objective)(state.replace(params=params), jnp.zeros((64, 128))))
    assert (" cond[" in text) == visited


def test_rows_that_do_not_divide_into_micro_batches_are_refused():
    config = TrainConfig(batch_size=24, micro_batches=2)
    config.check_mesh(mesh_of(2, 4))
    with pytest.raises(BadInput, match=r"train\.micro_batches 2 does not divide the 3 rows that a device has"):
        config.check_mesh(mesh_of(8, 1))
    with pytest.raises(BadInput, match=r"train\.batch_size 24 is not divisible by the 16 data shards"):
        config.check_mesh(type("", (), {"shape": {"data": 16}})())


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("april_2024", "l1_coefficient"),
        ("gated", "l1_coefficient"),
        ("jumprelu", "l0_coefficient"),
        ("jumprelu to a target", "l0_coefficient"),
        ("matryoshka of relu", "l1_coefficient"),
        ("topk", None),
        ("batchtopk", None),
        ("matryoshka of topk", None),
    ],
)
def test_the_coefficient_of_sparsity_is_a_metric_where_there_is_one(name, key):
    """Under its own key, and as it is at this step of the warm-up: 31 of 62 steps."""
    given = problems.given_of(name)
    result = problems.compiled(name, l1_warmup=0 if key is None else 62)(problems.state_of(name, given), given.rows)
    assert {k for k, metric in result.metrics.items() if isinstance(metric, Last)} == ({key} if key else set())
    if key:
        assert float(result.metrics[key].number()) == pytest.approx(given.hyper[key] / 2, rel=1e-6)
