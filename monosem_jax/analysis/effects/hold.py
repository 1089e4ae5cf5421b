"""The model continued with single features held at a value, batched over (feature, context) pairs on the device.

On every token but BOS the activations x become x + (value - f_i) d_i, so that feature i has the given value; with 0
this is the paper's ablation ("Feature Ablations"). Everything else in x stays, the part that the dictionary does not
reconstruct included. BOS stays as it is: no dictionary is trained on it, and its features count as 0.

Each context is encoded once, whatever the number of features that are held in it. For every pair the model then goes on
from the site: what counts as a forward pass here is either of the two.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from monosem_jax.analysis.feature_sets import Encoder, FeatureSet
from monosem_jax.models.base import LanguageModel, parse_site, token_losses
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape, finite_numbers, token_ids, whole_number
from monosem_jax.runtime.errors import BadInput

PAIRS = 32  # in one call of the model
CONTEXT_BYTES = 1 << 28  # of features and logits of the contexts that are open at the same time


@dataclasses.dataclass(frozen=True)
class Held:
    """The effects of n (feature, context) pairs.

    `loss_change` [n,T-1]: by how much the loss on token t + 1 rises, in nats. `activation` [n,T]: the feature's own
    activation, 0 at BOS. `logit_change` [n,T,k] of the k tokens asked for (k = 0: none), `mean_logit_change` [n,V] over
    the tokens but BOS (None: not asked for). `forward_passes`: see the module.
    """

    loss_change: np.ndarray
    activation: np.ndarray
    logit_change: np.ndarray
    mean_logit_change: np.ndarray | None
    forward_passes: int


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["tokens", "carry", "acts", "f", "logits"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class OpenContexts:
    """Contexts cut at the site of the effect: `acts` [C,T,M], features `f` [C,T,F] (0 at BOS), logits [C,T,V]."""

    tokens: Array
    carry: Any
    acts: Array
    f: Array
    logits: Array


@functools.partial(jax.jit, static_argnames="site")
def open_contexts(tapped: TappedModel, encoder: Encoder, tokens: Int[Array, "C T"], site: str) -> OpenContexts:
    """Runs the model on contexts and encodes them."""
    carry, rows = tapped.cut(tokens)
    f = encoder.encode(rows) * (tokens != tapped.bos)[..., None]
    # The model cannot continue from the rows of several sites: it is cut again at the one of the effect.
    carry, acts = (carry, rows) if site == tapped.site else tapped.cut(tokens, site)
    return OpenContexts(tokens, carry, acts, f, continued(tapped, carry, acts, site))


def continued(tapped: TappedModel, carry: Any, acts: Float[Array, "C T M"], site: str) -> Float[Array, "C T V"]:
    """The logits of the model from a site on."""
    return tapped.model.apply({"params": tapped.params}, carry, acts, site, method=tapped.model.from_acts)


def looks_back(model: LanguageModel, site: str) -> bool:
    """Whether what follows a site depends on earlier tokens: whether attention comes after it."""
    try:
        layer, kind = parse_site(site, model.config.n_layers)
    except BadInput:  # a model with sites of its own
        return True
    return layer < model.config.n_layers - 1 or kind == "resid_pre"


@functools.partial(jax.jit, static_argnames=("site", "mean"))
def _held(
    tapped: TappedModel,
    opened: OpenContexts,
    context: Int[Array, " P"],
    feature: Int[Array, " P"],
    direction: Float[Array, "P M"],
    value: Float[Array, " P"],
    watch: Int[Array, " k"],
    site: str,
    mean: bool,
) -> tuple[Array, ...]:
    """(change of losses [P,T-1], activations [P,T], change of logits [P,T,k], its mean [P,V] or [P,0])."""
    tokens, acts, before = opened.tokens[context], opened.acts[context], opened.logits[context]
    f = jnp.take_along_axis(opened.f[context], feature[:, None, None], axis=-1)[..., 0]  # [P,T]
    real = tokens != tapped.bos
    shift = jnp.where(real, value[:, None] - f, 0)
    carry = jax.tree.map(lambda a: a[context], opened.carry)
    after = continued(tapped, carry, acts + shift[..., None] * direction[:, None], site)
    # A model looks at no later tokens: nothing before the first change can be more than rounding.
    reached = jnp.cumsum(shift != 0, axis=1) > 0
    loss = jnp.where(reached[:, :-1], token_losses(after, tokens) - token_losses(before, tokens), 0)
    moved = jnp.where(reached[..., None], after[..., watch] - before[..., watch], 0)
    if not mean:
        return loss, f, moved, jnp.zeros((len(context), 0))
    weight = real / jnp.maximum(jnp.sum(real, axis=1, keepdims=True), 1)
    return loss, f, moved, jnp.einsum("PTV,PT->PV", after - before, weight)


@pinned()
def hold(
    of: FeatureSet,
    tokens: Int[np.ndarray, "C T"],
    contexts: Sequence[int],
    features: Sequence[int],
    values: Sequence[float],
    *,
    watch: Sequence[int] = (),
    mean_logits: bool = False,
    batch: int = PAIRS,
    advance: Callable[[int], Any] = lambda n: None,
) -> Held:
    """The effects of holding features[j] at values[j] in context contexts[j] of `tokens` [C,T], for n pairs j.

    Args:
      watch: tokens whose logits' change is returned at every position.
      batch: pairs in one call of the model; no number depends on it but for rounding.
      advance: called with the number of pairs done.

    Raises BadInput when a feature, a context or a token does not exist, or a value is not finite.
    """
    of = of.on_device
    tokens, which, columns, level, watched = _checked(of, tokens, contexts, features, values, watch)
    n, length, v = len(which), tokens.shape[1], of.tapped.model.config.vocab_size
    site, part = of.effect_site
    found = Held(
        np.zeros((n, length - 1), np.float32),
        np.zeros((n, length), np.float32),
        np.zeros((n, length, len(watched)), np.float32),
        np.zeros((n, v), np.float32) if mean_logits else None,
        n + len(np.unique(which)),
    )
    blocks, size, at_once = _blocks(which, length * (of.n_features + v) * 4, batch)
    for pairs, chosen in blocks:
        opened = open_contexts(of.tapped, of.encoder, jnp.asarray(tokens[padded(chosen, size)]), site)
        place = np.searchsorted(chosen, which[pairs])
        for start in range(0, len(pairs), at_once):
            some = slice(start, start + at_once)
            here = pairs[some]
            pick = padded(here, at_once)
            direction = of.directions[columns[pick]][:, part]
            loss, f, moved, mean = _held(
                of.tapped, opened, padded(place[some], at_once), columns[pick], direction, level[pick], watched,
                site, mean_logits,
            )  # fmt: skip
            found.loss_change[here] = loss[: len(here)]
            found.activation[here] = f[: len(here)]
            found.logit_change[here] = moved[: len(here)]
            if found.mean_logit_change is not None:
                found.mean_logit_change[here] = mean[: len(here)]
            advance(len(here))
    return found


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


def _blocks(which: np.ndarray, context_bytes: int, batch: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], int, int]:
    """Pairs with their contexts, in blocks of as many contexts as are open together: [(numbers of pairs, contexts)],
    the number of contexts in a block, and the pairs in one call, so that all calls have one shape."""
    batch = whole_number(f"batch is {batch!r}", batch, 1)
    size = max(1, min(batch, CONTEXT_BYTES // context_bytes, len(np.unique(which))))
    chosen = np.unique(which)
    parts = [chosen[start : start + size] for start in range(0, len(chosen), size)]
    order = np.argsort(which, kind="stable")
    ends = np.searchsorted(which[order], [part[-1] for part in parts], side="right")
    blocks = list(zip(np.split(order, ends[:-1]), parts, strict=True)) if parts else []
    most = max((len(pairs) for pairs, _ in blocks), default=1)
    return blocks, size, min(batch, 1 << (most - 1).bit_length())


def padded(numbers: np.ndarray, size: int) -> np.ndarray:
    """`numbers` filled up to `size` with the last one."""
    return np.concatenate([numbers, np.repeat(numbers[-1:], size - len(numbers))])
