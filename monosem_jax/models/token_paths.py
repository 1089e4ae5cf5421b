"""What every token of a context contributes to activations of the first block: exactly, with what is not linear held.

Attention patterns, the numbers that LayerNorm divides by, and the gates of the MLP are held at their values on the
context. A product of activations with a direction is then linear in the token embeddings, and so a sum over paths:

    d · acts[t]  =  bias  +  direct · embedding[t]  +  Σ_heads Σ_s pattern[t,s] · OV path of the head · embedding[s]

Positions enter through the patterns alone (rotary embedding): embeddings are of tokens, and no path is of a position.
The bias is what remains without any token: biases of the MLP and of both LayerNorms, the one before attention carried
through the OV paths of all heads (its patterns sum to 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from monosem_jax.models.attention import frequencies, pattern, positions_of, rotate

TRACED = ("resid_pre", "attn_out", "resid_mid", "mlp_in", "mlp_hidden", "mlp_out")  # sites in the order of computation


class TokenPaths(NamedTuple):
    """The contributions of tokens to P numbers: `bias` [P], `direct` [P] of the token itself through the residual
    stream, `attention` [P,H,T] of every token through every head, 0 for tokens after it. They sum to the number."""

    bias: Array
    direct: Array
    attention: Array


def token_paths(
    params: Mapping[str, Any],
    n_heads: int,
    acts: Mapping[str, Float[Array, "C T M"]],
    tokens: Int[Array, "C T"],
    place: Int[Array, " P"],
    at: Int[Array, " P"],
    directions: Float[Array, "P M"],
    kind: str,
) -> TokenPaths:
    """The paths of `directions[p] · acts[place[p], at[p]]` at the site `kind` of the first block.

    Args:
      acts: the model's own activations at "resid_mid" and "mlp_hidden".
    """
    block, x = params["blocks_0"], params["embed"]["embedding"][tokens]
    d, bias, depth = directions, jnp.zeros(len(directions)), TRACED.index(kind)
    if kind == "mlp_out":
        bias, d = bias + d @ block["down"]["bias"], d @ block["down"]["kernel"].T
    if depth >= TRACED.index("mlp_hidden"):
        d = d * (acts["mlp_hidden"][place, at] > 0)
        bias, d = bias + d @ block["up"]["bias"], d @ block["up"]["kernel"].T
    if depth >= TRACED.index("mlp_in"):
        norm, resid = block["ln_mlp"], acts["resid_mid"][place, at]
        bias, d = bias + d @ norm["bias"], _centred(d * norm["scale"]) * _divisor(resid)
    direct = jnp.zeros(len(d)) if kind == "attn_out" else jnp.sum(d * x[place, at], axis=-1)
    if kind == "resid_pre":
        return TokenPaths(bias, direct, jnp.zeros((len(d), n_heads, tokens.shape[1])))
    through, attention = _attention_paths(block, n_heads, x, place, at, d)
    return TokenPaths(bias + through, direct, attention)


def _attention_paths(
    block: Mapping[str, Any],
    n_heads: int,
    x: Float[Array, "C T D"],
    place: Int[Array, " P"],
    at: Int[Array, " P"],
    d: Float[Array, "P D"],
) -> tuple[Float[Array, " P"], Float[Array, "P H T"]]:
    """(the bias, the contribution of every token) of d · (output of attention)."""
    norm, by_head = block["ln_attn"], (n_heads, x.shape[-1] // n_heads)
    linear = _centred(x) * _divisor(x) * norm["scale"]
    w_q, w_k, w_v = jnp.split(block["qkv"]["kernel"], 3, axis=-1)
    q, k = ((linear + norm["bias"]) @ w for w in (w_q, w_k))
    places, angles = positions_of(None, x.shape[1]), frequencies(by_head[1])
    q, k = (rotate(a.reshape(*a.shape[:2], *by_head), places, angles) for a in (q, k))
    weight = pattern(q, k)  # [C,H,T,S]
    read = (d @ block["attn_proj"]["kernel"].T).reshape(-1, *by_head)  # [P,H,K] what d reads of each head's values
    values = (linear @ w_v).reshape(*x.shape[:2], *by_head)
    each = jnp.einsum("PHK,PSHK->PHS", read, values[place])
    bias = jnp.einsum("PHK,HK->P", read, (norm["bias"] @ w_v).reshape(by_head))
    return bias, weight[place, :, at] * each


def _centred(x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    return x - jnp.mean(x, axis=-1, keepdims=True)


def _divisor(x: Float[Array, "... D"]) -> Float[Array, "... 1"]:
    """What LayerNorm multiplies centred rows by: one over their deviation."""
    return lax.rsqrt(jnp.mean(jnp.square(_centred(x)), axis=-1, keepdims=True) + 1e-6)
