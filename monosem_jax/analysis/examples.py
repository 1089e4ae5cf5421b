"""The contexts in which features fire most strongly, as windows around the strongest token."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from monosem_jax.analysis.label_scan import FeatureStatistics
from monosem_jax.analysis.records import Example
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.rng import stream
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.text.batches import context_batches
from monosem_jax.text.directory import Source, Text
from monosem_jax.text.shown import token_strings

BEFORE, AFTER = 20, 12  # tokens shown before and after the strongest


@dataclasses.dataclass(frozen=True)
class ExampleText:
    """Text that examples are taken from: `tokens` [C,T], the number of each token's document [C,T], the text of every
    token of the vocabulary, and the source of every document."""

    tokens: np.ndarray
    documents: np.ndarray
    strings: Sequence[str]
    sources: Sequence[Source]

    @classmethod
    def of(cls, text: Text, split: str) -> ExampleText:
        """A split of a text directory."""
        return cls(text.tokens(split), text.documents(split), token_strings(text.tokenizer), text.sources)

    def window(self, context: int, position: int, activations: np.ndarray) -> Example:
        """The tokens around a position of a context; `activations` [T] are those of the whole context."""
        low, high = max(position - BEFORE, 0), min(position + AFTER + 1, self.tokens.shape[1])
        source = self.sources[int(self.documents[context, position])]
        return Example(
            context=context,
            position=position,
            peak=position - low,
            tokens=tuple(self.strings[int(t)] for t in self.tokens[context, low:high]),
            activations=tuple(round(float(a), 5) for a in activations[low:high]),
            origin=source.origin,
            label=source.label,
        )


def choose_features(scan: FeatureStatistics, first: Sequence[int], n: int, seed: int) -> list[int]:
    """The features `first`, then alive ones at random until there are `n`."""
    alive = stream("analyze.features", seed).permutation(np.flatnonzero(scan.top_value[:, 0] > 0))
    order = dict.fromkeys([*first, *(int(i) for i in alive)])
    return list(order)[: max(n, len(dict.fromkeys(first)))]


@pinned()
def top_examples(
    tapped: TappedModel,
    sae: PublishedSAE,
    text: ExampleText,
    found: FeatureStatistics,
    features: Sequence[int],
    *,
    batch: int,
    n_examples: int = 8,
) -> dict[int, tuple[Example, ...]]:
    """For each feature its top examples in the text that `found` is a scan of, strongest first.

    Each comes from another context. A feature that fired in fewer than `n_examples` contexts has fewer.
    """
    chosen = np.unique(found.top_context[features, :n_examples])
    tapped, columns = tapped.on(None), np.asarray(features)
    parts = [np.asarray(_activations(tapped, sae, columns, t)) for t, _ in context_batches(text.tokens[chosen], batch)]
    f = np.concatenate(parts)[: len(chosen)] * (np.asarray(text.tokens[chosen]) != tapped.bos)[..., None]
    row = {int(c): i for i, c in enumerate(chosen)}
    examples = {}
    for j, feature in enumerate(features):
        n = int(np.sum(found.top_value[feature, :n_examples] > 0))  # values fall
        places = [(int(found.top_context[feature, r]), int(found.top_position[feature, r])) for r in range(n)]
        examples[feature] = tuple(text.window(c, position, f[row[c], :, j]) for c, position in places)
    return examples


@jax.jit
def _activations(tapped: TappedModel, sae: PublishedSAE, features: jax.Array, tokens: jax.Array) -> jax.Array:
    """[C,T,n] the activations of n features."""
    return sae.encode(tapped.rows(tokens))[..., features]
