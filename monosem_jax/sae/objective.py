"""The objective and the optimizer that the training loop uses for a dictionary."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec

from monosem_jax.runtime.mesh import Axes
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.constraints import project_out_parallel, renormalise
from monosem_jax.sae.gradients import gradients
from monosem_jax.sae.ops.strategy import resolve
from monosem_jax.sae.params import RULES
from monosem_jax.sae.step_context import StepContext
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.metrics import Last, Mean, Metrics
from monosem_jax.training.optimizer import optimizer
from monosem_jax.training.step import BatchResult, Objective, State


def dictionary_objective(
    sae: SparseAutoencoder,
    mesh: Mesh,
    *,
    l1_warmup: int = 0,
    micro_batches: int = 1,
    sparse: str = "auto",
    n_steps: int = 0,
) -> Objective:
    """The loss of a dictionary on raw rows [B,M]; `state.hyper` holds its coefficients, `input_scale` and `variance`.

    The code is the program of one device, with explicit collectives: sums over `model` of the partial reconstructions,
    a vector [M] and a few scalars; sums over `data` of the gradients and of how often each feature fired.

    `l1_warmup`: steps over which the sparsity coefficient rises. `micro_batches`: the number of parts into which a
    device's rows are split, so that less of [B,F] is in memory at a time. `n_steps`: the steps of the whole training,
    for penalties that change during it.
    """
    axes, everywhere = Axes.of(mesh), PartitionSpec()
    strategy, recipe = resolve(mesh.devices.flat[0].platform, sae.dtype, sparse), sae.recipe
    compute = recipe.gradients or gradients

    def local(params, x, hyper, stats, step):
        ctx = StepContext(axes, hyper, stats, step, len(x) * axes.data, sae.n_features, strategy, n_steps)

        def part(rows):
            rows = rows.astype(jnp.float32) * per_column(sae, hyper["input_scale"])
            return compute(recipe, params, rows, ctx)

        parts = x.reshape(micro_batches, -1, x.shape[-1])
        *sums, aux = part(parts[0])
        if micro_batches > 1:

            def add(total, rows):
                return jax.tree.map(jnp.add, total, part(rows)[:2]), None

            sums, _ = jax.lax.scan(add, tuple(sums), parts[1:])
        grads, terms = axes.sum(tuple(sums), "data")
        fired = terms.pop("fired")
        terms["l0"] = axes.sum(jnp.sum(fired), "model")
        stats = sae.update_stats(ctx, fired > 0, terms, aux)
        return grads, stats, terms

    def objective(state: State, rows: jax.Array) -> BatchResult:
        param_specs = {name: RULES[name] for name in state.params}
        stat_specs = {name: RULES["last_fired"] if v.ndim else everywhere for name, v in state.stats.items()}
        step = jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(param_specs, PartitionSpec("data"), everywhere, stat_specs, everywhere),
            out_specs=(param_specs, stat_specs, everywhere),
            check_vma=False,  # nothing is differentiated through it
        )
        hyper = dict(state.hyper)
        coefficient = recipe.coefficient
        if l1_warmup and coefficient:
            hyper[coefficient] = hyper[coefficient] * jnp.minimum((state.step + 1) / l1_warmup, 1)
        grads, stats, terms = step(state.params, rows, hyper, state.stats, state.step)
        count = jnp.float32(rows.shape[0])
        loss = Mean(terms.pop("loss"), count)
        metrics: Metrics = {name: Mean(total, count) for name, total in terms.items()}
        if coefficient:
            metrics[coefficient] = Last.of(hyper[coefficient])
        return BatchResult(jax.tree.map(lambda g: g / rows.shape[0], grads), stats, loss, metrics)

    return objective


def dictionary_optimizer(
    train: TrainConfig, sae: SparseAutoencoder | None = None
) -> optax.GradientTransformationExtraArgs:
    """Adam, with the unit-norm constraint on dictionary vectors if the architecture has it (`sae` None: it has)."""
    if sae is None or sae.recipe.unit_norm:
        return optimizer(train, before=[project_out_parallel()], after=[renormalise()])
    return optimizer(train)


def row_losses(sae: SparseAutoencoder, state: State, rows: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """(the loss [B] of every raw row under the current state, its terms)."""
    params = sae.to_inference(state.params, state.stats)
    found: Any = sae.apply({"params": params}, scaled(sae, state, rows), state.hyper, method=sae.row_losses)
    return found


def scaled(sae: SparseAutoencoder, state: State, rows: jax.Array) -> jax.Array:
    """Rows in fp32, times the input scale: the input of the dictionary."""
    return rows.astype(jnp.float32) * per_column(sae, state.hyper["input_scale"])


def per_column(sae: SparseAutoencoder, scale: jax.Array) -> jax.Array:
    """The factor for rows: the input scale, or, if each part of a row has its own, these repeated per column [W]."""
    if not scale.ndim:
        return scale
    return jnp.repeat(scale, np.asarray(sae.parts), total_repeat_length=sum(sae.parts))
