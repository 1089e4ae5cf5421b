"""The direct effect of a feature on the next token (paper, "Feature Downstream Effects": logit weights)."""

from __future__ import annotations

import numpy as np

from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.transformer import parse_site
from monosem_jax.runtime.errors import BadInput


def logit_weights(tapped: TappedModel, site: str, directions: np.ndarray) -> np.ndarray:
    """[F,V] logit weights of directions [F,M] at a site: v = d W_down π L W_unembed, shifted so that its median is 0.

    π removes the mean over the residual stream and L is the diagonal scale of the final LayerNorm; the division by the
    norm is left out. At sites in the residual stream W_down is the identity. Effects through later attention and MLPs
    are not followed. Raises BadInput at the input of an MLP, whose nonlinearity the direct path would have to cross.
    """
    layer, kind = parse_site(site, tapped.model.config.n_layers)
    if kind == "mlp_in":
        raise BadInput(f"logit weights at {site}: the MLP after it is not linear")
    params = tapped.params
    d = np.asarray(directions, np.float32)
    if kind == "mlp_hidden":
        d = d @ np.asarray(params[f"blocks_{layer}"]["down"]["kernel"])
    d = d - d.mean(axis=-1, keepdims=True)
    v = (d * np.asarray(params["ln_final"]["scale"])) @ np.asarray(params["unembed"]["kernel"])
    return v - np.median(v, axis=-1, keepdims=True)
