"""The direct effect of a feature on the next token (paper, "Feature Downstream Effects": logit weights)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from monosem_jax.models.base import LanguageModel


def logit_weights(
    model: LanguageModel, params: Mapping[str, Any], site: str, directions: Float[np.ndarray, "F M"]
) -> Float[np.ndarray, "F V"]:
    """[F,V] logit weights of directions [F,M] at a site: the model's `direct_effect`, with the median over the
    vocabulary shifted to 0.

    Raises BadInput at the input of an MLP, from where the path is not linear.
    """
    v = model.direct_effect(params, site, directions)
    return v - np.median(v, axis=-1, keepdims=True)
