"""The judge that knows tokens but no context: the tokens on which a feature fires most, each with its mean."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from monosem_jax.analysis.autointerp.followers import belongs, followers
from monosem_jax.analysis.autointerp.graph_text import quoted
from monosem_jax.analysis.autointerp.protocol import KINDS, Refusal
from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.token_neighbours import TokenNeighbours
from monosem_jax.analysis.autointerp.windows import Excerpts, quantised
from monosem_jax.analysis.records import Explanation
from monosem_jax.runtime.ambient import pinned

MOST = 20  # tokens


@dataclasses.dataclass(frozen=True)
class TokenSetExplanation:
    """token → its mean activation from 0 to 9 over the examples, and the tokens that follow where the feature fires."""

    means: Mapping[int, float]
    next_tokens: Counter[int]
    record: Explanation


class TokenSet:
    """Predicts a token's mean activation over all its places in the explanation examples, 0 for other tokens than the
    MOST with the largest sum of activations."""

    name = "token_set"
    kinds = KINDS

    def __init__(self, strings: Sequence[str], neighbours: TokenNeighbours):
        self.strings = strings
        self.neighbours = neighbours

    def explain(self, samples: Sequence[Samples]) -> list[TokenSetExplanation | Refusal]:
        """The tokens of each feature, from those of the highest mean on."""
        return [self._explained(s) for s in samples]

    def _explained(self, s: Samples) -> TokenSetExplanation | Refusal:
        means = token_means(s, MOST)
        if not means:
            return Refusal("no example reaches a tenth of the feature's maximum")
        text = " | ".join(f"{quoted(self.strings, t)} {mean:.1f}" for t, mean in means.items())
        return TokenSetExplanation(means, followers(s), Explanation(self.name, text, len(means), "tokens"))

    def simulate(self, questions: Sequence[tuple[TokenSetExplanation, Excerpts]]) -> list[np.ndarray | Refusal]:
        """Each token's mean activation, as a whole number."""
        return [np.floor(looked_up(explained.means, windows.tokens) + 0.5) for explained, windows in questions]

    @pinned()
    def likely_next(self, questions: Sequence[tuple[TokenSetExplanation, np.ndarray]]) -> list[np.ndarray | Refusal]:
        """The half of the tokens that is most like those that follow the firing ones in the examples."""
        return [belongs(explained.next_tokens, tokens, self.neighbours) for explained, tokens in questions]


def token_means(s: Samples, most: int) -> dict[int, float]:
    """The `most` tokens with the largest sum of activations in the explanation examples, with their means over all
    their places there, in falling order of the mean."""
    levels = quantised(s.explanation.activations, s.maximum).ravel()
    ids, index = np.unique(s.explanation.tokens.ravel(), return_inverse=True)
    total, count = np.bincount(index, levels), np.bincount(index)
    chosen = np.argsort(-total, kind="stable")[:most]
    chosen = chosen[total[chosen] > 0]
    order = sorted(chosen, key=lambda i: (-total[i] / count[i], ids[i]))
    return {int(ids[i]): float(total[i] / count[i]) for i in order}


def looked_up(means: Mapping[int, float], tokens: np.ndarray) -> np.ndarray:
    """[n,w] the means of tokens, 0 for those that are not among them."""
    ids, index = np.unique(tokens, return_inverse=True)
    return np.asarray([means.get(int(t), 0.0) for t in ids])[index.reshape(tokens.shape)]
