"""Which tokens attend to which: causal attention with rotary positions, over whole contexts or with a memory.

The memory is the Flax collection "cache": keys and values of earlier tokens [C,L,G,K], the number `start` of positions
that are filled, and `pad` [C], how many of the first are padding. Without it, attention is over whole contexts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

THETA = 10_000.0


class At(NamedTuple):
    """Where the tokens of a call stand: the first one at position `start` of contexts whose first `pad` [C] positions
    are padding."""

    start: Int[Array, ""]
    pad: Int[Array, " C"]

    def positions(self, length: int) -> Int[Array, "C T"]:
        """The position of each token in its text: padding does not count."""
        return jnp.maximum(self.start + jnp.arange(length)[None] - self.pad[:, None], 0)


def positions_of(at: At | None, length: int) -> Int[Array, "C T"]:
    """The positions of tokens in their texts; without a memory 0 … T-1, for all contexts alike."""
    return jnp.arange(length)[None] if at is None else at.positions(length)


def frequencies(width: int, theta: float = THETA) -> Float[Array, " K/2"]:
    """Angles per position of rotary position embedding (Su et al., 2021)."""
    half = width // 2
    return theta ** -(jnp.arange(half) / half)


def rotate(
    x: Float[Array, "C T H K"], positions: Int[Array, "C T"], angles: Float[Array, " R/2"], scale: float = 1.0
) -> Float[Array, "C T H K"]:
    """Rotary position embedding of the first R of K columns; pairs are (i, i + R/2). `scale` multiplies what is
    rotated (YaRN's attention factor)."""
    width = 2 * angles.shape[0]
    angle = positions[..., None] * angles
    # Behind the barrier they are computed once, not again for every context and head inside the loop over x.
    cos, sin = jax.lax.optimization_barrier((scale * jnp.cos(angle)[:, :, None], scale * jnp.sin(angle)[:, :, None]))
    a, b = (x[..., i : i + width // 2].astype(jnp.float32) for i in (0, width // 2))
    turned = jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)
    return turned if width == x.shape[-1] else jnp.concatenate([turned, x[..., width:]], axis=-1)


def pattern(
    q: Float[Array, "C T H K"],
    k: Float[Array, "C S G K"],
    at: At | None = None,
    *,
    scale: float | None = None,
    window: int = 0,
    softcap: float = 0.0,
) -> Float[Array, "C H T S"]:
    """The attention of every token to itself and to those before it, from rotated queries and keys: rows sum to 1.

    Args:
      k: with fewer heads than `q`, each is shared by H/G consecutive ones.
      scale: of the scores, by default 1/√K.
      window: a token attends to this many tokens, itself included; 0: to all before it.
      softcap: bounds the scores by c·tanh(score / c); 0: no bound.
    """
    n_contexts, length, n_heads, width = q.shape
    if n_heads == k.shape[2]:
        score = jnp.einsum("CTHK,CSHK->CHTS", q, k, preferred_element_type=jnp.float32)
    else:
        # Contexts and heads first: with these axes outside, a CPU computes the products in half the time.
        shared = q.reshape(n_contexts, length, k.shape[2], -1, width).transpose(0, 2, 3, 1, 4)
        shared = shared.reshape(n_contexts, k.shape[2], -1, width)
        score = jnp.einsum("CGXK,CGSK->CGXS", shared, k.transpose(0, 2, 1, 3), preferred_element_type=jnp.float32)
        score = score.reshape(n_contexts, n_heads, length, -1)
    score = score * (width**-0.5 if scale is None else scale)
    if softcap:
        score = softcap * jnp.tanh(score / softcap)
    score = jnp.where(visible(at, length, k.shape[1], window)[:, None], score, -jnp.inf)
    return jax.nn.softmax(score, axis=-1)


def visible(at: At | None, length: int, n_keys: int, window: int) -> Array:
    """[C or 1,T,S] whether a token attends to a key. Padding attends to itself, so that no row is empty."""
    start = 0 if at is None else at.start
    here, key = (start + jnp.arange(length))[:, None], jnp.arange(n_keys)[None]
    seen = key <= here
    if window:
        seen &= key > here - window
    if at is None:
        return seen[None]
    return (seen & (key >= at.pad[:, None, None])) | (key == here)


def mix(weight: Float[Array, "C H T S"], v: Float[Array, "C S G K"]) -> Float[Array, "C T H*K"]:
    """The values that each head gathers, heads side by side."""
    n_contexts, n_heads, length, _ = weight.shape
    if n_heads == v.shape[2]:
        return jnp.einsum("CHTS,CSHK->CTHK", weight, v).reshape(n_contexts, length, n_heads * v.shape[-1])
    shared = weight.reshape(n_contexts, v.shape[2], -1, weight.shape[-1])
    mixed = jnp.einsum("CGXS,CGSK->CGXK", shared, v.transpose(0, 2, 1, 3))
    mixed = mixed.reshape(n_contexts, n_heads, length, -1).transpose(0, 2, 1, 3)
    return mixed.reshape(n_contexts, length, n_heads * v.shape[-1])


def attend(block: Any, q: Array, k: Array, v: Array, at: At | None, **options: Any) -> Float[Array, "C T H*K"]:
    """What the heads of `block` gather, in fp32, from rotated queries [C,T,H,K] and keys, and values [C,T,G,K], with
    the earlier ones of its memory. `options`: those of `pattern`."""
    k, v = remember(block, at, k, v)
    return mix(pattern(q, k, at, **options).astype(v.dtype), v).astype(jnp.float32)


def remember(module: Any, at: At | None, k: Array, v: Array) -> tuple[Array, Array]:
    """All keys and values up to the newest: those of `module`'s memory with the new ones [C,T,G,K] written into it.
    Without a memory, the new ones."""
    if at is None:
        return k, v
    found = []
    for name, new in (("k", k), ("v", v)):
        old = module.get_variable("cache", name)
        all_of_them = jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), at.start, axis=1)
        module.put_variable("cache", name, all_of_them)
        found.append(all_of_them)
    return found[0], found[1]


def new_memory(
    n_layers: int, n_contexts: int, length: int, kv_heads: int, width: int, dtype: Any = jnp.float32, pad: Any = None
) -> dict[str, Any]:
    """An empty memory for `length` positions of contexts; `pad` [C] of them are padding (default: none)."""
    shape = (n_contexts, length, kv_heads, width)  # an array for each: a program may be given them to write into
    blocks = {f"blocks_{i}": {"k": jnp.zeros(shape, dtype), "v": jnp.zeros(shape, dtype)} for i in range(n_layers)}
    pad = jnp.zeros(n_contexts, jnp.int32) if pad is None else jnp.asarray(pad, jnp.int32)
    return {"start": jnp.int32(0), "pad": pad, **blocks}
