"""Text sampled from the model while a feature is held at a value (paper, "Pinned sampling").

Every position's feature is encoded when its token is known, and never again: what the model computes before the site
does not depend on what is held there. The loop has one fixed shape: rows of all features, values and samples run
together. A model that has a memory computes every token once; one that has none, or whose features are read at more
sites than the one of their effect, computes the whole contexts at every step.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from monosem_jax.analysis.effects.contexts import continued, looks_back
from monosem_jax.analysis.effects.hold import Floats, Ints, padded, within
from monosem_jax.analysis.feature_sets import Encoder, FeatureSet, row_gain
from monosem_jax.models.sampling import ENDS, Rules
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.writing import POSITIONS, Edit, begin, remembers, rows_at_once, write
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape, token_ids, whole_number
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import jax_key

ROWS = 64  # texts that are sampled together


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
      batch: texts that are sampled together, fewer where the memory of so many is large; no draw depends on it.
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
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax_key("effects.sample", seed), jnp.asarray(number, jnp.uint32))
    batch = min(whole_number(f"batch is {batch!r}", batch, 1), max(len(columns), 1))
    alone = remembers(of.tapped.model) and site == of.tapped.site
    if alone:
        batch = min(batch, rows_at_once(of.tapped.model, len(start) + n_tokens))
    known = None if alone else _encoded(of.tapped, of.encoder, start[None])[0]  # [S,F]
    texts = np.tile(np.concatenate([start, np.zeros(n_tokens, np.int32)]).astype(np.int32), (len(columns), 1))
    for first in range(0, len(columns), batch):
        pick = padded(np.arange(first, min(first + batch, len(columns))), batch)
        n = min(batch, len(columns) - first)
        feature = Rows(of.encoder, columns[pick], of.directions[columns[pick]][:, part], level[pick])
        if known is None:
            edit = Edit(site, hold_rows, feature, positions)
            written = _remembered(of.tapped, start, n_tokens, keys[pick], temperature, edit)
        else:
            blank = np.concatenate([start, np.full(n_tokens, of.tapped.bos)]).astype(np.int32)
            written = _sampled(
                of.tapped, np.tile(blank, (batch, 1)), known[:, columns[pick]].T, feature, keys[pick],
                jnp.float32(temperature), site=site, n_prompt=len(start),
                held_from=len(start) if positions == "generated" else 0,
            )[:, len(start) :]  # fmt: skip
        texts[first : first + n, len(start) :] = np.asarray(written)[:n]
        advance(n)
    return texts


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["encoder", "column", "direction", "value"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class Rows:
    """What is held in each of R texts: a feature (`column` [R]), its `direction` [R,M] and the `value` [R] (NaN:
    nothing)."""

    encoder: Encoder
    column: Array
    direction: Array
    value: Array


def hold_rows(rows: Rows, acts: Float[Array, "R T M"]) -> Float[Array, "R T M"]:
    """The activations with each text's feature at its value."""

    def one(column: Array, acts: Float[Array, "T M"]) -> Float[Array, " T"]:
        return rows.encoder.encode(acts)[..., column]

    if acts.shape[1] == 1:
        f = jax.vmap(one)(rows.column, acts)
    else:  # all features of all texts of many tokens would be large
        f = jax.lax.map(lambda row: one(*row), (rows.column, acts))
    shift = jnp.where(jnp.isnan(rows.value)[:, None], 0, rows.value[:, None] - f)
    gain = row_gain(rows.encoder, acts)
    return acts + (shift if gain is None else shift * gain)[..., None] * rows.direction[:, None]


def _remembered(
    tapped: TappedModel, start: np.ndarray, n: int, keys: Array, temperature: float, edit: Edit
) -> Int[Array, "R N"]:
    """The n tokens after `start` in each text, each computed once."""
    now = begin(tapped, [start] * len(keys), n, edit, exact=True)
    rules = Rules(
        jnp.float32(temperature), jnp.float32(1), jnp.int32(0), jnp.full(ENDS, -1), jnp.asarray([tapped.bos])
    )  # fmt: skip
    return write(tapped, now, keys, jnp.int32(len(start)), rules, edit, jnp.int32(n)).written


@jax.jit
def _encoded(tapped: TappedModel, encoder: Encoder, tokens: Int[Array, "C T"]) -> Float[Array, "C T F"]:
    return encoder.encode(tapped.rows(tokens))


@functools.partial(jax.jit, static_argnames=("site", "n_prompt", "held_from"))
def _sampled(
    tapped: TappedModel,
    tokens: Int[Array, "R L"],
    f_prompt: Float[Array, "R S"],
    held_rows: Rows,
    keys: Array,
    temperature: Array,
    *,
    site: str,
    n_prompt: int,
    held_from: int,
) -> Int[Array, "R L"]:
    """Fills tokens n_prompt … L - 1 one after the other."""
    length, value = tokens.shape[1], held_rows.value
    place = jnp.arange(length)

    def step(state: tuple[Array, Array], t: Array) -> tuple[tuple[Array, Array], None]:
        tokens, f = state
        carry, rows = tapped.cut(tokens)
        newest = jax.lax.dynamic_index_in_dim(rows, t - 1, axis=1, keepdims=False)  # [R,W]
        found = jnp.take_along_axis(held_rows.encoder.encode(newest), held_rows.column[:, None], axis=1)  # [R,1]
        f = jax.lax.dynamic_update_slice_in_dim(f, found, t - 1, axis=1)
        carry, acts = (carry, rows) if site == tapped.site else tapped.cut(tokens, site)
        held = (tokens != tapped.bos) & (place >= held_from) & ~jnp.isnan(value)[:, None]
        shift, gain = jnp.where(held, value[:, None] - f, 0), row_gain(held_rows.encoder, rows)
        acts = acts + (shift if gain is None else shift * gain)[..., None] * held_rows.direction[:, None]
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
