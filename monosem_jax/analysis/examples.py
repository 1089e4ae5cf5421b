"""Records of single features: their top contexts with activations, and their strongest logit effects."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from monosem_jax.analysis.scan import FeatureStatistics
from monosem_jax.models.base import LanguageModel
from monosem_jax.text.batches import context_batches

BEFORE, AFTER = 20, 12  # tokens shown before and after the strongest


def choose_features(scan: FeatureStatistics, first: list[int], n: int, seed: int) -> list[int]:
    """The given features, then alive ones at random until there are `n`."""
    alive = np.random.default_rng(seed).permutation(np.flatnonzero(scan.top_value[:, 0] > 0))
    order = dict.fromkeys([*first, *(int(i) for i in alive)])
    return list(order)[: max(n, len(dict.fromkeys(first)))]


def example_records(
    model: LanguageModel,
    params: Any,
    sae: Any,
    sae_params: Any,
    tokens: np.ndarray,
    found: FeatureStatistics,
    features: list[int],
    *,
    site: str,
    bos: int,
    batch: int,
    n_examples: int = 8,
) -> dict[int, list[dict[str, Any]]]:
    """For each feature its top examples: windows around its strongest token in different contexts.

    An example is {"context", "position", "peak", "tokens", "activations"}; `peak` is the index within the window.
    """
    wanted = np.unique(found.top_context[features, :n_examples])

    @jax.jit
    def activations(params, sae_params, tokens):
        _, x = model.apply({"params": params}, tokens, site, method=model.to_acts)
        return sae.apply({"params": sae_params}, sae.inputs(x), method=sae.encode)[..., np.asarray(features)]

    parts = [np.asarray(activations(params, sae_params, t)) for t, _ in context_batches(tokens[wanted], batch)]
    f = np.concatenate(parts)[: len(wanted)] * (np.asarray(tokens[wanted]) != bos)[..., None]
    row = {int(c): i for i, c in enumerate(wanted)}
    records = {}
    for j, feature in enumerate(features):
        examples = []
        for rank in range(n_examples):
            if found.top_value[feature, rank] <= 0:
                break
            context, peak = int(found.top_context[feature, rank]), int(found.top_position[feature, rank])
            low, high = max(peak - BEFORE, 0), min(peak + AFTER + 1, tokens.shape[1])
            examples.append(
                {
                    "context": context,
                    "position": peak,
                    "peak": peak - low,
                    "tokens": [int(t) for t in tokens[context, low:high]],
                    "activations": [round(float(a), 5) for a in f[row[context], low:high, j]],
                }
            )
        records[feature] = examples
    return records
