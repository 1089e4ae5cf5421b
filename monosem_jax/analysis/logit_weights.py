"""The direct effect of a feature on the next token (paper, "Feature Downstream Effects": logit weights)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import finite_numbers


@pinned()
def logit_weights(tapped: TappedModel, site: str, directions: Float[np.ndarray, "F M"]) -> Float[np.ndarray, "F V"]:
    """[F,V] logit weights of directions [F,M] at a site: the model's `direct_effect`, shifted so that the median over
    the vocabulary is 0.

    Raises BadInput at the input of an MLP, whose nonlinearity the direct path would have to cross, and on directions
    of another width.
    """
    directions = np.asarray(finite_numbers("logit_weights", directions, "F", tapped.model.width(site)))
    v = tapped.model.direct_effect(tapped.params, site, directions)
    return v - np.median(v, axis=-1, keepdims=True)
