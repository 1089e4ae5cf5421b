"""Unit-norm dictionary vectors as links of an Optax chain."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax

from monosem_jax.sae.params import unit_rows

DICTIONARY = "W_dec"


def project_out_parallel() -> optax.GradientTransformation:
    """Removes from the gradient of every dictionary vector its component along the vector, before Adam sees it.

    Paper, appendix "Sparse Autoencoder Details": g ← g - (g · d) d for unit d.
    """

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        d, g = params[DICTIONARY], updates[DICTIONARY]
        along = jnp.sum(g * d, axis=-1, keepdims=True)
        return {**updates, DICTIONARY: g - along * d}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def renormalise() -> optax.GradientTransformation:
    """Changes the update so that every dictionary vector has unit norm after it; must be the last link of the chain."""

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        d = params[DICTIONARY]
        return {**updates, DICTIONARY: unit_rows(d + updates[DICTIONARY]) - d}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
