"""A small dictionary in the middle of its training, on any mesh, and rows that depend only on their number."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from monosem_jax.runtime.mesh import device_put_sharded, tree_shardings
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae import trainer
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.objective import dictionary_objective, dictionary_optimizer
from monosem_jax.sae.params import RULES
from monosem_jax.sae.resample import Resampler, make_resampling
from monosem_jax.sae.trainer import InputStatistics
from monosem_jax.training.config import OptimizerConfig, TrainConfig
from monosem_jax.training.loop import Ensemble
from monosem_jax.training.metrics import Mean, Metrics
from monosem_jax.training.step import BatchResult, State
from tests import reference
from tests.conftest import mesh_of

M, F, B = 8, 32, 16
STEP, WINDOW, L1, SCALE = 30, 10, 0.05, 0.5
DEAD = np.isin(np.arange(F), [1, 4, 5, 11, 19])
CONFIG = TrainConfig(
    steps=1000, batch_size=B, learning_rate=1e-2, optimizer=OptimizerConfig(eps=1e-4), steps_per_dispatch=4
)


def relu_sae(width: int, n_features: int, dtype: Any = jnp.float32) -> SparseAutoencoder:
    """The paper's dictionary."""
    return sae_lib.build(ReluConfig(n_features=n_features), width, dtype)


SAE = relu_sae(M, F)


def state_at(
    step: int = STEP, dead: np.ndarray = DEAD, seed: int = 0, l1: float = L1, scale: float = SCALE, config=CONFIG
) -> State:
    """A state whose dead features fire on no row and last did so WINDOW steps ago, the others WINDOW - 1 ago; no moment
    is zero. It has as many features as `dead`."""
    rng, params = np.random.default_rng(seed), reference.random_dictionary(seed, M, len(dead))
    params["b_enc"][dead] = -9
    params = jax.tree.map(jnp.asarray, params)
    hyper = {"l1_coefficient": jnp.float32(l1), "input_scale": jnp.float32(scale)}
    tx = dictionary_optimizer(config)
    state = State.create(
        params, tx, stats=relu_sae(M, len(dead)).initial_stats(), hyper=hyper, key=jax.random.key(seed)
    )
    fill = lambda x: jnp.asarray(rng.uniform(0.1, 1, x.shape), x.dtype) if x.ndim else x  # noqa: E731
    last_fired = jnp.asarray(np.where(dead, step - WINDOW, step - WINDOW + 1), jnp.int32)
    guard = jax.tree.map(jnp.copy, state.guard)  # arrays of its own, as `create` would make, may be donated
    return state.replace(
        step=jnp.int32(step), opt_state=jax.tree.map(fill, state.opt_state), stats={"last_fired": last_fired},
        guard=guard,
    )  # fmt: skip


def stacked(members: Sequence[State]) -> State:
    """The members along a first axis of every array but `step`."""
    whole = jax.tree.map(lambda *x: jnp.stack(x), *(m.replace(step=None) for m in members))
    return whole.replace(step=members[0].step)


def placed(state: State, mesh: Mesh, stacked: bool = False) -> State:
    return jax.device_put(state, tree_shardings(state, RULES, mesh, stacked=stacked))


def rows(start: int, n: int) -> np.ndarray:
    """[n,B,M] batches start … start+n-1; in each, row 3 is zero."""
    found = [np.random.default_rng(1000 + i).normal(0.3, 1.0, size=(B, M)) for i in range(start, start + n)]
    found = np.stack(found).astype(np.float32)
    found[:, 3] = 0
    return found


class Batches:
    """The rows on a mesh; `calls` are the (start, n) asked for, `changed` what batches of some numbers are instead."""

    def __init__(self, mesh: Mesh, changed: dict[int, np.ndarray] | None = None):
        self.calls, self.mesh, self.changed = [], mesh, changed or {}

    def __call__(self, start: int, n: int) -> jax.Array:
        self.calls.append((start, n))
        found = rows(start, n)
        for i in range(n):
            found[i] = self.changed.get(start + i, found[i])
        return device_put_sharded(found, self.mesh, PartitionSpec(None, "data"))


def group(state: State, mesh: Mesh, config: TrainConfig = CONFIG, *, together: int = 0, **options) -> Ensemble:
    objective = dictionary_objective(SAE, mesh, **options)
    return Ensemble(state, objective, dictionary_optimizer(config), [], RULES, mesh, together)


@functools.cache
def resampler(
    method: str = "paper", shape: tuple[int, int] = (1, 1), together: int = 0, n_features: int = F
) -> Resampler:
    return Resampler(relu_sae(M, n_features), mesh_of(*shape), RULES, window=WINDOW, method=method, together=together)


def event(state: State, *, n_inputs: int = 6 * B, per_dispatch: int = 4, batches: Batches | None = None, **kind):
    """The state (which is used up) after the event of its step."""
    config = TrainConfig(batch_size=B, steps_per_dispatch=per_dispatch)
    apply = make_resampling([resampler(**kind)], (STEP,), n_inputs, config).apply
    return apply([state], int(state.step), batches or Batches(mesh_of(1, 1)))[0]


def totals(metrics: Metrics) -> dict[str, jax.Array]:
    """The sums behind those metrics that are means, and the number that they are divided by."""
    sums = {name: metric.total for name, metric in metrics.items() if isinstance(metric, Mean)}
    return {**sums, "count": metrics["loss"].count}


def in_batch(found: BatchResult) -> dict[str, jax.Array]:
    """The sums over a batch that an objective found."""
    return totals({**found.metrics, "loss": found.loss})


def moments(state: State):
    """(mu, nu) of Adam as NumPy."""
    found = [s for s in jax.tree.leaves(state.opt_state, is_leaf=lambda s: hasattr(s, "mu")) if hasattr(s, "mu")]
    return reference.doubles(found[0].mu), reference.doubles(found[0].nu)


def by_feature(name: str, value) -> np.ndarray:
    """A parameter or moment with its features along the first axis."""
    return np.moveaxis(np.asarray(value), reference.FEATURE_AXES[name], 0)


def close(found, expected, rtol: float = 1e-5, name: str = "") -> None:
    """Equal to rtol of the array's largest element: fp32 sums of terms of both signs are no more exact."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(
        np.asarray(found), expected, rtol=rtol, atol=rtol * np.abs(expected).max(), err_msg=name
    )  # fmt: skip


def assert_close(found: State, expected: State, rtol: float = 1e-5) -> None:
    """All of two states, to rounding."""
    for part in ("params", "opt_state", "stats", "guard"):
        leaves = jax.tree_util.tree_leaves_with_path(getattr(found, part))
        for (path, a), b in zip(leaves, jax.tree.leaves(getattr(expected, part)), strict=True):
            close(a, b, rtol, part + jax.tree_util.keystr(path))
    assert int(found.step) == int(expected.step)


def initial_state(sae, tx, median, scale, seed, l1_coefficient):
    """A dictionary's state as it begins."""
    statistics = InputStatistics(scale, median, np.ones(len(median)), (len(median),))
    return trainer.initial_state(sae, tx, statistics, seed, {"l1_coefficient": l1_coefficient})
