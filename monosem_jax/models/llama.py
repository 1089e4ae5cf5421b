"""The Llama family: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Its settings cover Llama 2 and 3 and SmolLM2, Mistral (a window of attention), Qwen 2 (biases of queries, keys and
values) and Qwen 3 (norms of queries and keys).
"""

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
from monosem_jax.models.base import check_shapes, parse_site
from monosem_jax.models.chain import Chain, in_stream
from monosem_jax.models.norms import RMSNorm, normed_direction
from monosem_jax.models.rope import Rope


@dataclasses.dataclass(frozen=True)
class LlamaConfig:
    """Shape of a model of the Llama family."""

    n_layers: int = 2
    """Layers."""
    d_model: int = 64
    """Width of the residual stream, D."""
    d_mlp: int = 128
    """Width of the MLP's hidden layer."""
    n_heads: int = 4
    """Attention heads, H."""
    n_kv_heads: int = 2
    """Heads of keys and values, each shared by n_heads / n_kv_heads heads."""
    head_dim: int = 16
    """Columns of a head, K."""
    context_length: int = 2048
    """The longest context that the model was trained on."""
    vocab_size: int = 0
    """Tokens, V."""
    rope: Rope = Rope()
    """Rotary positions."""
    norm_eps: float = 1e-5
    """Added to the mean square in every norm."""
    tied: bool = False
    """Whether the unembedding is the embedding."""
    qkv_bias: bool = False
    """Whether queries, keys and values have biases (Qwen 2)."""
    out_bias: bool = False
    """Whether the heads' output has a bias."""
    mlp_bias: bool = False
    """Whether the MLP has biases."""
    qk_norm: bool = False
    """Whether queries and keys are normed in each head (Qwen 3)."""
    windows: tuple[int, ...] = ()
    """Of each layer, to how many tokens a token attends, itself included (0: all); empty: all layers attend to all."""
    architecture: str = "llama"
    """Its name in `monosem_jax.models.MODELS`."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_shapes(self)
        self.rope.check()


class Block(nn.Module):
    """One attention and one MLP sub-layer, as the steps from each station to the next."""

    config: LlamaConfig
    dtype: Any
    window: int

    def setup(self):
        c = self.config
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=nn.initializers.normal(0.02))
        norm = functools.partial(RMSNorm, c.norm_eps)
        self.ln_attn, self.ln_mlp = norm(), norm()
        self.q = dense(c.n_heads * c.head_dim, use_bias=c.qkv_bias)
        self.k, self.v = (dense(c.n_kv_heads * c.head_dim, use_bias=c.qkv_bias) for _ in range(2))
        if c.qk_norm:
            self.q_norm, self.k_norm = norm(), norm()
        self.attn_proj = dense(c.d_model, use_bias=c.out_bias)
        self.gate, self.up = (dense(c.d_mlp, use_bias=c.mlp_bias) for _ in range(2))
        self.down = dense(c.d_model, use_bias=c.mlp_bias)

    def heads(self, x: Float[Array, "C T D"], at: At | None) -> Float[Array, "C T H*K"]:
        """What the heads gather, side by side."""
        c = self.config
        q, k, v = (project(x).reshape(*x.shape[:2], -1, c.head_dim) for project in (self.q, self.k, self.v))
        if c.qk_norm:
            q, k = self.q_norm(q).astype(self.dtype), self.k_norm(k).astype(self.dtype)
        positions, angles = positions_of(at, x.shape[1]), c.rope.angles(c.head_dim)
        q, k = (rotate(a, positions, angles, c.rope.scale) for a in (q, k))
        return attend(self, q, k, v, at, window=self.window)

    def advance(self, kind: str, carry: Any, acts: Array, at: At | None) -> tuple[Any, Array]:
        """The step that leaves station `kind`: (carry, acts) there → (carry, acts) at the next station."""
        if kind == "resid_pre":
            return acts, self.heads(self.ln_attn(acts), at)
        if kind == "attn_z":
            return carry, self.attn_proj(acts).astype(jnp.float32)
        if kind == "resid_mid":
            return acts, self.ln_mlp(acts)
        if kind == "mlp_in":
            return carry, (nn.silu(self.gate(acts)) * self.up(acts)).astype(jnp.float32)
        if kind == "mlp_hidden":
            return carry, self.down(acts).astype(jnp.float32)
        return None, carry + acts  # attn_out and mlp_out


class Llama(Chain):
    """A language model of the Llama family."""

    config: LlamaConfig

    def setup(self):
        c = self.config
        self.embed = nn.Embed(c.vocab_size, c.d_model, embedding_init=nn.initializers.normal(0.02))
        windows = c.windows or (0,) * c.n_layers
        self.blocks = [Block(c, self.dtype, window) for window in windows]
        self.ln_final = RMSNorm(c.norm_eps)
        if not c.tied:
            init = nn.initializers.normal(0.02)
            self.unembed = nn.Dense(c.vocab_size, use_bias=False, dtype=self.dtype, kernel_init=init)

    def embed_tokens(self, tokens: Int[Array, "C T"], at: At | None) -> Float[Array, "C T D"]:
        """The embeddings of tokens; positions enter through attention."""
        return self.embed(tokens).astype(jnp.float32)

    def logits(self, resid: Float[Array, "C T D"]) -> Float[Array, "C T V"]:
        """Final norm and unembedding of the residual stream."""
        x = self.ln_final(resid)
        if self.config.tied:
            x, table = x.astype(self.dtype), self.embed.embedding.astype(self.dtype)
            return jnp.einsum("CTD,VD->CTV", x, table, preferred_element_type=jnp.float32)
        return self.unembed(x).astype(jnp.float32)

    @nn.nowrap
    def direct_effect(
        self, params: Mapping[str, Any], site: str, directions: Float[np.ndarray, "F M"]
    ) -> Float[np.ndarray, "F V"]:
        """The contribution of directions at a site to the logits on the direct path, d W_out L W_unembed.

        L is the final norm's scale; its division by the norm is left out. In the residual stream W_out is the identity.
        Later attention and MLPs are left out. Raises BadInput at the input of an MLP.
        """
        layer, kind = parse_site(site, self.config.n_layers, self.kinds)
        return normed_direction(in_stream(params, layer, kind, directions), params, self.config.tied)
