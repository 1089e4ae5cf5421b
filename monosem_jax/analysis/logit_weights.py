"""The direct effect of a feature on the next token (paper, "Feature Downstream Effects": logit weights)."""

from __future__ import annotations

from typing import Any

import numpy as np

from monosem_jax.models.transformer import TransformerConfig, parse_site
from monosem_jax.runtime.errors import BadInput


def logit_weights(params: Any, config: TransformerConfig, site: str, directions: np.ndarray) -> np.ndarray:
    """[F,V] logit weights of directions [F,M] at a site: v = d W_down π L W_unembed, median shifted to 0.

    π removes the mean over the residual stream and L is the final LayerNorm's diagonal scale; the norm it divides by is
    left out. At sites in the residual stream W_down is the identity. Attention and MLPs after it are not followed.
    Raises BadInput at the input of an MLP, from where the path is not linear.
    """
    layer, kind = parse_site(site, config.n_layers)
    if kind == "mlp_in":
        raise BadInput(f"logit weights at {site}: the MLP after it is not linear")
    d = np.asarray(directions, np.float32)
    if kind == "mlp_hidden":
        d = d @ np.asarray(params[f"blocks_{layer}"]["down"]["kernel"])
    d = d - d.mean(axis=-1, keepdims=True)
    v = (d * np.asarray(params["ln_final"]["scale"])) @ np.asarray(params["unembed"]["kernel"])
    return v - np.median(v, axis=-1, keepdims=True)
