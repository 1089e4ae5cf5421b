"""A language model as a chain of stations, one for each kind of site in every block.

Between two stations the computation is a pair `(carry, acts)`: `acts` is the array at the station's site, `carry` what
is added to it later, the residual stream (or None). Cutting the model at a site means stopping the chain there, so the
two halves composed are the model itself, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from monosem_jax.models.attention import At, new_memory
from monosem_jax.models.base import SITES, parse_site, split_sites
from monosem_jax.runtime.errors import BadInput


class Chain(nn.Module):
    """What every architecture shares. A subclass is its `setup` (with `self.blocks`), `embed_tokens` and `logits`.

    A block has `advance(kind, carry, acts, at)`: the step that leaves the station `kind`. Parameters and the residual
    stream are fp32; matmuls run in `dtype`.
    """

    config: Any
    dtype: Any = jnp.float32

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of sites in a block, in the order of the computation."""
        return SITES

    def embed_tokens(self, tokens: Int[Array, "C T"], at: At | None) -> Float[Array, "C T D"]:
        """The residual stream before the first block."""
        raise NotImplementedError

    def logits(self, resid: Float[Array, "C T D"]) -> Float[Array, "C T V"]:
        """What the residual stream after the last block predicts."""
        raise NotImplementedError

    def to_acts(self, tokens: Int[Array, "C T"], site: str) -> tuple[Any, Float[Array, "C T M"]]:
        """Runs the model up to a site: tokens → (carry, acts [C,T,M]). Nothing after the site is computed.

        For several sites ("mlp_in.0+mlp_out.0") the activations are concatenated along M, and carry is None.
        """
        place = self._at()
        stations = [self._station(s) for s in split_sites(site)]
        carry: Any = None
        at, acts, found = 0, self.embed_tokens(tokens, place), {}
        for station in sorted(set(stations)):
            carry, acts = self._run(carry, acts, at, station, place)
            at, found[station] = station, acts
        if len(stations) == 1:
            return carry, acts
        return None, jnp.concatenate([found[station] for station in stations], axis=-1)

    def from_acts(self, carry: Any, acts: Float[Array, "C T M"], site: str) -> Float[Array, "C T V"]:
        """Continues the model from a site, with the activations there replaced by `acts`: → logits."""
        place = self._at()
        _, resid = self._run(carry, acts, self._station(site), self.config.n_layers * len(self.kinds), place)
        if place is not None:
            self.put_variable("cache", "start", place.start + acts.shape[1])
        return self.logits(resid)

    def __call__(self, tokens: Int[Array, "C T"]) -> Float[Array, "C T V"]:
        site = f"{self.kinds[-1]}.{self.config.n_layers - 1}"
        return self.from_acts(*self.to_acts(tokens, site), site)

    def _run(self, carry: Any, acts: Array, start: int, stop: int, place: At | None) -> tuple[Any, Array]:
        blocks = cast(Any, self).blocks
        for i in range(start, stop):
            layer, kind = divmod(i, len(self.kinds))
            # The last station of a block is the first of the next one.
            if kind + 1 < len(self.kinds):
                carry, acts = blocks[layer].advance(self.kinds[kind], carry, acts, place)
        return carry, acts

    def _at(self) -> At | None:
        if not self.has_variable("cache", "start"):
            return None
        return At(self.get_variable("cache", "start"), self.get_variable("cache", "pad"))

    @nn.nowrap
    def _station(self, site: str) -> int:
        layer, kind = parse_site(site, self.config.n_layers, self.kinds)
        return layer * len(self.kinds) + self.kinds.index(kind)

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of all its sites, in the order of the computation."""
        return tuple(f"{kind}.{layer}" for layer in range(self.config.n_layers) for kind in self.kinds)

    @nn.nowrap
    def width(self, site: str) -> int:
        """M at one site: d_mlp for the hidden layer of an MLP, that of all heads at attn_z, d_model elsewhere."""
        _, kind = parse_site(site, self.config.n_layers, self.kinds)
        widths = {"mlp_hidden": self.config.d_mlp, "attn_z": self.config.n_heads * head_width(self.config)}
        return widths.get(kind, self.config.d_model)

    @nn.nowrap
    def memory(self, n_contexts: int, length: int, pad: Any = None) -> dict[str, Any]:
        """The empty collection "cache" for contexts of up to `length` tokens, of which the first `pad` [C] are padding
        (see `monosem_jax.models.attention`). With it, tokens can be given in parts, and what follows them later."""
        c = self.config
        kv_heads = getattr(c, "n_kv_heads", c.n_heads)
        return new_memory(c.n_layers, n_contexts, length, kv_heads, head_width(c), self.dtype, pad)


def head_width(config: Any) -> int:
    """K, columns of a head."""
    return getattr(config, "head_dim", 0) or config.d_model // config.n_heads


def in_stream(
    params: Mapping[str, Any], layer: int, kind: str, directions: Float[np.ndarray, "F M"]
) -> Float[np.ndarray, "F D"]:
    """What directions at a site add to the residual stream. Raises BadInput at the input of an MLP, from which that is
    not linear."""
    if kind == "mlp_in":
        raise BadInput(f"logit weights at mlp_in.{layer}: the MLP after it is not linear")
    out = {"mlp_hidden": "down", "attn_z": "attn_proj"}.get(kind)
    directions = np.asarray(directions, np.float32)
    return directions @ np.asarray(params[f"blocks_{layer}"][out]["kernel"], np.float32) if out else directions
