"""The activation of a feature as an exact sum: a bias, the token itself, and every token through every head.

With attention patterns, LayerNorm's scales and the gates of the MLP held at their values on the context, what a feature
of the first block has before its threshold is linear in the token embeddings (paper, section "Attention": the OV
circuit): see `monosem_jax.models.token_paths`. Where the feature fires, that number is its activation.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.models.base import site_widths, split_sites
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.token_paths import TokenPaths
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape, token_ids, whole_number
from monosem_jax.runtime.errors import BadInput

PAIR_BYTES = 1 << 27  # of values and contributions, of the pairs in one call
CONTEXTS = 32  # in one call of the model

Ints = Sequence[int] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Attribution:
    """The parts of n activations before their threshold: `bias` [n], `direct` [n] of the token itself through the
    residual stream, `attention` [n,H,T] of every token of the context through every head (the token itself and BOS
    among them; 0 for later tokens). `pair` [n]: which of the pairs asked for each row is.
    """

    pair: np.ndarray
    bias: np.ndarray
    direct: np.ndarray
    attention: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """[n] the sum of the parts: the feature's activation, where it fires."""
        return self.bias + self.direct + self.attention.sum(axis=(1, 2))


@pinned()
def attribute(
    of: FeatureSet, tokens: np.ndarray, features: Ints, contexts: Ints, positions: Ints, *, batch: int = CONTEXTS
) -> Attribution:
    """The parts of the activation of features[j] on token positions[j] of context contexts[j], for n pairs j in their
    order; `tokens` [C,T].

    Raises BadInput where the features read no site of the first block, or a feature or a token does not exist.
    """
    parts = list(attributions(of, tokens, features, contexts, positions, batch=batch))
    if not parts:
        raise BadInput(f"attribute {of.name} was given no features: expected 1 or more")
    order = np.argsort(np.concatenate([p.pair for p in parts]))
    return Attribution(*(np.concatenate([getattr(p, f.name) for p in parts])[order] for f in _FIELDS))


def attributions(
    of: FeatureSet,
    tokens: np.ndarray,
    features: Ints,
    contexts: Ints,
    positions: Ints,
    *,
    batch: int = CONTEXTS,
    advance: Callable[[int], Any] = lambda n: None,
) -> Iterator[Attribution]:
    """`attribute` in blocks of pairs, in the order of their contexts: what is in memory does not grow with n. `advance`
    is called with the number of pairs done."""
    tokens, feature, context, position = _checked(of, tokens, features, contexts, positions)
    batch = whole_number(f"batch is {batch!r}", batch, 1)
    device, config = of.on_device, of.tapped.model.config
    most = max(1, PAIR_BYTES // (4 * tokens.shape[1] * max(of.tapped.model.width("resid_mid.0"), config.n_layers)))
    order = np.argsort(context, kind="stable")
    distinct, begin = np.unique(context[order], return_index=True)
    begin = np.append(begin, len(order))
    for first in range(0, len(distinct), batch):
        chosen = distinct[first : first + batch]
        read = np.asarray(tokens[chosen[np.minimum(np.arange(batch), len(chosen) - 1)]], np.int32)
        here = order[begin[first] : begin[first + len(chosen)]]
        for start in range(0, len(here), most):
            pairs = here[start : start + most]
            w, b = of.encoder.affine(feature[pairs])
            size = 1 << (len(pairs) - 1).bit_length()  # few shapes, so few programs
            lacking = size - len(pairs)
            place, at = (
                np.pad(a.astype(np.int32), (0, lacking))
                for a in (np.searchsorted(chosen, context[pairs]), position[pairs])
            )
            found = _traced(device.tapped, read, place, at, np.pad(w, ((0, lacking), (0, 0))))
            bias, direct, attention = (np.asarray(a)[: len(pairs)] for a in found)
            yield Attribution(pairs, bias + b, direct, attention)
            advance(len(pairs))


@jax.jit
def _traced(tapped: TappedModel, tokens: jax.Array, place: jax.Array, at: jax.Array, w: jax.Array) -> TokenPaths:
    """The paths of the products of rows with `w` [P,W']: of several sites the sum over those that w covers."""
    model: Any = tapped.model
    ends, found = np.cumsum(site_widths(model, tapped.site)), []
    for site, end, width in zip(split_sites(tapped.site), ends, np.diff(ends, prepend=0), strict=True):
        if end <= w.shape[1]:
            found.append(model.token_paths(tapped.params, site, tokens, place, at, w[:, end - width : end]))
    return jax.tree.map(lambda *parts: functools.reduce(jnp.add, parts), *found)


def check_linear(of: FeatureSet) -> None:
    """Raises BadInput unless tokens reach what the features read by paths that are linear once gates are held."""
    model: Any = of.tapped.model
    if not hasattr(model, "token_paths"):
        raise BadInput(
            f"sources of {of.name}: a model of architecture {model.config.architecture!r} does not say what tokens "
            "contribute to its activations, expected a transformer"
        )
    some, none = jnp.zeros((1, 1), jnp.int32), np.zeros(1, np.int32)
    width = of.encoder.affine(none)[0].shape[1]
    jax.eval_shape(_traced, of.tapped, some, none, none, np.zeros((1, width), np.float32))


def _checked(of: FeatureSet, tokens: Any, features: Ints, contexts: Ints, positions: Ints) -> tuple[np.ndarray, ...]:
    """The arguments as arrays: tokens [C,T], and features, contexts, positions [n]."""
    check_linear(of)
    tokens = np.asarray(token_ids("attribute", tokens, of.tapped.model.config.vocab_size))
    sizes = {"feature": of.n_features, "context": tokens.shape[0], "position": tokens.shape[1]}
    found = []
    for (what, size), numbers in zip(sizes.items(), (features, contexts, positions), strict=True):
        array = np.atleast_1d(np.asarray(numbers))
        for n in (array.min(), array.max()) if array.size else ():
            whole_number(f"attribute {of.name}: {what} {n}", n, 0, size - 1)
        check_shape(f"attribute: {what}s", array.shape, len(np.atleast_1d(np.asarray(features))))
        found.append(array.astype(np.int64))
    return tokens, *found


_FIELDS = dataclasses.fields(Attribution)
