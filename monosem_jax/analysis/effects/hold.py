"""The model continued with single features held at a value, batched over (feature, context) pairs on the device.

On every token but BOS the activations x become x + (value - f_i) d_i, so that feature i has the given value; with 0
this is the paper's ablation ("Feature Ablations"). Everything else in x stays, the part that the dictionary does not
reconstruct included. BOS stays as it is: no dictionary is trained on it, and its features count as 0.

Each context is encoded once, whatever the number of features that are held in it, and for every pair the model then
goes on from the site. Where no attention follows the site, it goes on from those tokens only whose activations change:
for an ablation, the few on which the feature fires.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from monosem_jax.analysis.effects.contexts import (
    OpenContexts,
    continued,
    looks_back,
    mean_over_tokens,
    open_contexts,
)
from monosem_jax.analysis.feature_sets import Encoder, FeatureSet
from monosem_jax.models.base import token_losses
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape, finite_numbers, token_ids, whole_number
from monosem_jax.runtime.errors import BadInput

PAIRS = 32  # in one call of the model
ROWS = 512  # tokens in one call, where the model goes on from single tokens
BLOCK_BYTES = 1 << 27  # of features and logits in one call; several such arrays are in memory together


@dataclasses.dataclass(frozen=True)
class Held:
    """The effects of n (feature, context) pairs.

    `loss_change` [n,T-1]: by how much the loss on token t + 1 rises, in nats. `activation` [n,T]: the feature's own
    activation, 0 at BOS. `logit_change` [n,T,k] of the k tokens asked for, `mean_logit_change` [n,V] over the tokens
    but BOS, or over those on which the feature fires (None: not asked for). `forward_passes`: one for each context and
    one for each pair. `continued_tokens`: those from which the model really went on, of the n · T in all pairs.
    """

    loss_change: np.ndarray
    activation: np.ndarray
    logit_change: np.ndarray
    mean_logit_change: np.ndarray | None
    forward_passes: int
    continued_tokens: int = 0


@dataclasses.dataclass(frozen=True)
class Pairs:
    """n pairs in one block of contexts: the place of the context in the block, the feature, its direction [n,M] and the
    value at which it is held."""

    place: np.ndarray
    feature: np.ndarray
    direction: np.ndarray
    value: np.ndarray

    def part(self, pick: np.ndarray) -> Pairs:
        return Pairs(self.place[pick], self.feature[pick], self.direction[pick], self.value[pick])


Ints = Sequence[int] | np.ndarray
Floats = Sequence[float] | np.ndarray
Effects = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]


@pinned()
def hold(
    of: FeatureSet,
    tokens: Int[np.ndarray, "C T"],
    contexts: Ints,
    features: Ints,
    values: Floats,
    *,
    watch: Ints = (),
    mean_logits: bool = False,
    firing: bool = False,
    batch: int = PAIRS,
    advance: Callable[[int], Any] = lambda n: None,
) -> Held:
    """The effects of holding features[j] at values[j] in context contexts[j] of `tokens` [C,T], for n pairs j.

    Args:
      watch: tokens whose logits' change is returned at every position.
      mean_logits: whether the mean change of all logits is returned, over all tokens but BOS, or with `firing` over
        those on which the feature fires in the intact model.
      batch: pairs in one call of the model; no number depends on it but for rounding.
      advance: called with the number of pairs done.

    Raises BadInput when a feature, a context or a token does not exist, or a value is not finite.
    """
    of = of.on_device
    tokens, which, columns, level, watched = _checked(of, tokens, contexts, features, values, watch)
    batch = whole_number(f"batch is {batch!r}", batch, 1)
    n, length, v = len(which), tokens.shape[1], of.tapped.model.config.vocab_size
    (site, part), done = of.effect_site, 0
    found = Held(
        np.zeros((n, length - 1), np.float32),
        np.zeros((n, length), np.float32),
        np.zeros((n, length, len(watched)), np.float32),
        np.zeros((n, v), np.float32) if mean_logits else None,
        n + len(np.unique(which)),
    )
    size = max(1, min(batch, BLOCK_BYTES // (length * (of.n_features + v) * 4), len(np.unique(which))))
    for pairs, chosen in _blocks(which, size):
        block = jnp.asarray(tokens[padded(chosen, size)])
        opened = open_contexts(of.tapped, of.encoder, block, watched, site, keep=mean_logits and firing)
        alone = not mean_logits and not looks_back(of.tapped.model, site, opened.carry, opened.acts)
        at_once = min(batch, max(1, BLOCK_BYTES // (length * v * 4)))
        for start in range(0, len(pairs), at_once):
            here = pairs[start : start + at_once]
            pick = padded(here, at_once)
            direction = of.directions[columns[pick]][:, part]
            some = Pairs(np.searchsorted(chosen, which[pick]), columns[pick], direction, level[pick])
            if alone:
                loss, f, moved, mean, count = _by_token(of.tapped, opened, some, len(here), watched, site)
            else:
                over = of.encoder if firing else None
                loss, f, moved, mean, count = _by_context(
                    of.tapped, opened, some, len(here), watched, site, mean_logits, over
                )
            found.loss_change[here], found.activation[here] = loss[: len(here)], f[: len(here)]
            found.logit_change[here] = moved[: len(here)]
            if found.mean_logit_change is not None:
                found.mean_logit_change[here] = mean[: len(here)]
            done += count
            advance(len(here))
    return dataclasses.replace(found, continued_tokens=done)


def _by_context(
    tapped: TappedModel,
    opened: OpenContexts,
    pairs: Pairs,
    n: int,
    watch: np.ndarray,
    site: str,
    mean: bool,
    firing: Encoder | None,
) -> Effects:
    """The effects of the first n of some pairs (the others fill up the shape): change of losses [P,T-1], activations
    [P,T], change of logits [P,T,k], its mean [P,V] or [P,0], and the number of tokens from which the model went on."""
    found = _held(tapped, opened, pairs.place, pairs.feature, pairs.direction, pairs.value, watch, firing, site, mean)
    loss, f, moved, change = (np.asarray(x) for x in found)
    return loss, f, moved, change, n * f.shape[1]


@functools.partial(jax.jit, static_argnames=("site", "mean"))
def _held(
    tapped: TappedModel,
    opened: OpenContexts,
    place: Int[Array, " P"],
    feature: Int[Array, " P"],
    direction: Float[Array, "P M"],
    value: Float[Array, " P"],
    watch: Int[Array, " k"],
    firing: Encoder | None,
    site: str,
    mean: bool,
) -> tuple[Array, ...]:
    tokens, real = opened.tokens[place], opened.tokens[place] != tapped.bos
    f = _columns(opened, place, feature)
    shift = jnp.where(real, value[:, None] - f, 0)
    moves = shift if opened.gain is None else shift * opened.gain[place]
    carry = jax.tree.map(lambda a: a[place], opened.carry)
    after = continued(tapped, carry, opened.acts[place] + moves[..., None] * direction[:, None], site)
    # A model looks at no later tokens: nothing before the first change can be more than rounding.
    reached = jnp.cumsum(shift != 0, axis=1) > 0
    loss = jnp.where(reached[:, :-1], token_losses(after, tokens) - opened.losses[place], 0)
    moved = jnp.where(reached[..., None], after[..., watch] - opened.watched[place], 0)
    if not mean:
        change = jnp.zeros((len(place), 0))
    elif firing is None:
        change = mean_over_tokens(after, real) - opened.mean_logits[place]
    else:
        assert opened.logits is not None
        change = mean_over_tokens(after - opened.logits[place], firing.active(f) & real)
    return loss, f, moved, change


@jax.jit
def _columns(opened: OpenContexts, place: Int[Array, " P"], feature: Int[Array, " P"]) -> Float[Array, "P T"]:
    """The activation of one feature in each of some open contexts."""
    return jnp.take_along_axis(opened.f[place], feature[:, None, None], axis=-1)[..., 0]


def _by_token(tapped: TappedModel, opened: OpenContexts, pairs: Pairs, n: int, watch: np.ndarray, site: str) -> Effects:
    """`_by_context`, from the tokens alone whose activations change. No attention follows."""
    f = np.asarray(_columns(opened, pairs.place, pairs.feature))
    tokens = np.asarray(opened.tokens)[pairs.place]
    shift = np.where(tokens != tapped.bos, pairs.value[:, None] - f, 0).astype(np.float32)
    loss = np.zeros((len(f), f.shape[1] - 1), np.float32)
    moved = np.zeros((*f.shape, len(watch)), np.float32)
    rows, at = np.nonzero(shift[:n])
    size = max(1, min(ROWS, BLOCK_BYTES // (16 * tapped.model.config.vocab_size)))
    for start in range(0, len(rows), size):
        row, t = rows[start : start + size], at[start : start + size]
        r, p = padded(row, size), padded(t, size)
        change, logits = _held_tokens(
            tapped, opened, pairs.place[r], p, pairs.direction[r], shift[r, p], watch, site
        )  # fmt: skip
        change, logits = np.asarray(change)[: len(row)], np.asarray(logits)[: len(row)]
        predicts = t < f.shape[1] - 1
        loss[row[predicts], t[predicts]], moved[row, t] = change[predicts], logits
    return loss, f, moved, np.zeros((len(f), 0), np.float32), len(rows)


@functools.partial(jax.jit, static_argnames="site")
def _held_tokens(
    tapped: TappedModel,
    opened: OpenContexts,
    place: Int[Array, " R"],
    at: Int[Array, " R"],
    direction: Float[Array, "R M"],
    shift: Float[Array, " R"],
    watch: Int[Array, " k"],
    site: str,
) -> tuple[Array, Array]:
    """(change of the next token's loss [R], change of logits [R,k]) of tokens, each as a context of its own."""
    carry, acts = (jax.tree.map(lambda a: a[place, at][:, None], x) for x in (opened.carry, opened.acts))
    moves = shift if opened.gain is None else shift * opened.gain[place, at]
    after = continued(tapped, carry, acts + (moves[:, None] * direction)[:, None], site)[:, 0]  # [R,V]
    following = jnp.minimum(at + 1, opened.tokens.shape[1] - 1)
    target = jnp.take_along_axis(after, opened.tokens[place, following][:, None], axis=-1)[:, 0]
    loss = jax.nn.logsumexp(after, axis=-1) - target - opened.losses[place, following - 1]
    return loss, after[:, watch] - opened.watched[place, at]


def _checked(
    of: FeatureSet, tokens: Any, contexts: Any, features: Any, values: Any, watch: Any
) -> tuple[np.ndarray, ...]:
    """The arguments of `hold` as arrays: tokens [C,T], contexts, features and values [n], watched tokens [k]."""
    vocab_size = of.tapped.model.config.vocab_size
    tokens = np.asarray(token_ids("hold", tokens, vocab_size))
    which = within(f"hold {of.name}: context", contexts, len(tokens))
    columns = within(f"hold {of.name}: feature", features, of.n_features)
    level = np.asarray(finite_numbers("hold: values", np.atleast_1d(np.asarray(values, np.float32)), "n"))
    for what, array in (("features", columns), ("values", level)):
        check_shape(f"hold: {what}", array.shape, len(which))
    if tokens.shape[1] < 2:
        raise BadInput("hold was given contexts of 1 token: expected 2 or more, the first predicts the next")
    return tokens, which, columns, level, within("hold: token", watch, vocab_size)


def within(what: str, numbers: Any, size: int) -> np.ndarray:
    """Whole numbers as int32 [n]; raises BadInput on one that is not from 0 to size - 1."""
    found = np.atleast_1d(np.asarray(numbers))
    if not found.size:
        return np.zeros(0, np.int32)
    for n in (found.min(), found.max()) if found.dtype.kind in "iu" else found[:1]:
        whole_number(f"{what} {n}", n, 0, size - 1)
    return found.astype(np.int32)


def _blocks(which: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of as many contexts as are open together: (numbers of pairs, contexts in rising order)."""
    chosen, order = np.unique(which), np.argsort(which, kind="stable")
    for start in range(0, len(chosen), size):
        part = chosen[start : start + size]
        low, high = np.searchsorted(which[order], [part[0], part[-1] + 1])
        yield order[low:high], part


def padded(numbers: np.ndarray, size: int) -> np.ndarray:
    """`numbers` filled up to `size` with the last one."""
    return np.concatenate([numbers, np.repeat(numbers[-1:], size - len(numbers))])
