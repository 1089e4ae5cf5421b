"""Which features are active where this depends on the other features, on a mesh that divides them.

Little crosses devices: for each row a device's own k candidates, for a batch a few counts.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from monosem_jax.runtime.mesh import Axes

GROUP = 128  # features whose largest is looked at first
GROUPED = 8192  # features from which on that pays
USUAL_STEPS, MOST_STEPS = 24, 120


def top_k(z: Float[Array, "b F"], k: int) -> tuple[Float[Array, "b k"], Array]:
    """The k largest numbers of each row and their positions, largest first; of equal numbers the first comes first.

    Of many features, groups are ranked by their largest number: the k largest lie in the first k groups.
    """
    b, n = z.shape
    groups = n // GROUP
    if n < GROUPED or n % GROUP or k >= groups:
        return jax.lax.top_k(z, k)
    grouped = z.reshape(b, groups, GROUP)
    _, best = jax.lax.top_k(jnp.max(grouped, axis=-1), k)
    best = jnp.sort(best, axis=-1)  # so that of equal numbers the first is taken
    candidates = jnp.take_along_axis(grouped, best[..., None], axis=1).reshape(b, -1)
    values, at = jax.lax.top_k(candidates, k)
    return values, jnp.take_along_axis(best, at // GROUP, axis=1) * GROUP + at % GROUP


def row_index(z: Float[Array, "b F"], k: int, axes: Axes) -> tuple[Int[Array, "b k"], Bool[Array, "b k"]]:
    """(which features are a device's candidates for each row, which of them are among the k largest of all devices of
    `model` together, and positive).

    Every device gives its own k candidates to the others; of equal numbers the first features are taken.
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
        chosen = jnp.where((chosen >= 0) & (chosen < mine), chosen, mine)  # what is another device's is dropped
        kept = jnp.zeros(values.shape, bool).at[rows, chosen].set(True, mode="drop")
    return at, kept & (values > 0)


def row_mask(z: Float[Array, "b F"], k: int, axes: Axes) -> Bool[Array, "b F"]:
    """Where the k largest of each row's positive numbers are, on all devices of `model` together."""
    at, kept = row_index(z, k, axes)
    return jnp.zeros(z.shape, bool).at[jnp.arange(len(z))[:, None], at].set(kept)


def per_row(z: Float[Array, "*b F"], k: int) -> Float[Array, "*b F"]:
    """The k numbers of each row that are largest by magnitude where they are, and 0 elsewhere; on one device."""
    flat = z.reshape(-1, z.shape[-1])
    return jnp.where(row_mask(jnp.abs(flat), k, Axes(1, 1)), flat, 0).reshape(z.shape)


def batch_mask(z: Float[Array, "b F"], n: int, axes: Axes) -> Bool[Array, "b F"]:
    """Where the n largest of all positive numbers are, on all devices together; numbers equal to the n-th all count.

    Finds a number that n of them reach, by counting for each guess. A guess interpolates between the last ones, on the
    assumption that the logarithm of the count is linear; every third halves the interval, and after the usual
    number of steps how many numbers of fp32 are in it: 31 such steps leave one, however far apart activations are.
    """
    z = jax.lax.stop_gradient(z)

    def count(where):
        # Of more there are enough on every device; the sum over devices must remain an int32.
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

    # `low` is reached by n or more, `high` by fewer, unless all that are positive are too few.
    above_top = jnp.nextafter(top, jnp.float32(jnp.inf))
    start = (jnp.int32(0), jnp.float32(0), positive, above_top, jnp.int32(0), top / 2)
    _, low, _, _, _, _ = jax.lax.while_loop(unfinished, body, start)
    return (z >= low) & (z > 0)


def _middle(low: Array, high: Array) -> Array:
    """The number that as many numbers of fp32 are below as are above, between two that are not negative."""
    bits = lambda x: jax.lax.bitcast_convert_type(x, jnp.int32)  # noqa: E731
    return jax.lax.bitcast_convert_type(bits(low) + (bits(high) - bits(low)) // 2, jnp.float32)


def least(z: Float[Array, "b F"], mask: Bool[Array, "b F"], axes: Axes) -> Float[Array, ""]:
    """The smallest number of the mask on all devices; infinite where it is empty."""
    return -axes.max_of_all(-jnp.min(jnp.where(mask, jax.lax.stop_gradient(z), jnp.inf)))
