"""Crosscoders (Lindsey et al., 2024): one set of features for several sites, or several models.

    f = ReLU(Σ_s x_s W_enc,s + b_enc)        x̂_s = f W_dec,s + b_dec,s
    loss = mean over the batch of  Σ_s Σ_M (x_s - x̂_s)²  +  λ Σ_F f Σ_s ‖W_dec,s,f‖

A row is the activations of all sites beside each other, each scaled to E‖x_s‖ = √M_s, and so are the columns of W_dec:
in which sites a feature lives are the norms of its parts. Otherwise it is the recipe of April 2024.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.april_2024 import April
from monosem_jax.sae.config import L1Config
from monosem_jax.sae.params import row_norms, with_unit_rows


@dataclasses.dataclass(frozen=True)
class CrosscoderConfig(L1Config):
    """`widths` of the sites; () where the source says so."""

    architecture: str = "crosscoder"
    input_scale: str = "sqrt_width"
    widths: tuple[int, ...] = ()
    l1_coefficient: float = 2.0
    l1_warmup: float = 0.05

    def check_parts(self, parts: tuple[int, ...]) -> None:
        """Raises BadInput when rows do not consist of several activations."""
        if len(parts) < 2:
            raise BadInput(
                "a crosscoder is of several sites or models, and the rows have one: harvest several "
                "(config.harvest.site=resid_pre.0+resid_pre.1), give several sources, or sae.widths"
            )


class Crosscoder(April):
    """Parameters W_enc [ΣM,F], b_enc [F], W_dec [F,ΣM], b_dec [ΣM]."""

    def site_norms(self) -> Float[Array, "F S"]:
        """The norms of each feature's decoder at every site."""
        parts = jnp.split(self.W_dec, np.cumsum(self.parts)[:-1], axis=1)
        return jnp.stack([row_norms(w) for w in parts], axis=1)

    def feature_norm(self) -> Float[Array, " F"]:
        return jnp.sum(self.site_norms(), axis=1)

    @nn.nowrap
    def fold(self, params: dict[str, Any], scale: Any) -> dict[str, Any]:
        """Published parameters for raw activations of every site from those for scale[s] · x_s."""
        each = np.repeat(np.asarray(scale, np.float32), self.parts)
        folded = {name: p / each if name in ("W_dec", "b_dec") else p for name, p in params.items()}
        return with_unit_rows({**folded, "W_enc": (params["W_enc"].T * each).T})
