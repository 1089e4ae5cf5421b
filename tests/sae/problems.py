"""Small dictionaries of all architectures, difficult batches, and states in the middle of training."""

from __future__ import annotations

import functools
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from monosem_jax.runtime.config import from_dict
from monosem_jax.runtime.mesh import device_put_sharded, tree_shardings
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.objective import dictionary_objective, dictionary_optimizer
from monosem_jax.training.config import OptimizerConfig, TrainConfig
from monosem_jax.training.step import State
from tests import engine
from tests.conftest import mesh_of
from tests.family import FREE_ROWS, Case, Given

M, F, B = 6, 16, 8
STEP, WINDOW = 30, 10
DEAD = np.isin(np.arange(F), [1, 6, 7, 12, 15])
TRAIN = TrainConfig(
    steps=1000, batch_size=B, learning_rate=1e-2, optimizer=OptimizerConfig(eps=1e-4), steps_per_dispatch=4
)
AUX = {"aux_coefficient": 0.2, "k_aux": 2, "dead_rows": WINDOW * B}

CASES = {
    "april_2024": Case("april_2024", {"l1_coefficient": 0.3}, (M,)),
    "topk": Case("topk", {"k": 3, **AUX}, (M,)),
    "multi_topk": Case("topk", {"k": 2, "multi": 0.25, **AUX, "dead_rows": WINDOW * B - 5}, (M,)),
    "abs_topk": Case("abs_topk", {"k": 3, **AUX}, (M,)),
    "topk of all": Case("topk", {"k": F, "multi": 0.5, "aux_coefficient": 0.0}, (M,)),
    "batchtopk": Case("batchtopk", {"k": 3, **AUX, "k_aux": 100, "threshold_decay": 0.5}, (M,)),
    "jumprelu": Case("jumprelu", {"l0_coefficient": 0.2, "bandwidth": 1.0, "initial_threshold": 0.4}, (M,)),
    "jumprelu to a target": Case(
        "jumprelu", {"l0_coefficient": 0.7, "target_l0": 2.5, "bandwidth": 0.3, "initial_threshold": 0.4}, (M,)
    ),
    "gated": Case("gated", {"l1_coefficient": 0.3}, (M,)),
    "matryoshka": Case("matryoshka", {"activation": "batchtopk", "groups": (3, 6, 7), "k": 3, **AUX}, (M,)),
    "matryoshka of relu": Case(
        "matryoshka", {"activation": "relu", "groups": (0.25, 0.75), "l1_coefficient": 0.05, "k": 3}, (M,)
    ),
    "matryoshka of topk": Case("matryoshka", {"activation": "topk", "groups": (1, 15), "k": 4, **AUX}, (M,)),
    "transcoder": Case("transcoder", {"activation": "topk", "skip": True, "k": 3, **AUX}, (M, 5)),
    "transcoder of batchtopk": Case("transcoder", {"activation": "batchtopk", "k": 3, **AUX}, (M, 5)),
    "transcoder of relu": Case(
        "transcoder", {"activation": "relu", "skip": True, "l1_coefficient": 0.05, "k": 3}, (M, 5)
    ),
    "p_anneal": Case("p_anneal", {"l1_coefficient": 0.3, "anneal_start": 20, "p_end": 0.25, "p_updates": 81}, (M,)),
    "crosscoder": Case("crosscoder", {"l1_coefficient": 0.2}, (3, 2, 4)),
    "crosscoder of batchtopk": Case("crosscoder", {"activation": "batchtopk", "k": 3, **AUX}, (3, 2, 4)),
}  # fmt: skip
STATS = {"p_anneal": {"lp_scale": 1.3, "lp_sum": 20.0, "lp_sum_next": 23.0}}
VARIANCE = 0.7  # of what is reconstructed, over the loss's share of it


@functools.cache
def config_of(name: str, n_features: int = F, **changes: Any) -> Any:
    case = CASES[name]
    values = {"architecture": case.architecture, "n_features": n_features, **case.options, **changes}
    return from_dict(sae_lib.find(case.architecture), values)


def sae_of(name: str, dtype: Any = jnp.float32, parts: tuple[int, ...] = (), **changes: Any) -> Any:
    parts = parts or CASES[name].parts
    return sae_lib.build(config_of(name, **changes), sum(parts), dtype, parts)


def scale_of(name: str) -> Any:
    """No scale is 1, and no part has that of another."""
    n = len(CASES[name].parts)
    return 0.5 if n == 1 else tuple((0.5, 2.0, 0.25)[:n])


def parameters(case: Case, seed: int = 0, n: int = F) -> dict[str, np.ndarray]:
    """In general position: none is zero; rows of W_dec have unit norm where the architecture has them so."""
    rng = np.random.default_rng([seed, zlib.crc32(case.architecture.encode())])
    m, out = case.parts[0] if case.architecture == "transcoder" else sum(case.parts), case.width_out
    w_dec = rng.normal(size=(n, out))
    size = rng.uniform(0.3, 1.5, (n, 1)) if case.architecture in FREE_ROWS else 1.0
    found = {
        "W_enc": rng.uniform(-1, 1, (m, n)), "b_enc": 0.2 * rng.normal(size=n),
        "W_dec": size * w_dec / np.linalg.norm(w_dec, axis=1, keepdims=True), "b_dec": 0.2 * rng.normal(size=out),
    }  # fmt: skip
    if case.architecture == "gated":
        found |= {"b_gate": 0.2 * rng.normal(size=n), "r_mag": 0.3 * rng.normal(size=n)}
    if case.architecture == "jumprelu":
        found["log_threshold"] = np.log(rng.uniform(0.2, 0.8, n))
    if case.skip:
        found["W_skip"] = 0.3 * rng.normal(size=(m, out))
    return {key: value.astype(np.float32) for key, value in found.items()}


def rows_of(name: str, start: int = 0, n: int = 1, size: int = B) -> np.ndarray:
    """[n,size,W] raw batches start … start+n-1, of about unit size once scaled."""
    shape, rng = (size, sum(CASES[name].parts)), np.random.default_rng
    found = np.stack([rng(1000 + i).normal(0.2, 1.0, shape) for i in range(start, start + n)])
    return (found / CASES[name].columns(scale_of(name))).astype(np.float32)


def given_of(name: str, seed: int = 0, step: int = STEP) -> Given:
    config = config_of(name)
    hyper = {**config.hyper(), "input_scale": scale_of(name), "variance": VARIANCE}
    last_fired = np.where(DEAD, step - WINDOW, step - WINDOW + 1).astype(np.int32)
    stats = STATS.get(name, {})
    return Given(parameters(CASES[name], seed), rows_of(name)[0], hyper, step, last_fired, threshold=0.3, stats=stats)


def zero_rows(name: str, g: Given) -> None:
    """Two rows, and all that is added to them."""
    g.rows[[1, 5]] = 0
    for bias in {"b_enc", "b_dec", "b_gate"} & g.params.keys():
        g.params[bias][::2] = 0


def ties(name: str, g: Given) -> None:
    """Small whole numbers and halves of them, whose sums are exact; features and rows occur twice."""
    rng = np.random.default_rng(3)
    for key in ("W_enc", "b_enc", "b_dec", "b_gate", "W_skip"):
        if key in g.params:
            g.params[key] = rng.integers(-2, 3, g.params[key].shape).astype(np.float32)
    g.params["W_enc"][:, ::3], g.params["b_enc"][::3] = g.params["W_enc"][:, :1], g.params["b_enc"][0]
    if CASES[name].architecture == "jumprelu":
        g.params["log_threshold"][:] = 0
    if CASES[name].architecture == "gated":
        g.params["r_mag"][:] = 0
    g.rows = rng.integers(-2, 3, g.rows.shape).astype(np.float32)
    g.rows[4] = g.rows[2]


def all_dead(name: str, g: Given) -> None:
    g.last_fired[:] = g.step - WINDOW


def none_dead(name: str, g: Given) -> None:
    g.last_fired[:] = g.step - WINDOW + 1


def nothing_positive(name: str, g: Given) -> None:
    for bias in {"b_enc", "b_gate"} & g.params.keys():
        g.params[bias][:] = -100


def few_positive(name: str, g: Given) -> None:
    """About one activation a row is positive, fewer than are allowed."""
    case = CASES[name]
    x, _ = case.split(g.rows, g.hyper["input_scale"])
    h = x @ g.params["W_enc"]
    for bias in {"b_enc", "b_gate"} & g.params.keys():
        g.params[bias] -= np.float32(np.quantile(h, 0.95))


def dead_are_silent(name: str, g: Given) -> None:
    """Dead features have no positive activation: there is nothing to reconstruct the error with."""
    g.params["b_enc"][DEAD] = -100


SITUATIONS = {
    "as it comes": lambda name, g: None, "zero rows": zero_rows, "ties": ties, "all dead": all_dead,
    "none dead": none_dead, "nothing positive": nothing_positive, "few positive": few_positive,
    "silent dead": dead_are_silent,
}  # fmt: skip


def in_situation(name: str, situation: str) -> Given:
    given = given_of(name)
    SITUATIONS[situation](name, given)
    return given


def state_of(name: str, given: Given, sae: Any = None, seed: int = 0, moments: bool = False) -> State:
    """The state that a batch is given to; with `moments`, none of those of Adam is zero."""
    sae = sae or sae_of(name)
    tx = dictionary_optimizer(TRAIN, sae)
    names = [*sae.config.hyper(), "input_scale", *(["variance"] if sae.recipe.error.needs_variance else [])]
    hyper = {key: jnp.asarray(given.hyper[key], jnp.float32) for key in names}
    stats = sae.initial_stats()
    stats["last_fired"] = jnp.asarray(given.last_fired)
    if "threshold" in stats:
        stats["threshold"] = jnp.float32(given.threshold)
    stats |= {key: jnp.float32(value) for key, value in given.stats.items()}
    params = {key: jnp.asarray(value) for key, value in given.params.items()}
    state = State.create(params, tx, stats=stats, hyper=hyper, key=jax.random.key(seed))
    rng = np.random.default_rng(seed)
    fill = lambda x: jnp.asarray(rng.uniform(0.1, 1, x.shape), x.dtype) if x.ndim else x  # noqa: E731
    guard = jax.tree.map(jnp.copy, state.guard)
    opt_state = jax.tree.map(fill, state.opt_state) if moments else state.opt_state
    return state.replace(step=jnp.int32(given.step), opt_state=opt_state, guard=guard)


@functools.cache
def compiled(name: str, dtype: str = "float32", shape: tuple[int, int] = (1, 1), **options: Any):
    return jax.jit(
        dictionary_objective(sae_of(name, jnp.dtype(dtype)), mesh_of(*shape), n_steps=TRAIN.steps, **options)
    )


def step_of(name: str, given: Given, **how: Any):
    """(gradients, statistics, sums over the batch) of the objective."""
    state, mesh = state_of(name, given), mesh_of(*how.get("shape", (1, 1)))
    found = compiled(name, **how)(placed(state, mesh), device_put_sharded(given.rows, mesh, PartitionSpec("data")))
    return found.grads, found.stats, engine.in_batch(found)


def placed(state: State, mesh: Mesh, stacked: bool = False) -> State:
    return jax.device_put(state, tree_shardings(state, sae_lib.RULES, mesh, stacked=stacked))
