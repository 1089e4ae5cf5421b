"""Selection of the largest activations, over features that a mesh shards.

Devices exchange little: for a selection per row, k candidates each; for a selection per batch, a few counts.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from monosem_jax.runtime.mesh import Axes

GROUP = 128  # features in a group; groups are ranked by their largest number
GROUPED = 8192  # the number of features from which grouping is faster
USUAL_STEPS, MOST_STEPS = 24, 120


def top_k(z: Float[Array, "b F"], k: int) -> tuple[Float[Array, "b k"], Array]:
    """The k largest numbers of each row and their positions, largest first; ties are in order of position.

    If there are many features, groups are ranked by their largest number: the k largest lie in the first k groups.
    """
    b, n = z.shape
    groups = n // GROUP
    if n < GROUPED or n % GROUP or k >= groups:
        return jax.lax.top_k(z, k)
    grouped = z.reshape(b, groups, GROUP)
    _, best = jax.lax.top_k(jnp.max(grouped, axis=-1), k)
    best = jnp.sort(best, axis=-1)  # so that ties go to the first position
    candidates = jnp.take_along_axis(grouped, best[..., None], axis=1).reshape(b, -1)
    values, at = jax.lax.top_k(candidates, k)
    return values, jnp.take_along_axis(best, at // GROUP, axis=1) * GROUP + at % GROUP


def row_index(z: Float[Array, "b F"], k: int, axes: Axes) -> tuple[Int[Array, "b k"], Bool[Array, "b k"]]:
    """(the indices of this device's candidates for each row, whether each is positive and among the k largest over all
    devices of `model`).

    Every device sends its own k candidates to the others; ties go to the first features.
    """
    z = jax.lax.stop_gradient(z)
    values, at = top_k(z, min(k, z.shape[1]))
    rows = jnp.arange(len(z))[:, None]
    kept = jnp.ones(values.shape, bool)
    if axes.model > 1:
        mine = values.shape[1]
        everyone = jax.lax.all_gather(values, "model", axis=1, tiled=True)
        _, chosen = jax.lax.top_k(everyone, min(k, everyone.shape[1]))
        chosen = chosen - jax.lax.axis_index("model") * mine
        chosen = jnp.where((chosen >= 0) & (chosen < mine), chosen, mine)  # candidates of other devices are dropped
        kept = jnp.zeros(values.shape, bool).at[rows, chosen].set(True, mode="drop")
    return at, kept & (values > 0)


def row_mask(z: Float[Array, "b F"], k: int, axes: Axes) -> Bool[Array, "b F"]:
    """True at the k largest positive numbers of each row, over all devices of `model`."""
    at, kept = row_index(z, k, axes)
    return jnp.zeros(z.shape, bool).at[jnp.arange(len(z))[:, None], at].set(kept)


def per_row(z: Float[Array, "*b F"], k: int) -> Float[Array, "*b F"]:
    """z with all but the k numbers of largest magnitude in each row set to 0; on one device."""
    flat = z.reshape(-1, z.shape[-1])
    return jnp.where(row_mask(jnp.abs(flat), k, Axes(1, 1)), flat, 0).reshape(z.shape)


def batch_mask(z: Float[Array, "b F"], n: int, axes: Axes) -> Bool[Array, "b F"]:
    """True at the n largest positive numbers over all devices; all numbers equal to the n-th are included.

    Searches for a threshold that n numbers reach, by counting them for each guess. A guess interpolates between the
    bounds, assuming that the logarithm of the count is linear. Every third guess halves the interval; after
    `USUAL_STEPS` it halves the count of fp32 numbers in it, and 31 such steps leave one for any range of activations.
    """
    z = jax.lax.stop_gradient(z)

    def count(where):
        # Larger counts are enough on any device, so they are capped: the sum over devices must fit in int32.
        here = jnp.minimum(jnp.sum(where, dtype=jnp.int32), (2**31 - 1) // (axes.data * axes.model))
        return axes.sum(axes.sum(here, "model"), "data")

    def reaching(t):
        return count(z >= t)

    positive = count(z > 0)
    top = axes.max_of_all(jnp.max(z))

    def unfinished(state):
        i, low, n_low, high, _, _ = state
        return (i < MOST_STEPS) & (n_low > n) & (jnp.nextafter(low, high) < high)

    def body(state):
        i, low, n_low, high, n_high, guess = state
        found = reaching(guess)
        enough = found >= n
        low, n_low = jnp.where(enough, guess, low), jnp.where(enough, found, n_low)
        high, n_high = jnp.where(enough, high, guess), jnp.where(enough, n_high, found)
        above = lambda count: jnp.log(count + 0.5)  # noqa: E731
        share = (above(n_low) - jnp.log(jnp.float32(n))) / jnp.maximum(above(n_low) - above(n_high), 1e-6)
        share = jnp.where(i % 3 == 2, 0.5, jnp.clip(share, 0.01, 0.99))
        guess = jnp.where((i % 3 == 2) & (i > USUAL_STEPS), _middle(low, high), low + (high - low) * share)
        guess = jnp.clip(guess, jnp.nextafter(low, high), high)
        return i + 1, low, n_low, high, n_high, guess

    # At least n numbers reach `low` and fewer reach `high`, unless fewer than n numbers are positive.
    above_top = jnp.nextafter(top, jnp.float32(jnp.inf))
    start = (jnp.int32(0), jnp.float32(0), positive, above_top, jnp.int32(0), top / 2)
    _, low, _, _, _, _ = jax.lax.while_loop(unfinished, body, start)
    return (z >= low) & (z > 0)


def _middle(low: Array, high: Array) -> Array:
    """The median of the fp32 numbers between two nonnegative numbers."""
    bits = lambda x: jax.lax.bitcast_convert_type(x, jnp.int32)  # noqa: E731
    return jax.lax.bitcast_convert_type(bits(low) + (bits(high) - bits(low)) // 2, jnp.float32)


def least(z: Float[Array, "b F"], mask: Bool[Array, "b F"], axes: Axes) -> Float[Array, ""]:
    """The smallest z in the mask over all devices; infinite if the mask is empty."""
    return -axes.max_of_all(-jnp.min(jnp.where(mask, jax.lax.stop_gradient(z), jnp.inf)))
