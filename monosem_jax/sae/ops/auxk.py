"""AuxK (Gao et al., 2024): dead latents are trained to reconstruct what the living ones leave over.

    e = x - x̂ (taken as given)        AuxK = Σ ‖e - ê‖² / Σ ‖e - mean e‖²        ê = z_aux W_dec

with z_aux the k_aux largest activations among dead latents. Its gradient reaches encoder and decoder of dead latents
alone. A latent is dead if it was not active in as many rows.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from monosem_jax.sae.ops import top_k as select
from monosem_jax.sae.ops.gathered_matmul import TopKIndices
from monosem_jax.sae.ops.matmul import product
from monosem_jax.sae.step_context import StepContext


def reconstruct(
    z: Float[Array, "b F"], w_dec: Float[Array, "F M"], config: Any, here: StepContext, dtype: Any
) -> dict[str, Array]:
    """{"aux": the part of ê [b,M] that a device's features make, "n_dead": how many of them are dead}."""
    if not config.aux_coefficient:
        return {}
    dead, n_dead = dead_latents(config, here), count_dead(config, here)

    def some(z, w_dec):
        k = min(config.k_aux, here.n_features)
        f = jnp.where(select.row_mask(jnp.where(dead, z, 0), k, here.axes), z, 0)
        return product(dtype, f, w_dec)

    def none(z, w_dec):
        return jnp.zeros((len(z), w_dec.shape[1]))

    # On every device of `model`, or on none: candidates travel between them.
    aux = jax.lax.cond(here.axes.sum(n_dead, "model") > 0, some, none, z, w_dec)
    return {"aux": aux, "n_dead": jax.lax.stop_gradient(n_dead)}


def dead_latents(config: Any, here: StepContext) -> Bool[Array, " F"]:
    """Which of a device's latents are dead."""
    # In steps: the number of rows is no int32.
    return here.step - here.stats["last_fired"] >= -(-config.dead_rows // here.n_rows)


def count_dead(config: Any, here: StepContext) -> Float[Array, ""]:
    """How many of them are."""
    return jnp.sum(dead_latents(config, here), dtype=jnp.float32)


def candidates(z: Float[Array, "b F"], config: Any, here: StepContext) -> dict[str, TopKIndices]:
    """{"aux": the dead latents of each row that are to reconstruct the error}."""
    if not config.aux_coefficient:
        return {}
    dead, k = dead_latents(config, here), min(config.k_aux, here.n_features)

    def some(z):
        return TopKIndices(*select.row_index(jnp.where(dead, z, 0), k, here.axes))

    def none(z):
        size = (len(z), min(k, z.shape[1]))
        return TopKIndices(jnp.zeros(size, jnp.int32), jnp.zeros(size, bool))

    return {"aux": jax.lax.cond(here.axes.sum(count_dead(config, here), "model") > 0, some, none, z)}


def loss(
    sums: dict[str, Array], error: Float[Array, "b M"], config: Any, here: StepContext
) -> tuple[Any, dict[str, Array]]:
    """(the term of the loss with its coefficient, {"aux": it without}), both times the number of rows, as sums over
    rows are; `error` is x̂ - x."""
    if not config.aux_coefficient:
        return 0.0, {}
    e = -jax.lax.stop_gradient(error)
    total = lambda v: here.axes.sum(v, "data")  # noqa: E731
    mean = total(jnp.sum(e, axis=0)) / here.n_rows
    spread = total(jnp.sum(jnp.square(e - mean)))
    some = (sums["n_dead"] > 0) & (spread > 0)
    found = jnp.sum(jnp.square(e - sums["aux"])) * jnp.where(some, here.n_rows / jnp.where(some, spread, 1), 0)
    return config.aux_coefficient * found, {"aux": jax.lax.stop_gradient(found)}
