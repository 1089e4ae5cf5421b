"""Data for timing training: rows that resemble a transformer's activations, and dictionaries as sparse on them as
trained ones."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from monosem_jax.sae.params import unit_rows

CAUSES, PER_ROW, TOPIC = 4096, 16, 64
ROUGHNESS = 0.3  # noise in the feature directions that are made from causes when there are more features than causes
PROBES = 512
HALVINGS = 14


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def make_bench_rows(n: int, batch: int, width: int, dtype: Any, seed: int = 0) -> Float[Array, "n B M"]:
    """Rows that resemble ReLU outputs: sums of a few directions, half from one topic and half from all; early
    directions occur more often than late ones. Non-negative, about half of the elements zero, root mean square 1."""
    directions = causes(width)

    def make(key):
        for_topic, for_near, for_far, for_size = jax.random.split(key, 4)
        topic = jax.random.randint(for_topic, (batch, 1), 0, CAUSES // TOPIC) * TOPIC
        near = topic + jax.random.randint(for_near, (batch, PER_ROW // 2), 0, TOPIC)
        far = jnp.square(jax.random.uniform(for_far, (batch, PER_ROW // 2))) * CAUSES
        picked = jnp.concatenate([near, far.astype(jnp.int32)], axis=1)
        size = jax.random.exponential(for_size, picked.shape)
        rows = jax.nn.relu(jnp.einsum("bk,bkm->bm", size, directions[picked]))
        return rows.astype(dtype)

    rows = jax.lax.map(make, jax.random.split(jax.random.key(seed), n))
    return (rows / jnp.sqrt(jnp.mean(jnp.square(rows.astype(jnp.float32))))).astype(dtype)


def causes(width: int) -> Float[Array, "causes M"]:
    """The directions whose sums are the rows."""
    return unit_rows(jax.random.normal(jax.random.key(7), (CAUSES, width)))


@functools.partial(jax.jit, static_argnums=(1,))
def sparse_params(rows: Float[Array, "B M"], n_features: int, l0: float) -> dict[str, Array]:
    """A dictionary with about `l0` active features on such rows, some much more often than others. Its vectors are the
    causes' directions; each bias lies some standard deviations from the mean of the feature's pre-activation."""
    rows = rows[:PROBES].astype(jnp.float32)
    which = jnp.arange(n_features) % CAUSES
    noise = ROUGHNESS * jax.random.normal(jax.random.key(8), (n_features, rows.shape[1])) / jnp.sqrt(rows.shape[1])
    w_dec = unit_rows(causes(rows.shape[1])[which] + jnp.where(jnp.arange(n_features) < CAUSES, 0, 1)[:, None] * noise)
    seen = rows @ w_dec.T
    mean, deviation = jnp.mean(seen, axis=0), jnp.std(seen, axis=0)
    own = jnp.exp(0.3 * jax.random.normal(jax.random.key(9), (n_features,)))

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        more = jnp.mean(jnp.sum(seen > mean + middle * own * deviation, axis=1)) > l0
        return jnp.where(more, middle, low), jnp.where(more, high, middle)

    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (jnp.float32(0), jnp.float32(12)))
    bias = -(mean + (low + high) / 2 * own * deviation)
    return {"W_enc": w_dec.T, "b_enc": bias, "W_dec": w_dec, "b_dec": jnp.zeros(rows.shape[1])}
