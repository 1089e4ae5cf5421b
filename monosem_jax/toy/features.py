"""The sparse features of a toy model: which are active together, and their values.

Each feature is 0, or uniform between 0 and 1. `p` is the share of rows in which it is active, 1 − S of the paper.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

OCCURRENCES = ("independent", "together", "apart", "parent")


def occur(
    occurrence: str, u: Float[Array, "B n"], p: Float[Array, "*I n"], group_size: int = 2
) -> Float[Array, "*I B n"]:
    """Feature values from numbers `u`, uniform between 0 and 1. Consecutive features form groups of `group_size`.

    Args:
      occurrence: "independent"; "together": all features of a group are active, or none; "apart": at most one of a
        group is; "parent": the others of a group are only active where its first one is. In every case feature i is
        active in a share p_i of the rows; the others of a group are as dense as its first one where that must be.
    """
    p = p[..., None, :]
    if occurrence == "independent":
        return jnp.where(u < p, u / p, 0)
    size = group_size
    first = jnp.repeat(u[:, ::size], size, axis=-1)
    p_first = jnp.repeat(p[..., ::size], size, axis=-1)
    place = jnp.arange(u.shape[-1]) % size
    if occurrence == "apart":  # slices of the interval from 0 to 1, side by side
        value = first / p_first - place
        return jnp.where((value >= 0) & (value < 1), value, 0)
    if occurrence == "together":
        return jnp.where(first < p_first, jnp.where(place == 0, u / p, u), 0)
    share = p / p_first  # of the rows of its first feature in which a feature is active
    own = jnp.where(u < share, u / share, 0)
    return jnp.where(place == 0, jnp.where(u < p, u / p, 0), jnp.where(first < p_first, own, 0))
