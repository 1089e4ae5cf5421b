"""One pass over text for all features at once: densities, label correlations, top contexts."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.models.base import LanguageModel
from monosem_jax.text.batches import context_batches


@dataclasses.dataclass(frozen=True)
class FeatureStatistics:
    """What a pass found. Units are features of the dictionary (`features`) or neurons of the site (`neurons`).

    `density` [F]; `top_value`, `top_context`, `top_position` [F,k]: a feature's contexts by their largest
    activation, best first; `feature_correlation` [L,F], `neuron_correlation` [L,M]: Pearson correlation of the
    activation with "this token lies in a document of the label", NaN for labels without tokens; `label_tokens` [L].
    """

    density: np.ndarray
    top_value: np.ndarray
    top_context: np.ndarray
    top_position: np.ndarray
    feature_correlation: np.ndarray
    neuron_correlation: np.ndarray
    label_tokens: np.ndarray
    tokens: int


def scan(
    model: LanguageModel,
    params: Any,
    sae: Any,
    sae_params: Any,
    tokens: np.ndarray,
    labels: np.ndarray,
    *,
    n_labels: int,
    bos: int,
    site: str,
    batch: int,
    n_top: int = 16,
    advance: Any = lambda n: None,
) -> FeatureStatistics:
    """Reads contexts [C,T] whose tokens carry the labels [C,T] (numbers below `n_labels`, -1 for none)."""

    def moments(x, one_hot):
        return {"sum": jnp.sum(x, 0), "square": jnp.sum(jnp.square(x), 0), "by_label": one_hot.T @ x}

    @jax.jit
    def step(params, sae_params, top, tokens, labels, weight, first):
        _, x = model.apply({"params": params}, tokens, site, method=model.to_acts)
        mask = ((tokens != bos) * weight[:, None])[..., None]
        f = sae.apply({"params": sae_params}, sae.inputs(x), method=sae.encode) * mask
        one_hot = (jax.nn.one_hot(labels, n_labels) * mask).reshape(-1, n_labels)
        flat = lambda a: a.reshape(-1, a.shape[-1])  # noqa: E731
        sums = {
            "fired": jnp.sum(sae.active(f), axis=(0, 1), dtype=jnp.float32),
            "features": moments(flat(f), one_hot),
            "neurons": moments(flat(x * mask), one_hot),
            "label_tokens": jnp.sum(one_hot, axis=0),
            "tokens": jnp.sum(mask),
        }
        context = jnp.broadcast_to(first + jnp.arange(len(tokens))[:, None], (len(tokens), f.shape[-1]))
        candidates = {"value": jnp.max(f, axis=1), "context": context, "position": jnp.argmax(f, axis=1)}
        merged = {k: jnp.concatenate([top[k], candidates[k].T], axis=1) for k in top}
        value, at = jax.lax.top_k(merged["value"], n_top)
        return sums, {"value": value, **{k: jnp.take_along_axis(merged[k], at, 1) for k in ("context", "position")}}

    n_features = sae_params["b_enc"].shape[0]
    shape = (n_features, n_top)
    top = {"value": jnp.zeros(shape), "context": jnp.zeros(shape, jnp.int32), "position": jnp.zeros(shape, jnp.int32)}
    total: Any = None
    for i, (t, y, w) in enumerate(context_batches(tokens, batch, labels)):
        sums, top = step(params, sae_params, top, t, y, w, i * batch)
        sums = jax.tree.map(lambda s: np.asarray(s, np.float64), sums)
        total = sums if total is None else jax.tree.map(np.add, total, sums)
        advance(int(w.sum()))
    top = jax.tree.map(np.asarray, top)
    n, per_label = float(total["tokens"]), total["label_tokens"]
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


def label_correlation(moments: dict[str, np.ndarray], label_tokens: np.ndarray, n: float) -> np.ndarray:
    """[L,units] Pearson correlations from sums over n tokens: Σx, Σx² [units], Σx over each label's tokens [L,units].

    Zero for a unit that never varies, NaN for a label that no token or every token has.
    """
    p = label_tokens / n
    covariance = moments["by_label"] / n - p[:, None] * moments["sum"] / n
    square = moments["square"] / n
    variance = square - (moments["sum"] / n) ** 2
    variance = np.where(variance > 1e-6 * square, variance, 0)  # below that it is the rounding of fp32 sums
    spread = (
        np.sqrt(np.where(variance > 0, variance, np.inf))[None]
        * np.sqrt(np.where(p * (1 - p) > 0, p * (1 - p), np.nan))[:, None]
    )
    return covariance / spread


def category_table(
    labels: list[str], chosen_on: FeatureStatistics, measured_on: FeatureStatistics
) -> list[dict[str, Any]]:
    """Per label the best feature and the best neuron, chosen on one text and measured on another.

    Labels with tokens in both only, by falling correlation of the feature.
    """
    rows = []
    for i, label in enumerate(labels):
        correlations = [c[i] for s in (chosen_on, measured_on) for c in (s.feature_correlation, s.neuron_correlation)]
        if not label or any(np.isnan(c).any() for c in correlations):  # no token has it, or every token
            continue
        feature = int(np.argmax(chosen_on.feature_correlation[i]))
        neuron = int(np.argmax(chosen_on.neuron_correlation[i]))
        rows.append(
            {
                "label": label,
                "tokens": int(measured_on.label_tokens[i]),
                "feature": feature,
                "feature_correlation": float(measured_on.feature_correlation[i, feature]),
                "neuron": neuron,
                "neuron_correlation": float(measured_on.neuron_correlation[i, neuron]),
            }
        )
    return sorted(rows, key=lambda r: -r["feature_correlation"])
