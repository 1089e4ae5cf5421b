"""Training with bfloat16 operands ends where training in fp32 does."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.sae.objective import dictionary_optimizer, row_losses
from monosem_jax.sae.params import RULES
from monosem_jax.sae.trainer import make_objective
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.loop import Ensemble
from monosem_jax.training.step import create_state
from tests.conftest import mesh_of
from tests.engine import initial_state, relu_sae

M, F, B, STEPS, L1 = 32, 64, 128, 600, 0.05
CONFIG = SaeRunConfig(source="x", train=TrainConfig(steps=STEPS, batch_size=B, learning_rate=3e-3))


def rows(seed: int, n: int) -> np.ndarray:
    """Sums of a few of 48 directions, each with a positive strength, and some noise."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(48, M))
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    strength = rng.exponential(1.0, size=(n, 48)) * (rng.random((n, 48)) < 0.06)
    return (strength @ truth + 0.02 * rng.normal(size=(n, M)) + 0.3).astype(np.float32)


@functools.cache
def heldout_loss(dtype: str, steps: int = STEPS) -> float:
    """In fp32, of a dictionary that was trained with operands in `dtype`."""
    sae, mesh, tx = relu_sae(M, F, jnp.dtype(dtype)), mesh_of(1, 1), dictionary_optimizer(CONFIG.train)
    state = create_state(lambda: initial_state(sae, tx, np.full(M, 0.3), 1.0, 0, L1), RULES, mesh)
    if steps:
        group = Ensemble(state, make_objective(sae, CONFIG.sae, CONFIG.train, mesh), tx, [], RULES, mesh)
        blocks = rows(1, steps * B).reshape(steps, B, M)
        state, result = group.compile(CONFIG.train)(state, jnp.asarray(blocks))
        assert int(result.metrics["skipped"].number()) == 0 and state.params["W_dec"].dtype == jnp.float32
    return float(jnp.mean(row_losses(relu_sae(M, F), state, jnp.asarray(rows(2, 4096)))[0]))


def test_the_problem_is_one_that_training_solves():
    assert heldout_loss("float32") < 0.35 * heldout_loss("float32", 0)


def test_training_in_bfloat16_reaches_the_loss_of_training_in_fp32():
    exact, rounded = heldout_loss("float32"), heldout_loss("bfloat16")
    assert rounded == pytest.approx(exact, rel=0.01) and rounded != exact


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_training_program_multiplies_in_the_configured_dtype(dtype):
    """All five products, forward and backward."""
    sae, mesh = relu_sae(M, F, jnp.dtype(dtype)), mesh_of(1, 1)
    tx = dictionary_optimizer(CONFIG.train)
    state = jax.eval_shape(lambda: initial_state(sae, tx, jnp.zeros(M), 1.0, 0, L1))
    objective = make_objective(sae, CONFIG.sae, CONFIG.train, mesh)
    equations = jax.make_jaxpr(objective)(state, jnp.zeros((B, M))).jaxpr.eqns
    inner = next(e for e in equations if e.primitive.name == "shard_map").params["jaxpr"].eqns
    products = [e for e in inner if e.primitive.name == "dot_general"]
    matrices = [e for e in products if all(len(v.aval.shape) == 2 for v in e.invars)]
    assert len(matrices) == 5 and {v.aval.dtype for e in matrices for v in e.invars} == {jnp.dtype(dtype)}
    assert {e.outvars[0].aval.dtype for e in products} == {jnp.dtype("float32")}
