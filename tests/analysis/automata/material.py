"""The planted model with automata: two features that take turns, and one that excites itself.

The tokens SINGLES[0] and SINGLES[1] excite a feature each, A and B; what A adds to the logits is SINGLES[1], what B
adds SINGLES[0]. The feature `blurred` fires on the tokens DNA and raises them.
"""

from __future__ import annotations

import functools

import numpy as np

from monosem_jax.analysis.automata.config import AutomataConfig
from monosem_jax.analysis.automata.entry import Material
from monosem_jax.analysis.effects.sampling import sample
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.logit_weights import logit_weights
from tests import planted

A, B, LOOP = 6, 7, planted.BLURRED_FEATURE
TRAINING, HELDOUT = (planted.documents(120, seed)[0] for seed in (11, 12))
# In a graph of ten edges chance finds something more often than in one of thousands.
CONFIG = AutomataConfig(
    largest_false_share=0.6, shuffles=50, prompts=16, prompt_tokens=4, held_tokens=3, random=3, walk_texts=3,
    walk_tokens=8, least_firings=5,
)  # fmt: skip


@functools.cache
def features() -> FeatureSet:
    """The set whose features A and B take turns."""
    before = planted.TARGETS
    targets = list(before)
    targets[A], targets[B] = [planted.SINGLES[1]], [planted.SINGLES[0]]
    planted.TARGETS = tuple(targets)
    try:
        return planted._with(planted.params(), "features").features
    finally:
        planted.TARGETS = before


def material(of: FeatureSet) -> Material:
    tokens = np.arange(1, planted.V)
    tokens = tokens[np.bincount(TRAINING.ravel(), minlength=planted.V)[tokens] > 0]

    def weights(rows: np.ndarray) -> np.ndarray:
        return logit_weights(of.tapped, of.effect_site[0], of.directions[rows], tokens)

    return Material(
        TRAINING, HELDOUT, tokens, weights, 1.0, functools.partial(sample, of), np.asarray([planted.BOS, 40, 41]),
        planted.WORDS, lambda ids: " ".join(planted.WORDS[i] for i in ids),
    )  # fmt: skip
