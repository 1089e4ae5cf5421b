"""The transformer of the paper's section "The transformer": decoder-only, pre-LayerNorm, ReLU MLP, no dropout."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from monosem_jax.models.attention import At, attend, frequencies, positions_of, rotate
from monosem_jax.models.base import parse_site
from monosem_jax.models.chain import Chain
from monosem_jax.models.token_paths import TRACED, TokenPaths, token_paths
from monosem_jax.runtime.errors import BadInput, check_counts


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Shape of the transformer."""

    n_layers: int = 1
    """Layers."""
    d_model: int = 128
    """Width of the residual stream, D."""
    d_mlp: int = 512
    """Width of the MLP's hidden layer: M of the default site, mlp_hidden."""
    n_heads: int = 4
    """Attention heads, H; d_model / n_heads must be an even number."""
    context_length: int = 128
    """Tokens in a context, T, the BOS token included."""
    vocab_size: int = 0
    """Tokens, V; 0: as many as the tokenizer has."""
    architecture: str = "transformer"
    """Its name in `monosem_jax.models.MODELS`."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_counts(self, "", "n_layers", "d_model", "d_mlp", "n_heads")
        if self.context_length < 2:
            raise BadInput(f"context_length is {self.context_length}: at least 2 is needed (BOS and one token)")
        if self.d_model % self.n_heads:
            raise BadInput(f"d_model {self.d_model} is not divisible by n_heads {self.n_heads}")
        if (self.d_model // self.n_heads) % 2:
            raise BadInput(f"head width {self.d_model // self.n_heads} is odd: rotary positions need an even one")


class Block(nn.Module):
    """One attention and one MLP sub-layer, as the steps from each station to the next."""

    config: TransformerConfig
    dtype: jnp.dtype

    def setup(self):
        c = self.config
        scale = nn.initializers.normal(0.02)
        # The residual stream sums the outputs of both sub-layers over n_layers blocks.
        out = nn.initializers.normal(0.02 / (2 * c.n_layers) ** 0.5)
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=scale)
        self.ln_attn = nn.LayerNorm(dtype=jnp.float32)
        self.qkv = dense(3 * c.d_model, use_bias=False)
        self.attn_proj = dense(c.d_model, use_bias=False, kernel_init=out)
        self.ln_mlp = nn.LayerNorm(dtype=jnp.float32)
        self.up = dense(c.d_mlp)
        self.down = dense(c.d_model, kernel_init=out)

    def heads(self, x: Float[Array, "C T D"], at: At | None) -> Float[Array, "C T D"]:
        """What the heads of causal attention with rotary positions gather, side by side."""
        n_contexts, length, d_model = x.shape
        n_heads = self.config.n_heads
        q, k, v = jnp.split(self.qkv(x), 3, axis=-1)
        q, k, v = (a.reshape(n_contexts, length, n_heads, d_model // n_heads) for a in (q, k, v))
        positions, angles = positions_of(at, length), frequencies(d_model // n_heads)
        return attend(self, rotate(q, positions, angles), rotate(k, positions, angles), v, at)

    def advance(self, kind: str, carry, acts, at: At | None):
        """The step that leaves station `kind`: (carry, acts) there → (carry, acts) at the next station."""
        if kind == "resid_pre":
            return acts, self.heads(self.ln_attn(acts), at)
        if kind == "attn_z":
            return carry, self.attn_proj(acts).astype(jnp.float32)
        if kind == "resid_mid":
            return acts, self.ln_mlp(acts)
        if kind == "mlp_in":
            return carry, nn.relu(self.up(acts)).astype(jnp.float32)
        if kind == "mlp_hidden":
            return carry, self.down(acts).astype(jnp.float32)
        return None, carry + acts  # attn_out and mlp_out


class Transformer(Chain):
    """The language model and its two halves. Parameters and residual stream are fp32; matmuls run in `dtype`."""

    config: TransformerConfig

    def setup(self):
        c = self.config
        self.embed = nn.Embed(c.vocab_size, c.d_model, embedding_init=nn.initializers.normal(0.02))
        self.blocks = [Block(c, self.dtype) for _ in range(c.n_layers)]
        self.ln_final = nn.LayerNorm(dtype=jnp.float32)
        self.unembed = nn.Dense(
            c.vocab_size, use_bias=False, dtype=self.dtype, kernel_init=nn.initializers.normal(0.02)
        )

    def embed_tokens(self, tokens: Int[Array, "C T"], at: At | None) -> Float[Array, "C T D"]:
        """The embeddings of tokens; positions enter through attention."""
        return self.embed(tokens)

    def logits(self, resid: Float[Array, "C T D"]) -> Float[Array, "C T V"]:
        """Final LayerNorm and unembedding of the residual stream."""
        return self.unembed(self.ln_final(resid)).astype(jnp.float32)

    @nn.nowrap
    def direct_effect(
        self, params: Mapping[str, Any], site: str, directions: Float[np.ndarray, "F M"]
    ) -> Float[np.ndarray, "F V"]:
        """The contribution of directions at a site to the logits on the direct path: d W_down π L W_unembed.

        π removes the mean over the residual stream and L is the final LayerNorm's diagonal scale; LayerNorm's division
        by the norm is left out. At sites in the residual stream W_down is the identity. Later attention and MLPs are
        left out. Raises BadInput at the input of an MLP, from which the path is not linear.
        """
        layer, kind = parse_site(site, self.config.n_layers)
        if kind == "mlp_in":
            raise BadInput(f"logit weights at {site}: the MLP after it is not linear")
        d = np.asarray(directions, np.float32)
        if kind == "attn_z":
            d = d @ np.asarray(params[f"blocks_{layer}"]["attn_proj"]["kernel"])
        if kind == "mlp_hidden":
            d = d @ np.asarray(params[f"blocks_{layer}"]["down"]["kernel"])
        d = d - d.mean(axis=-1, keepdims=True)
        return (d * np.asarray(params["ln_final"]["scale"])) @ np.asarray(params["unembed"]["kernel"])

    @nn.nowrap
    def token_paths(
        self,
        params: Mapping[str, Any],
        site: str,
        tokens: Int[Array, "C T"],
        place: Int[Array, " P"],
        at: Int[Array, " P"],
        directions: Float[Array, "P M"],
    ) -> TokenPaths:
        """What every token contributes to directions[p] · acts[place[p], at[p]] at a site of the first block, with
        attention patterns, the scales of LayerNorm and the gates of the MLP held (`monosem_jax.models.token_paths`).

        Raises BadInput at a site of a later block: other MLPs lie between it and the tokens.
        """
        layer, kind = parse_site(site, self.config.n_layers)
        if layer:
            raise BadInput(f"sources at {site}: the MLP of block 0 lies between it and the tokens, expected block 0")
        if kind in ("attn_z", "resid_post"):
            raise BadInput(f"sources at {site}: expected one of the sites {', '.join(TRACED)}")
        passed = ("resid_mid", "mlp_hidden")
        out: Any = self.apply({"params": params}, tokens, "resid_mid.0+mlp_hidden.0", method=self.to_acts)
        acts = dict(zip(passed, jnp.split(out[1], [self.config.d_model], axis=-1), strict=True))
        return token_paths(params, self.config.n_heads, acts, tokens, place, at, directions, kind)
