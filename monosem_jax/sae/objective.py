"""The two things that are trained: what the loop is given for each."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec

from monosem_jax.runtime.mesh import Axes
from monosem_jax.sae.architectures.relu import Relu
from monosem_jax.sae.constraints import project_out_parallel, renormalise
from monosem_jax.sae.params import RULES
from monosem_jax.sae.step_context import StepContext
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.metrics import Last, Mean, Metrics
from monosem_jax.training.optimizer import optimizer
from monosem_jax.training.step import BatchResult, Objective, State


def dictionary_objective(
    sae: Any, mesh: Mesh, *, l1_warmup: int = 0, micro_batches: int = 1, sparse: str = "auto"
) -> Objective:
    """The loss of a dictionary on raw rows [B,M]; `state.hyper` holds its coefficients, `input_scale` and `variance`.

    The program of one device is written out, so what crosses between devices is just what it says: sums over `model`
    of the partial reconstructions, a vector [M] and a few scalars; sums over `data` of the gradients and of how often
    features fired. `l1_warmup`: steps over which the coefficient of sparsity rises. `micro_batches`: into how many
    parts a device's rows are cut, so that less of [B,F] is in memory at a time.
    """
    axes, everywhere = Axes.of(mesh), PartitionSpec()
    use_bits = mesh.devices.flat[0].platform == "cpu"
    use_sparse = use_bits and sparse == "auto" and sae.dtype == jnp.float32
    own = sae.clone(n_features=sae.n_features // axes.model)

    def local(params, x, hyper, stats, step):
        here = StepContext(
            axes, hyper, stats, step, len(x) * axes.data, sae.n_features, use_sparse, use_bits, sparse == "gather"
        )

        def part(rows):
            return own.gradients(params, rows.astype(jnp.float32) * per_column(sae, hyper["input_scale"]), here)

        parts = x.reshape(micro_batches, -1, x.shape[-1])
        *sums, notes = part(parts[0])
        if micro_batches > 1:
            add = lambda total, rows: (jax.tree.map(jnp.add, total, part(rows)[:2]), None)  # noqa: E731
            sums, _ = jax.lax.scan(add, tuple(sums), parts[1:])
        grads, terms = axes.sum(tuple(sums), "data")
        found = {name: terms[name] for name in sae.LOCAL_TERMS} | {"l0": jnp.sum(terms["fired"])}
        terms |= axes.sum(found, "model")
        terms["loss"] = sae.total(terms, hyper)
        stats = own.new_stats(here, terms.pop("fired") > 0, notes)
        return grads, stats, terms

    def objective(state: State, rows: jax.Array) -> BatchResult:
        param_specs = {name: RULES[name] for name in state.params}
        stat_specs = {name: RULES["last_fired"] if v.ndim else everywhere for name, v in state.stats.items()}
        step = jax.shard_map(
            local, mesh=mesh, in_specs=(param_specs, PartitionSpec("data"), everywhere, stat_specs, everywhere),
            out_specs=(param_specs, stat_specs, everywhere), check_vma=False,  # nothing is differentiated through it
        )  # fmt: skip
        hyper = dict(state.hyper)
        coefficient = sae.config.COEFFICIENT if sae.config else "l1_coefficient"
        if l1_warmup:
            hyper[coefficient] = hyper[coefficient] * jnp.minimum((state.step + 1) / l1_warmup, 1)
        grads, stats, terms = step(state.params, rows, hyper, state.stats, state.step)
        count = jnp.float32(rows.shape[0])
        loss = Mean(terms.pop("loss"), count)
        metrics: Metrics = {name: Mean(total, count) for name, total in terms.items()}
        if coefficient in hyper and not (sae.config and sae.config.sparsity_key == "k"):  # k needs no penalty
            metrics[coefficient] = Last.of(hyper[coefficient])
        return BatchResult(jax.tree.map(lambda g: g / rows.shape[0], grads), stats, loss, metrics)

    return objective


def dictionary_optimizer(train: TrainConfig, sae: Any = Relu) -> optax.GradientTransformationExtraArgs:
    """Adam, with the constraint of unit dictionary vectors where the architecture has it."""
    links = {"before": [project_out_parallel()], "after": [renormalise()]} if sae.UNIT_NORM else {}
    return optimizer(train, **links)


def row_losses(sae: Any, state: State, rows: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss [B] of every raw row under the state as it is, and its terms."""
    hyper = {name: value for name, value in state.hyper.items() if name.endswith("coefficient")}
    return sae.apply(
        {"params": sae.publish(state.params, state.stats)}, scaled(sae, state, rows), **hyper, method=sae.row_losses
    )


def scaled(sae: Any, state: State, rows: jax.Array) -> jax.Array:
    """Rows as the dictionary sees them: fp32, times the input scale."""
    return rows.astype(jnp.float32) * per_column(sae, state.hyper["input_scale"])


def per_column(sae: Any, scale: jax.Array) -> jax.Array:
    """The input scale, or those of the parts that rows consist of, as what rows are multiplied by."""
    if not scale.ndim:
        return scale
    return jnp.repeat(scale, np.asarray(sae.parts), total_repeat_length=sum(sae.parts))
