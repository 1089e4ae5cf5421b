"""The norms of pretrained models, computed in fp32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


class RMSNorm(nn.Module):
    """x / √(mean x² + eps) · scale over the last axis. `one_more`: the scale is stored without 1, as Gemma does."""

    eps: float
    one_more: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        init = nn.initializers.zeros if self.one_more else nn.initializers.ones
        scale = self.param("scale", init, (x.shape[-1],)).astype(jnp.float32) + self.one_more
        x = x.astype(jnp.float32)
        return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + self.eps) * scale


def layer_norm(eps: float) -> nn.LayerNorm:
    """(x − mean x) / √(var x + eps) · scale + bias over the last axis. The variance is that of the differences: mean x²
    − (mean x)² loses digits in the residual streams of large models."""
    return nn.LayerNorm(epsilon=eps, dtype=jnp.float32, use_fast_variance=False)


def normed_direction(
    directions: Float[np.ndarray, "F D"],
    params: Mapping[str, Any],
    tied: bool,
    *,
    centred: bool = False,
    one_more: bool = False,
) -> Float[np.ndarray, "F V"]:
    """d L W_unembed: directions in the residual stream through the final norm's scale, without its division, and the
    unembedding. `centred`: the norm removes the mean first, as LayerNorm does; `one_more`: see `RMSNorm`."""
    d = directions - directions.mean(axis=-1, keepdims=True) if centred else directions
    d = d * (np.asarray(params["ln_final"]["scale"], np.float32) + one_more)
    if tied:
        return d @ np.asarray(params["embed"]["embedding"], np.float32).T
    return d @ np.asarray(params["unembed"]["kernel"], np.float32)
