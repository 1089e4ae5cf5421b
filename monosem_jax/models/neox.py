"""NeoX and Pythia: LayerNorm, rotary positions on some columns of a head, attention and MLP side by side."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from monosem_jax.models.attention import At, attend, positions_of, rotate
from monosem_jax.models.base import SITES, check_shapes, parse_site
from monosem_jax.models.chain import Chain, in_stream
from monosem_jax.models.nonlinear import NONLINEAR, check_nonlinearity
from monosem_jax.models.norms import layer_norm, normed_direction
from monosem_jax.models.rope import Rope
from monosem_jax.runtime.errors import BadInput


@dataclasses.dataclass(frozen=True)
class NeoxConfig:
    """Shape of a NeoX."""

    n_layers: int = 2
    """Layers."""
    d_model: int = 64
    """Width of the residual stream, D."""
    d_mlp: int = 256
    """Width of the MLP's hidden layer."""
    n_heads: int = 4
    """Attention heads, H, of d_model / n_heads columns."""
    rotary: int = 4
    """The first columns of a head that have rotary positions; the others have none."""
    parallel: bool = True
    """Whether attention and MLP of a block both read the residual stream before it (no resid_mid); false: the MLP reads
    it after attention."""
    context_length: int = 2048
    """The longest context that the model was trained on."""
    vocab_size: int = 0
    """Tokens, V."""
    rope: Rope = Rope()
    """Rotary positions."""
    norm_eps: float = 1e-5
    """Added to the variance in every norm."""
    nonlinearity: str = "gelu"
    """Of the MLP's hidden layer: relu, gelu, gelu_tanh or silu."""
    attn_bias: bool = True
    """Whether queries, keys, values and the heads' output have biases."""
    tied: bool = False
    """Whether the unembedding is the embedding."""
    architecture: str = "neox"
    """Its name in `monosem_jax.models.MODELS`."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_shapes(self)
        check_nonlinearity(self.nonlinearity)
        self.rope.check()
        if self.rotary % 2 or not 0 <= self.rotary <= self.d_model // self.n_heads:
            width = self.d_model // self.n_heads
            raise BadInput(f"rotary is {self.rotary}: expected an even number of the {width} columns of a head")


class Block(nn.Module):
    """One attention and one MLP sub-layer, as the steps from each station to the next."""

    config: NeoxConfig
    dtype: Any

    def setup(self):
        c = self.config
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=nn.initializers.normal(0.02))
        self.ln_attn, self.ln_mlp = layer_norm(c.norm_eps), layer_norm(c.norm_eps)
        self.q, self.k, self.v, self.attn_proj = (dense(c.d_model, use_bias=c.attn_bias) for _ in range(4))
        self.up, self.down = dense(c.d_mlp), dense(c.d_model)

    def heads(self, x: Float[Array, "C T D"], at: At | None) -> Float[Array, "C T D"]:
        """What the heads gather, side by side."""
        c = self.config
        q, k, v = (f(x).reshape(*x.shape[:2], c.n_heads, -1) for f in (self.q, self.k, self.v))
        positions, angles = positions_of(at, x.shape[1]), c.rope.angles(c.rotary)
        q, k = (rotate(a, positions, angles, c.rope.scale) for a in (q, k))
        return attend(self, q, k, v, at)

    def advance(self, kind: str, carry: Any, acts: Array, at: At | None) -> tuple[Any, Array]:
        """The step that leaves station `kind`: (carry, acts) there → (carry, acts) at the next station."""
        if kind == "resid_pre":
            return acts, self.heads(self.ln_attn(acts), at)
        if kind == "attn_z":
            return carry, self.attn_proj(acts).astype(jnp.float32)
        if kind == "attn_out" and self.config.parallel:
            return carry + acts, self.ln_mlp(carry)
        if kind == "resid_mid":
            return acts, self.ln_mlp(acts)
        if kind == "mlp_in":
            return carry, NONLINEAR[self.config.nonlinearity](self.up(acts)).astype(jnp.float32)
        if kind == "mlp_hidden":
            return carry, self.down(acts).astype(jnp.float32)
        return None, carry + acts  # attn_out and mlp_out


class Neox(Chain):
    """A language model of NeoX's architecture."""

    config: NeoxConfig

    def setup(self):
        c, init = self.config, nn.initializers.normal(0.02)
        self.embed = nn.Embed(c.vocab_size, c.d_model, embedding_init=init)
        self.blocks = [Block(c, self.dtype) for _ in range(c.n_layers)]
        self.ln_final = layer_norm(c.norm_eps)
        if not c.tied:
            self.unembed = nn.Dense(c.vocab_size, use_bias=False, dtype=self.dtype, kernel_init=init)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of sites in a block: side by side, there is no residual stream between attention and MLP."""
        return tuple(kind for kind in SITES if not (self.config.parallel and kind == "resid_mid"))

    def embed_tokens(self, tokens: Int[Array, "C T"], at: At | None) -> Float[Array, "C T D"]:
        """The embeddings of tokens; positions enter through attention."""
        return self.embed(tokens).astype(jnp.float32)

    def logits(self, resid: Float[Array, "C T D"]) -> Float[Array, "C T V"]:
        """Final LayerNorm and unembedding of the residual stream."""
        x = self.ln_final(resid)
        if self.config.tied:
            x, table = x.astype(self.dtype), self.embed.embedding.astype(self.dtype)
            return jnp.einsum("CTD,VD->CTV", x, table, preferred_element_type=jnp.float32)
        return self.unembed(x).astype(jnp.float32)

    @nn.nowrap
    def direct_effect(
        self, params: Mapping[str, Any], site: str, directions: Float[np.ndarray, "F M"]
    ) -> Float[np.ndarray, "F V"]:
        """The contribution of directions at a site to the logits on the direct path, d W_out π L W_unembed.

        π removes the mean over the residual stream and L is the final LayerNorm's scale; its division by the norm is
        left out. In the residual stream W_out is the identity. Later attention and MLPs, and with `parallel` those
        beside it, are left out. Raises BadInput at the input of an MLP.
        """
        layer, kind = parse_site(site, self.config.n_layers, self.kinds)
        return normed_direction(in_stream(params, layer, kind, directions), params, self.config.tied, centred=True)
