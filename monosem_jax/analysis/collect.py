"""Records of features, put together from the kinds of evidence about each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monosem_jax.analysis.examples import ExampleText, top_examples
from monosem_jax.analysis.label_scan import FeatureStatistics
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.analysis.records import Category, Feature
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.sae.published import PublishedSAE

N_LOGITS = 10
# A token seen less often than this in training has an unembedding that hardly moved: its logit weights say little.
COMMON_TOKEN = 20


def common_tokens(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """The ids of the tokens that occur at least COMMON_TOKEN times in `tokens`."""
    return np.flatnonzero(np.bincount(np.asarray(tokens).ravel(), minlength=vocab_size) >= COMMON_TOKEN)


@pinned()
def collect_features(
    tapped: TappedModel,
    sae: PublishedSAE,
    text: ExampleText,
    heldout: FeatureStatistics,
    categories: Sequence[Category],
    features: Sequence[int],
    *,
    common: np.ndarray,
    batch: int,
    n_examples: int,
) -> list[Feature]:
    """The records of `features`, measured on the held-out `text`.

    Args:
      heldout: the scan of that text.
      common: ids of the tokens among which the largest and smallest logit weights are looked for.
      batch: contexts per batch.
    """
    best_of = {c.feature: c for c in reversed(categories)}  # of several categories, the one with the best correlation
    examples = top_examples(tapped, sae, text, heldout, features, batch=batch, n_examples=n_examples)
    site, columns = tapped.replaced_by(sae.width_out)[-1]
    effects = logit_weights(tapped, site, np.asarray(sae.params["W_dec"])[features][:, columns])
    records = []
    for feature, effect in zip(features, effects, strict=True):
        order = [int(t) for t in common[np.argsort(effect[common])]]
        category = best_of.get(feature)
        records.append(
            Feature(
                feature=feature,
                density=float(heldout.density[feature]),
                largest=float(heldout.top_value[feature, 0]),
                label=category.label if category else None,
                label_correlation=category.feature_correlation if category else None,
                top_logits=tuple((text.strings[t], round(float(effect[t]), 4)) for t in order[::-1][:N_LOGITS]),
                bottom_logits=tuple((text.strings[t], round(float(effect[t]), 4)) for t in order[:N_LOGITS]),
                examples=examples[feature],
            )
        )
    return records
