"""How fast every architecture trains, compared with the ReLU one; they take turns in one process."""

from __future__ import annotations

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from experiments.bench.material import make_bench_rows, sparse_params
from experiments.bench.store import one_device
from experiments.bench.timing import rates, ratio
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.objective import dictionary_objective, dictionary_optimizer
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.ensemble import Ensemble
from monosem_jax.training.step import State, create_state

L0 = 32
STEPS = 2  # per dispatch
REFERENCE = "relu, dense"
SLOW = 1e-6  # a learning rate so small that L0 does not change


def rates_of(
    n_features: int, *, width: int, batch: int, turn_seconds: float, rounds: int, dtype: Any = None
) -> dict[str, Any]:
    """Rows per second of a training step of every architecture with about 32 active features per row, and the ratio to
    the ReLU step with dense products. Sparse variants use the strategy that "auto" chooses on this machine."""
    dtype = dtype or TrainConfig().dtype()
    rows = make_bench_rows(STEPS, batch, width, jnp.bfloat16)
    params = sparse_params(rows[0], n_features, float(L0))
    ways = {
        name: FamilyTimings(*of, rows, params, dtype, turn_seconds) for name, of in variants(n_features, width).items()
    }
    l0 = {name: way.l0() for name, way in ways.items()}
    found = rates(ways, rounds)
    ratios = {f"{name} / {REFERENCE}": (ratio(found, name, REFERENCE), None) for name in ways if name != REFERENCE}
    return {
        "batch": batch, "active": l0, "rows_per_second": {n: statistics.median(r) for n, r in found.items()},
        "ratios": ratios,
    }  # fmt: skip


def variants(n_features: int, width: int) -> dict[str, tuple[Any, str, bool]]:
    """name -> (config, matmul strategy, whether all features count as dead)."""
    halves = (width // 2, width - width // 2)
    few = {"n_features": n_features}
    k = {**few, "k": min(L0, n_features), "k_aux": min(512, width // 2, n_features)}
    configs: dict[str, Any] = {
        "relu": sae_lib.ReluConfig(**few),
        "april_2024": sae_lib.AprilConfig(**few),
        "topk": sae_lib.TopKConfig(**k),
        "batchtopk": sae_lib.BatchTopKConfig(**k),
        "jumprelu": sae_lib.JumpReluConfig(**few),
        "gated": sae_lib.GatedConfig(**few),
        "abs_topk": sae_lib.AbsTopKConfig(**k),
        "p_anneal": sae_lib.PAnnealConfig(**few),
        "matryoshka": sae_lib.MatryoshkaConfig(**k),
        "transcoder": sae_lib.TranscoderConfig(**k, widths=halves),
        "crosscoder": sae_lib.CrosscoderConfig(**few, widths=halves),
    }
    found = {REFERENCE: (configs["relu"], "never", False)}
    for name, config in configs.items():
        found[name] = (config, "auto", False)
    found["topk, dense"] = (configs["topk"], "never", False)
    found["topk, gathered"] = (configs["topk"], "gather", False)
    found["topk, all latents dead"] = (sae_lib.TopKConfig(**{**k, "dead_rows": 1}), "auto", True)
    return found


class FamilyTimings:
    """When called, runs dispatches for about `turn_seconds`, and returns the number of rows."""

    def __init__(
        self, config: Any, sparse: str, dead: bool, rows: jax.Array, params: dict[str, jax.Array], dtype: Any,
        turn_seconds: float,
    ):  # fmt: skip
        mesh, train = one_device(), TrainConfig(learning_rate=SLOW)
        sae = sae_lib.build(config, rows.shape[-1], dtype)
        tx = dictionary_optimizer(train, sae)

        def initial() -> State:
            start = sae.initial(jax.random.key(0))
            start |= {name: _fitting(params[name], p) for name, p in start.items() if name in params}
            if "b_gate" in start:
                start["b_gate"] = params["b_enc"]
            hyper = {name: jnp.float32(value) for name, value in config.hyper().items()}
            scale = jnp.ones(len(sae.parts)) if len(sae.parts) > 1 else jnp.float32(1)
            hyper |= {"input_scale": scale} | ({"variance": jnp.float32(1)} if sae.recipe.error.needs_variance else {})
            return State.create(start, tx, stats=sae.initial_stats(), hyper=hyper, key=jax.random.key(0))

        state = create_state(initial, sae_lib.RULES, mesh)
        if dead:
            state = state.replace(step=state.step + 1)
        objective = dictionary_objective(sae, mesh, sparse=sparse)
        self._dispatch = Ensemble(state, objective, tx, [], sae_lib.RULES, mesh, 0).compile(train)
        self._state, self._rows, self._seconds, self._dead = state, rows, turn_seconds, dead

    def __call__(self) -> float:
        end, units = time.perf_counter() + self._seconds, 0
        while not units or time.perf_counter() < end:
            if self._dead:  # no feature has ever fired
                stats = {**self._state.stats, "last_fired": jnp.full_like(self._state.stats["last_fired"], -STEPS)}
                self._state = self._state.replace(stats=stats)
            self._state, self._result = self._dispatch(self._state, self._rows)
            jax.block_until_ready(self._state)
            units += self._rows.shape[0] * self._rows.shape[1]
        return units

    def l0(self) -> float:
        """Active features per row."""
        self()
        return float(self._result.metrics["l0"].number())


def _fitting(given: jax.Array, wanted: jax.Array) -> jax.Array:
    """A matrix for whole rows, cut to the shape of one that reads or makes a part of each row."""
    return given[tuple(slice(n) for n in wanted.shape)]
