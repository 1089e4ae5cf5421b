"""Activations around chosen tokens, for any number of (feature, token) pairs: what examples show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.analysis.feature_sets import Encoder, FeatureSet
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned


@pinned()
def windows(
    features: FeatureSet,
    tokens: np.ndarray,
    context: np.ndarray,
    position: np.ndarray,
    feature: np.ndarray,
    before: int,
    after: int,
    *,
    batch: int,
    advance: Callable[[int], Any] = lambda n: None,
) -> np.ndarray:
    """[n,before+1+after] fp32: the activations of feature[i] around token (context[i], position[i]) of contexts [C,T],
    0 at BOS and outside of the context.

    Each context is encoded once, whatever the number of pairs in it, `batch` contexts at a time; `advance` is called
    with the number of contexts done. Columns of pairs with a negative position are 0.
    """
    context, position, feature = (np.asarray(a, np.int64).ravel() for a in (context, position, feature))
    width, length = before + 1 + after, tokens.shape[1]
    found = np.zeros((len(context), width), np.float32)
    wanted = np.flatnonzero(position >= 0)
    wanted = wanted[np.argsort(context[wanted], kind="stable")]
    distinct, begin = np.unique(context[wanted], return_index=True)
    begin = np.append(begin, len(wanted))
    device = features.on_device
    for first in range(0, len(distinct), batch):
        chosen = distinct[first : first + batch]
        pairs = wanted[begin[first] : begin[first + len(chosen)]]
        row = np.searchsorted(chosen, context[pairs])
        size = 1 << max(len(pairs) - 1, 0).bit_length()  # few shapes, so few programs
        rows, peaks, columns = (_padded(a, size) for a in (row, position[pairs], feature[pairs]))
        read = np.asarray(tokens[chosen[np.minimum(np.arange(batch), len(chosen) - 1)]], np.int32)
        f = _gathered(device.tapped, device.encoder, read, rows, peaks, columns, before, width)
        found[pairs] = np.asarray(f)[: len(pairs)]
        advance(len(chosen))
    inside = position[:, None] + np.arange(-before, after + 1)
    inside = (inside >= 0) & (inside < length) & (position >= 0)[:, None]
    return np.where(inside, found, 0)


def _padded(a: np.ndarray, size: int) -> np.ndarray:
    return np.pad(a, (0, size - len(a))).astype(np.int32)


def _gather(
    tapped: TappedModel,
    encoder: Encoder,
    tokens: jax.Array,
    rows: jax.Array,
    peaks: jax.Array,
    columns: jax.Array,
    before: int,
    width: int,
) -> jax.Array:
    f = encoder.encode(tapped.rows(tokens))
    at = jnp.clip(peaks[:, None] + jnp.arange(width) - before, 0, tokens.shape[1] - 1)
    real = tokens[rows[:, None], at] != tapped.bos
    return jnp.where(real, f[rows[:, None], at, columns[:, None]], 0)


_gathered = jax.jit(_gather, static_argnums=(6, 7))
