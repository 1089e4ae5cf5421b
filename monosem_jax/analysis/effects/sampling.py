"""Text sampled from the model while a feature is held at a value (paper, "Pinned sampling").

Every position's feature is encoded when its token is known, and never again: what the model computes before the site
does not depend on what is held there. The loop has one fixed shape: rows of all features, values and samples run
together, and every step recomputes the contexts, which are short.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from monosem_jax.analysis.effects.contexts import continued, looks_back, row_gain
from monosem_jax.analysis.effects.hold import Floats, Ints, padded, within
from monosem_jax.analysis.feature_sets import Encoder, FeatureSet
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape, token_ids, whole_number
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import jax_key

ROWS = 64  # texts that are sampled together
POSITIONS = ("all", "generated")


@pinned()
def sample(
    of: FeatureSet,
    prompt: Ints,
    features: Ints,
    values: Floats,
    n_tokens: int,
    *,
    samples: Ints | None = None,
    positions: str = "all",
    temperature: float = 1.0,
    seed: int = 0,
    batch: int = ROWS,
    advance: Callable[[int], Any] = lambda n: None,
) -> Int[np.ndarray, "n S+N"]:
    """Texts [n,S+N], each begun with `prompt` (token ids, BOS first) and continued by N = `n_tokens` sampled tokens,
    with features[j] held at values[j] in text j (NaN: nothing is held).

    The feature is held on all tokens but BOS, or with positions="generated" on those after the prompt. BOS itself is
    never sampled, so that a text stays one document.

    Args:
      samples: the random stream of each text, by number (0 … n - 1, if None). Texts of one number draw with the same
        random numbers, so that they differ only because of what is held.
      batch: texts that are sampled together; no draw depends on it.
      advance: called with the number of texts done.

    Raises BadInput on impossible values, and when the texts would be longer than the model's contexts.
    """
    of = of.on_device
    vocab_size, longest = of.tapped.model.config.vocab_size, of.tapped.model.config.context_length
    start = np.asarray(token_ids("sample: the prompt", np.asarray(prompt)[None], vocab_size))[0]
    n_tokens = whole_number(f"n_tokens is {n_tokens!r}", n_tokens, 1)
    if len(start) + n_tokens > longest:
        raise BadInput(
            f"sample: the prompt has {len(start)} tokens: with {n_tokens} more it is longer than a context, {longest}"
        )
    if positions not in POSITIONS or not temperature > 0:
        raise BadInput(
            f"sample: positions is {positions!r} and temperature {temperature}: expected one of "
            f"{', '.join(POSITIONS)}, and a positive number"
        )
    columns, level = within("sample: feature", features, of.n_features), np.asarray(values, np.float32)
    number = np.arange(len(columns)) if samples is None else np.asarray(samples)
    for what, array in (("values", level), ("samples", number)):
        check_shape(f"sample: {what}", array.shape, len(columns))
    if np.isinf(level).any():
        raise BadInput("sample: a value is not finite: expected a number, or NaN to hold nothing")
    site, part = of.effect_site
    blank = np.concatenate([start, np.full(n_tokens, of.tapped.bos)]).astype(np.int32)
    known = _encoded(of.tapped, of.encoder, start[None])[0]  # [S,F]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax_key("effects.sample", seed), jnp.asarray(number, jnp.uint32))
    batch = min(whole_number(f"batch is {batch!r}", batch, 1), max(len(columns), 1))
    texts = np.zeros((len(columns), len(blank)), np.int32)
    for begin in range(0, len(columns), batch):
        pick = padded(np.arange(begin, min(begin + batch, len(columns))), batch)
        n = min(batch, len(columns) - begin)
        rows = _sampled(
            of.tapped, of.encoder, np.tile(blank, (batch, 1)), known[:, columns[pick]].T, columns[pick],
            of.directions[columns[pick]][:, part], level[pick], keys[pick], jnp.float32(temperature),
            site=site, n_prompt=len(start), held_from=len(start) if positions == "generated" else 0,
        )  # fmt: skip
        texts[begin : begin + n] = np.asarray(rows)[:n]
        advance(n)
    return texts


@jax.jit
def _encoded(tapped: TappedModel, encoder: Encoder, tokens: Int[Array, "C T"]) -> Float[Array, "C T F"]:
    return encoder.encode(tapped.rows(tokens))


@functools.partial(jax.jit, static_argnames=("site", "n_prompt", "held_from"))
def _sampled(
    tapped: TappedModel,
    encoder: Encoder,
    tokens: Int[Array, "R L"],
    f_prompt: Float[Array, "R S"],
    column: Int[Array, " R"],
    direction: Float[Array, "R M"],
    value: Float[Array, " R"],
    keys: Array,
    temperature: Array,
    *,
    site: str,
    n_prompt: int,
    held_from: int,
) -> Int[Array, "R L"]:
    """Fills tokens n_prompt … L - 1 one after the other."""
    length = tokens.shape[1]
    place = jnp.arange(length)

    def step(state: tuple[Array, Array], t: Array) -> tuple[tuple[Array, Array], None]:
        tokens, f = state
        carry, rows = tapped.cut(tokens)
        newest = jax.lax.dynamic_index_in_dim(rows, t - 1, axis=1, keepdims=False)  # [R,W]
        found = jnp.take_along_axis(encoder.encode(newest), column[:, None], axis=1)  # [R,1]
        f = jax.lax.dynamic_update_slice_in_dim(f, found, t - 1, axis=1)
        carry, acts = (carry, rows) if site == tapped.site else tapped.cut(tokens, site)
        held = (tokens != tapped.bos) & (place >= held_from) & ~jnp.isnan(value)[:, None]
        shift, gain = jnp.where(held, value[:, None] - f, 0), row_gain(encoder, rows)
        acts = acts + (shift if gain is None else shift * gain)[..., None] * direction[:, None]
        last: Any = t - 1
        if not looks_back(tapped.model, site, carry, acts):  # nothing but the newest token is needed
            carry, acts = (
                jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, t - 1, 1, axis=1), x) for x in (carry, acts)
            )
            last = 0
        logits = continued(tapped, carry, acts, site)
        logits = jax.lax.dynamic_index_in_dim(logits, last, axis=1, keepdims=False).at[:, tapped.bos].set(-jnp.inf)
        draw = jax.vmap(lambda key, scores: jax.random.categorical(jax.random.fold_in(key, t), scores))
        chosen = draw(keys, logits / temperature).astype(tokens.dtype)
        return (jax.lax.dynamic_update_slice_in_dim(tokens, chosen[:, None], t, axis=1), f), None

    f = jnp.zeros(tokens.shape, jnp.float32).at[:, :n_prompt].set(f_prompt)
    (tokens, _), _ = jax.lax.scan(step, (tokens, f), jnp.arange(n_prompt, length))
    return tokens
