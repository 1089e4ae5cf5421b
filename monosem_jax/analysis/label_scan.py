"""One pass over text for all features at once: densities, label correlations, top contexts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.analysis.records import Category
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape, whole_number
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.published import PublishedSAE, fitting_contexts
from monosem_jax.text.batches import context_batches


@dataclasses.dataclass(frozen=True)
class FeatureStatistics:
    """Statistics of all features and neurons over a text, BOS left out.

    `density` [F]: the share of tokens on which a feature fires. `top_value`, `top_context`, `top_position` [F,k]: its
    k contexts with the largest activations, strongest first. `feature_correlation` [L,F], `neuron_correlation` [L,M]:
    Pearson correlation of the activation with "this token lies in a document of the label", NaN for labels without
    tokens. `label_tokens` [L]: tokens of each label. `tokens`: tokens read.
    """

    density: np.ndarray
    top_value: np.ndarray
    top_context: np.ndarray
    top_position: np.ndarray
    feature_correlation: np.ndarray
    neuron_correlation: np.ndarray
    label_tokens: np.ndarray
    tokens: int


@pinned()
def scan(
    tapped: TappedModel,
    sae: PublishedSAE,
    tokens: np.ndarray,
    labels: np.ndarray,
    *,
    n_labels: int,
    batch: int,
    n_top: int = 16,
    advance: Callable[[int], Any] = lambda n: None,
) -> FeatureStatistics:
    """Reads contexts [C,T] whose tokens have the labels [C,T] (numbers below `n_labels`, -1 for none).

    `n_top` contexts are kept per feature; `advance` is called with the number of contexts done. Raises BadInput on
    tokens that the model does not have, on labels of another shape, and when there are no tokens but BOS.
    """
    tokens = fitting_contexts("scan", tapped, sae, tokens)
    check_shape("scan", np.shape(labels), *tokens.shape)
    batch, n_top = whole_number(f"batch is {batch!r}", batch, 1), whole_number(f"n_top is {n_top!r}", n_top, 1)
    tapped = tapped.on(None)
    shape = (sae.n_features, n_top)
    top = {"value": jnp.zeros(shape), "context": jnp.zeros(shape, jnp.int32), "position": jnp.zeros(shape, jnp.int32)}
    total: Any = None
    for i, (t, y, w) in enumerate(context_batches(tokens, batch, labels)):
        sums, top = _step(tapped, sae, top, t, y, w, i * batch, n_labels)
        sums = jax.tree.map(lambda s: np.asarray(s, np.float64), sums)
        total = sums if total is None else jax.tree.map(np.add, total, sums)
        advance(int(w.sum()))
    top = jax.tree.map(np.asarray, top)
    n, per_label = float(total["tokens"]), total["label_tokens"]
    if not n:
        raise BadInput(f"scan was given no tokens but BOS ({tapped.bos}): expected others, at which features are read")
    return FeatureStatistics(
        density=total["fired"] / n,
        top_value=top["value"],
        top_context=top["context"],
        top_position=top["position"],
        feature_correlation=label_correlation(total["features"], per_label, n),
        neuron_correlation=label_correlation(total["neurons"], per_label, n),
        label_tokens=per_label,
        tokens=int(n),
    )


@functools.partial(jax.jit, static_argnames="n_labels")
def _step(
    tapped: TappedModel,
    sae: PublishedSAE,
    top: dict[str, jax.Array],
    tokens: jax.Array,
    labels: jax.Array,
    weight: jax.Array,
    first: jax.Array,
    n_labels: int,
) -> tuple[dict[str, Any], dict[str, jax.Array]]:
    """(sums over a batch of contexts whose first has the number `first`, the top contexts so far with these)."""
    x = tapped.rows(tokens)
    mask = ((tokens != tapped.bos) * weight[:, None])[..., None]
    f = sae.encode(x) * mask
    one_hot = (jax.nn.one_hot(labels, n_labels) * mask).reshape(-1, n_labels)
    sums = {
        "fired": jnp.sum(sae.active(f), axis=(0, 1), dtype=jnp.float32),
        "features": _moments(f, one_hot),
        "neurons": _moments(x * mask, one_hot),
        "label_tokens": jnp.sum(one_hot, axis=0),
        "tokens": jnp.sum(mask),
    }
    context = jnp.broadcast_to(first + jnp.arange(len(tokens))[:, None], (len(tokens), f.shape[-1]))
    candidates = {"value": jnp.max(f, axis=1), "context": context, "position": jnp.argmax(f, axis=1)}
    merged = {k: jnp.concatenate([top[k], candidates[k].T], axis=1) for k in top}
    value, at = jax.lax.top_k(merged["value"], top["value"].shape[1])
    return sums, {"value": value, **{k: jnp.take_along_axis(merged[k], at, 1) for k in ("context", "position")}}


def _moments(x: jax.Array, one_hot: jax.Array) -> dict[str, jax.Array]:
    """Sums over tokens of x [C,T,units], its square, and x within each label."""
    x = x.reshape(-1, x.shape[-1])
    return {"sum": jnp.sum(x, 0), "square": jnp.sum(jnp.square(x), 0), "by_label": one_hot.T @ x}


def label_correlation(moments: dict[str, np.ndarray], label_tokens: np.ndarray, n: float) -> np.ndarray:
    """[L,units] Pearson correlations, from Σx and Σx² over n tokens [units] and Σx over each label's tokens [L,units].

    Zero for a unit that never varies, NaN for a label that no token or every token has.
    """
    p = label_tokens / n
    covariance = moments["by_label"] / n - p[:, None] * moments["sum"] / n
    square = moments["square"] / n
    variance = square - (moments["sum"] / n) ** 2
    variance = np.where(variance > 1e-6 * square, variance, 0)  # less is rounding of fp32 sums
    spread = (
        np.sqrt(np.where(variance > 0, variance, np.inf))[None]
        * np.sqrt(np.where(p * (1 - p) > 0, p * (1 - p), np.nan))[:, None]
    )
    return covariance / spread


def category_table(
    labels: Sequence[str], chosen_on: FeatureStatistics, measured_on: FeatureStatistics
) -> list[Category]:
    """Per label the best feature and the best neuron, chosen on one text and measured on another.

    Sorted by falling correlation of the feature. A label that no token or every token of either text has is left out.
    """
    rows = []
    for i, label in enumerate(labels):
        correlations = [c[i] for s in (chosen_on, measured_on) for c in (s.feature_correlation, s.neuron_correlation)]
        if not label or any(np.isnan(c).any() for c in correlations):
            continue
        feature = int(np.argmax(chosen_on.feature_correlation[i]))
        neuron = int(np.argmax(chosen_on.neuron_correlation[i]))
        rows.append(
            Category(
                label=label,
                tokens=int(measured_on.label_tokens[i]),
                feature=feature,
                feature_correlation=float(measured_on.feature_correlation[i, feature]),
                neuron=neuron,
                neuron_correlation=float(measured_on.neuron_correlation[i, neuron]),
            )
        )
    return sorted(rows, key=lambda c: -c.feature_correlation)
