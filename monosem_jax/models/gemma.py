"""The Gemma family: norms before and after each sub-layer, local and global attention, GeGLU, a scaled embedding.

Its settings cover Gemma 2 (bounded attention scores and logits), Gemma 3 (norms of queries and keys; rotary positions
of their own in layers with a window) and the first Gemma (no norms after a sub-layer). The scales of norms are stored
without 1. attn_out and mlp_out are after the second norm: what is added to the residual stream.
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
from monosem_jax.models.chain import Chain
from monosem_jax.models.norms import RMSNorm, normed_direction
from monosem_jax.models.rope import Rope
from monosem_jax.runtime.errors import BadInput


@dataclasses.dataclass(frozen=True)
class GemmaConfig:
    """Shape of a model of the Gemma family."""

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
    context_length: int = 8192
    """The longest context that the model was trained on."""
    vocab_size: int = 0
    """Tokens, V."""
    rope: Rope = Rope()
    """Rotary positions of layers that attend to all tokens."""
    local_rope: Rope = Rope()
    """Rotary positions of layers with a window."""
    norm_eps: float = 1e-6
    """Added to the mean square in every norm."""
    tied: bool = True
    """Whether the unembedding is the embedding."""
    query_scalar: float = 256.0
    """Attention scores are divided by its square root."""
    attn_softcap: float = 0.0
    """Bounds attention scores by c·tanh(score / c); 0: no bound."""
    final_softcap: float = 0.0
    """Bounds logits by c·tanh(logit / c); 0: no bound."""
    post_norms: bool = True
    """Whether what a sub-layer gives is normed before it is added (not in the first Gemma)."""
    qk_norm: bool = False
    """Whether queries and keys are normed in each head (Gemma 3)."""
    windows: tuple[int, ...] = ()
    """Of each layer, to how many tokens a token attends, itself included (0: all); empty: all layers attend to all."""
    architecture: str = "gemma"
    """Its name in `monosem_jax.models.MODELS`."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_shapes(self)
        self.rope.check()
        self.local_rope.check()
        if not self.query_scalar > 0:
            raise BadInput(f"query_scalar is {self.query_scalar}: expected a number above 0")
        for name in ("attn_softcap", "final_softcap"):
            if not getattr(self, name) >= 0:
                raise BadInput(f"{name} is {getattr(self, name)}: expected a number above 0, or 0 for no bound")


class Block(nn.Module):
    """One attention and one MLP sub-layer, as the steps from each station to the next."""

    config: GemmaConfig
    dtype: Any
    window: int

    def setup(self):
        c = self.config
        init = nn.initializers.normal(0.02)
        dense = functools.partial(nn.Dense, use_bias=False, dtype=self.dtype, kernel_init=init)
        norm = functools.partial(RMSNorm, c.norm_eps, one_more=True)
        self.ln_attn, self.ln_mlp = norm(), norm()
        if c.post_norms:
            self.ln_attn_post, self.ln_mlp_post = norm(), norm()
        self.q = dense(c.n_heads * c.head_dim)
        self.k, self.v = (dense(c.n_kv_heads * c.head_dim) for _ in range(2))
        if c.qk_norm:
            self.q_norm, self.k_norm = norm(), norm()
        self.attn_proj, self.down = dense(c.d_model), dense(c.d_model)
        self.gate, self.up = dense(c.d_mlp), dense(c.d_mlp)

    def heads(self, x: Float[Array, "C T D"], at: At | None) -> Float[Array, "C T H*K"]:
        """What the heads gather, side by side."""
        c = self.config
        q, k, v = (project(x).reshape(*x.shape[:2], -1, c.head_dim) for project in (self.q, self.k, self.v))
        if c.qk_norm:
            q, k = self.q_norm(q).astype(self.dtype), self.k_norm(k).astype(self.dtype)
        rope = c.local_rope if self.window else c.rope
        positions, angles = positions_of(at, x.shape[1]), rope.angles(c.head_dim)
        q, k = (rotate(a, positions, angles, rope.scale) for a in (q, k))
        return attend(self, q, k, v, at, scale=c.query_scalar**-0.5, window=self.window, softcap=c.attn_softcap)

    def advance(self, kind: str, carry: Any, acts: Array, at: At | None) -> tuple[Any, Array]:
        """The step that leaves station `kind`: (carry, acts) there → (carry, acts) at the next station."""
        if kind == "resid_pre":
            return acts, self.heads(self.ln_attn(acts), at)
        if kind == "attn_z":
            out = self.attn_proj(acts).astype(jnp.float32)
            return carry, self.ln_attn_post(out) if self.config.post_norms else out
        if kind == "resid_mid":
            return acts, self.ln_mlp(acts)
        if kind == "mlp_in":
            return carry, (nn.gelu(self.gate(acts), approximate=True) * self.up(acts)).astype(jnp.float32)
        if kind == "mlp_hidden":
            out = self.down(acts).astype(jnp.float32)
            return carry, self.ln_mlp_post(out) if self.config.post_norms else out
        return None, carry + acts  # attn_out and mlp_out


class Gemma(Chain):
    """A language model of the Gemma family."""

    config: GemmaConfig

    def setup(self):
        c = self.config
        init = nn.initializers.normal(0.02)
        self.embed = nn.Embed(c.vocab_size, c.d_model, embedding_init=init)
        self.blocks = [Block(c, self.dtype, window) for window in c.windows or (0,) * c.n_layers]
        self.ln_final = RMSNorm(c.norm_eps, one_more=True)
        if not c.tied:
            self.unembed = nn.Dense(c.vocab_size, use_bias=False, dtype=self.dtype, kernel_init=init)

    def embed_tokens(self, tokens: Int[Array, "C T"], at: At | None) -> Float[Array, "C T D"]:
        """The embeddings of tokens times √D; positions enter through attention."""
        found = self.embed(tokens)
        # As in transformers the factor has the type of the weights: with bf16 weights √3072 = 55.43 becomes 55.5.
        scale = jnp.asarray(self.config.d_model**0.5, found.dtype)
        return found.astype(jnp.float32) * scale.astype(jnp.float32)

    def logits(self, resid: Float[Array, "C T D"]) -> Float[Array, "C T V"]:
        """Final norm and unembedding of the residual stream, bounded where the model bounds its logits."""
        x = self.ln_final(resid)
        if self.config.tied:
            x, table = x.astype(self.dtype), self.embed.embedding.astype(self.dtype)
            found = jnp.einsum("CTD,VD->CTV", x, table, preferred_element_type=jnp.float32)
        else:
            found = self.unembed(x).astype(jnp.float32)
        cap = self.config.final_softcap
        return cap * jnp.tanh(found / cap) if cap else found

    @nn.nowrap
    def direct_effect(
        self, params: Mapping[str, Any], site: str, directions: Float[np.ndarray, "F M"]
    ) -> Float[np.ndarray, "F V"]:
        """The contribution of directions at a site to the logits on the direct path, d W_out P L W_unembed.

        P is the scale of the norm after the sub-layer, L that of the final norm. Each norm divides a token's vector by
        one positive number, which is left out: it multiplies the whole row, so the order of its logits is that of the
        model. The bound of the logits, which keeps their order too, is left out as well. In the residual stream, at
        attn_out and at mlp_out W_out and P are the identity. Later attention and MLPs are left out. Raises BadInput at
        the input of an MLP.
        """
        layer, kind = parse_site(site, self.config.n_layers, self.kinds)
        if kind == "mlp_in":
            raise BadInput(f"logit weights at {site}: the MLP after it is not linear")
        block, d = params[f"blocks_{layer}"], np.asarray(directions, np.float32)
        if names := {"mlp_hidden": ("down", "ln_mlp_post"), "attn_z": ("attn_proj", "ln_attn_post")}.get(kind):
            d = d @ np.asarray(block[names[0]]["kernel"], np.float32)
            if self.config.post_norms:
                d = d * (1 + np.asarray(block[names[1]]["scale"], np.float32))
        return normed_direction(d, params, self.config.tied, one_more=True)
