"""The two things that are trained: what the loop is given for each."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from monosem_jax.sae import find
from monosem_jax.sharding import Axes
from monosem_jax.train import Objective, State
from monosem_jax.transformer.model import Transformer, token_losses


def language_objective(model: Transformer) -> Objective:
    """Mean next-token loss in nats over a batch of contexts [C,T]."""

    def objective(state: State, tokens):
        def loss(params):
            losses = token_losses(model.apply({"params": params}, tokens), tokens)
            return jnp.mean(losses), {"loss": jnp.sum(losses), "count": jnp.float32(losses.size)}

        grads, metrics = jax.grad(loss, has_aux=True)(state.params)
        return grads, state.stats, metrics

    return objective


def initial_stats(n_features: int) -> dict[str, jax.Array]:
    """`last_fired` [F]: the number of steps done when the feature last fired; 0 before it ever did."""
    return {"last_fired": jnp.zeros((n_features,), jnp.int32)}


def dictionary_objective(
    sae: Any,
    mesh: Mesh,
    *,
    architecture: str = "relu",
    l1_warmup: int = 0,
    micro_batches: int = 1,
    sparse: str = "auto",
) -> Objective:
    """The loss of a dictionary on raw rows [B,M]; `state.hyper` holds `l1_coefficient` and `input_scale`.

    The program of one device is written out, so what crosses between devices is just what it says: sums over `model`
    of the partial reconstructions, a vector [M] and two scalars; sums over `data` of the gradients and of how often
    features fired. `l1_warmup`: steps over which the coefficient rises. `micro_batches`: into how many parts a device's
    rows are cut, so that less of [B,F] is in memory at a time.
    """
    module, axes = find(architecture)[0], Axes.of(mesh)
    use_bits = mesh.devices.flat[0].platform == "cpu"
    use_sparse = use_bits and sparse == "auto" and sae.dtype == jnp.float32
    options = {"dtype": sae.dtype, "axes": axes, "use_bits": use_bits, "use_sparse": use_sparse}

    def local(params, x, scale, l1_coefficient):
        def part(rows):
            return module.gradients(params, rows.astype(jnp.float32) * scale, l1_coefficient, **options)

        parts = x.reshape(micro_batches, -1, x.shape[-1])
        grads, terms = part(parts[0])
        if micro_batches > 1:
            add = lambda total, rows: (jax.tree.map(jnp.add, total, part(rows)), None)  # noqa: E731
            (grads, terms), _ = jax.lax.scan(add, (grads, terms), parts[1:])
        grads, terms = axes.sum((grads, terms), "data")
        l0 = jnp.sum(terms["fired"])
        terms["l1"], terms["l0"] = axes.sum((terms["l1"], l0), "model")
        return grads, terms

    rules, everywhere = module.RULES, PartitionSpec()
    param_specs = {name: rules[name] for name in module.FEATURE_AXIS} | {"b_dec": rules["b_dec"]}
    term_specs = {"mse": everywhere, "l1": everywhere, "l0": everywhere, "fired": rules["last_fired"]}
    sums = jax.shard_map(
        local, mesh=mesh, in_specs=(param_specs, PartitionSpec("data"), everywhere, everywhere),
        out_specs=(param_specs, term_specs), check_vma=False,  # nothing is differentiated in it
    )  # fmt: skip

    def objective(state: State, rows):
        l1_coefficient = state.hyper["l1_coefficient"]
        if l1_warmup:
            l1_coefficient = l1_coefficient * jnp.minimum((state.step + 1) / l1_warmup, 1)
        grads, terms = sums(state.params, rows, state.hyper["input_scale"], l1_coefficient)
        fired = terms.pop("fired") > 0
        stats = {"last_fired": jnp.where(fired, state.step + 1, state.stats["last_fired"])}
        loss = terms["mse"] + l1_coefficient * terms["l1"]
        metrics = {"loss": loss, **terms, "count": jnp.float32(rows.shape[0])}
        return jax.tree.map(lambda g: g / rows.shape[0], grads), stats, metrics

    return objective


def row_losses(sae: Any, state: State, rows: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss [B] of every raw row under the state as it is, and its terms."""
    return sae.apply(
        {"params": state.params}, scaled(state, rows), l1_coefficient=state.hyper["l1_coefficient"],
        method=sae.row_losses,
    )  # fmt: skip


def scaled(state: State, rows: jax.Array) -> jax.Array:
    """Rows as the dictionary sees them: fp32, times the input scale."""
    return rows.astype(jnp.float32) * state.hyper["input_scale"]
