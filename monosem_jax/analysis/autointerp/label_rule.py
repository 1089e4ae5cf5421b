"""The judge that knows which kind of document a feature likes: a label of the text, and the feature's top tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from monosem_jax.analysis.autointerp.graph_text import quoted
from monosem_jax.analysis.autointerp.protocol import KINDS, Refusal
from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.token_set import token_means
from monosem_jax.analysis.autointerp.windows import Excerpts, Text, quantised
from monosem_jax.analysis.records import Explanation

MOST = 5  # tokens named in the text
CHUNK = 4096  # contexts


@dataclasses.dataclass(frozen=True)
class LabelExplanation:
    """A label, and the mean activation from 0 to 9 in documents of it and in others."""

    label: str
    inside: float
    outside: float
    record: Explanation


class LabelRule:
    """The label with the largest lift: its share of the activation in the explanation examples by its share of the
    tokens of the text. Predicts the mean activation in windows from its documents, and the mean elsewhere.

    It is told the label of a window's document, which is more than an explanation by a reader of 9 tokens can use.
    """

    name = "label_rule"
    kinds = KINDS

    def __init__(self, text: Text):
        self.strings = text.strings
        self.share = label_shares(text)

    def explain(self, samples: Sequence[Samples]) -> list[LabelExplanation | Refusal]:
        """The label of each feature; a text without labels gives refusals."""
        return [self._explained(s) for s in samples]

    def _explained(self, s: Samples) -> LabelExplanation | Refusal:
        mass = quantised(s.explanation.activations, s.maximum).sum(axis=1)
        labels = np.asarray(s.explanation.labels)
        known = sorted(set(labels.tolist()) - {""})
        if not known or not mass.sum():
            return Refusal("no example lies in a document with a label" if mass.sum() else "the examples are all 0")
        lift = {x: mass[labels == x].sum() / mass.sum() / self.share[x] for x in known}
        best = max(known, key=lambda x: lift[x])
        width = s.explanation.tokens.shape[1]
        inside, outside = (
            float(mass[at].mean()) / width if at.any() else 0.0 for at in (labels == best, labels != best)
        )
        tokens = ", ".join(quoted(self.strings, t) for t in token_means(s, MOST))
        text = f"text of the kind {best!r} (lift {lift[best]:.1f}); top tokens {tokens}"
        return LabelExplanation(best, inside, outside, Explanation(self.name, text, 1, "labels"))

    def simulate(self, questions: Sequence[tuple[LabelExplanation, Excerpts]]) -> list[np.ndarray | Refusal]:
        """The same number for all tokens of a window."""
        return [self._predicted(explained, windows) for explained, windows in questions]

    def _predicted(self, explained: LabelExplanation, windows: Excerpts) -> np.ndarray:
        within = np.asarray([label == explained.label for label in windows.labels])[:, None]
        return np.broadcast_to(np.where(within, explained.inside, explained.outside), windows.tokens.shape)


def label_shares(text: Text) -> dict[str, float]:
    """label → the share of the text's tokens in documents of it."""
    per_document = np.zeros(len(text.sources), np.int64)
    for first in range(0, len(text.documents), CHUNK):
        own = np.asarray(text.documents[first : first + CHUNK]).ravel()
        per_document += np.bincount(own, minlength=len(per_document))
    per_label: dict[str, int] = {}
    for source, n in zip(text.sources, per_document.tolist(), strict=True):
        per_label[source.label] = per_label.get(source.label, 0) + n
    return {label: n / int(per_document.sum()) for label, n in per_label.items()}
