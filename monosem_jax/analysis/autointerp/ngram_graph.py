"""The default judge: neuron-to-graph (Foote et al. 2023, "Neuron to Graph"), without any other language model.

The examples of a feature become a trie of token patterns (see `pruning` and `token_graph`). It is the explanation, and
it predicts: where the longest known pattern matches, its mean activation. What differs from the published method:

- Replacements are the model's own nearest tokens instead of DistilBERT's, and a pattern may end in "any token".
- A pattern's activation is the mean over all tokens of the explanation examples that it matches, silent ones included:
  so the examples of a feature's tokens in other contexts count.
- A pattern that goes on to the left of a window has a mean of its own, over the tokens of the examples where no more of
  it could be seen; so has a token that stands in none of its known contexts.

A model knows no mask token. Here it is BOS: it occurs within contexts, between two documents, so the model has been
trained on text around it, and it says nothing about the words there.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from monosem_jax.analysis.autointerp.followers import belongs, followers
from monosem_jax.analysis.autointerp.graph_text import written
from monosem_jax.analysis.autointerp.probe import Probe
from monosem_jax.analysis.autointerp.protocol import KINDS, Refusal
from monosem_jax.analysis.autointerp.pruning import patterns_of
from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.targets import choose_targets
from monosem_jax.analysis.autointerp.token_graph import TokenGraph
from monosem_jax.analysis.autointerp.token_neighbours import TokenNeighbours
from monosem_jax.analysis.autointerp.windows import KINDS as KINDS_OF_WINDOWS
from monosem_jax.analysis.autointerp.windows import Excerpts, Text, quantised
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.records import Explanation
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.rng import stream


@dataclasses.dataclass(frozen=True)
class GraphExplanation:
    """A trie of patterns, and the tokens that follow those on which the feature fires in the examples."""

    graph: TokenGraph
    next_tokens: Counter[int]
    record: Explanation


class NgramGraph:
    """The judge for the features of one set. `mask`: the token that stands for "any other" (None: BOS)."""

    name = "ngram_graph"
    kinds = KINDS

    def __init__(self, features: FeatureSet, text: Text, *, mask: int | None = None, batch: int = 512):
        self.text = text
        self.bos = features.tapped.bos
        self.mask = self.bos if mask is None else mask
        self.probe = Probe(features, batch)
        self.neighbours = TokenNeighbours(self.probe)

    @pinned()
    def explain(self, samples: Sequence[Samples]) -> list[GraphExplanation | Refusal]:
        """One graph for each feature; a feature that reaches 1 of 9 in no example is refused."""
        targets, places = choose_targets(samples, self.text.tokens, self.bos)
        graphs = [TokenGraph() for _ in samples]
        others = random_tokens(samples, self.bos)
        contexts: list[set[tuple[int, ...]]] = [set() for _ in samples]
        for p in patterns_of(targets, self.probe, self.neighbours, self.mask, others):
            owner = places[p.target, 0]
            level = quantised(targets.activation[p.target] * p.kept, samples[owner].maximum)
            graphs[owner].add(p.tokens, float(level), p.target)
            if p.original:
                contexts[owner].add(p.tokens[1:])
        out: list[GraphExplanation | Refusal] = []
        for n, (s, graph) in enumerate(zip(samples, graphs, strict=True)):
            if not graph.root.children:
                out.append(Refusal("no example reaches a tenth of the feature's maximum"))
                continue
            weigh(graph, s, {(i, j): k for k, (owner, i, j) in enumerate(places.tolist()) if owner == n})
            record = Explanation(
                self.name, written(graph, contexts[n], self.text.strings), graph.n_edges, "edges of the graph"
            )
            out.append(GraphExplanation(graph, followers(s), record))
        return out

    def simulate(self, questions: Sequence[tuple[GraphExplanation, Excerpts]]) -> list[np.ndarray | Refusal]:
        """Where a pattern matches, its mean activation; elsewhere 0."""
        return [explained.graph.predict(windows.tokens) for explained, windows in questions]

    @pinned()
    def likely_next(self, questions: Sequence[tuple[GraphExplanation, np.ndarray]]) -> list[np.ndarray | Refusal]:
        """The half of the tokens that is most like those that follow the firing ones in the examples."""
        return [belongs(explained.next_tokens, tokens, self.neighbours) for explained, tokens in questions]


def weigh(graph: TokenGraph, samples: Samples, sources: Mapping[tuple[int, int], int]) -> None:
    """Adds the tokens of the explanation examples to the means of what fits them.

    Those are all patterns that go on to the left of the window; the best whole pattern, unless the token is already in
    its mean (`sources`: (window, column) → number of a target); and where no pattern fits but those that come from this
    very token, the mean of the token in other contexts.
    """
    levels = quantised(samples.explanation.activations, samples.maximum)
    windows = samples.explanation.tokens.tolist()
    places = graph.known(samples.explanation.tokens).tolist()
    for i, j in places:
        for fitting in graph.fitting(windows[i], j):
            if not fitting.whole:
                fitting.mean.observe(float(levels[i, j]))
    best = []
    for i, j in places:
        own = sources.get((i, j), -1)
        best.append((graph.match(windows[i], j, without=own), own, windows[i][j], float(levels[i, j])))
    for found, own, token, level in best:  # afterwards: which pattern is best depends on the means
        if found is None and token in graph.root.children:
            graph.root.children[token].other.observe(level)
        elif found is not None and found.whole and own < 0:
            found.mean.observe(level)


def random_tokens(samples: Sequence[Samples], bos: int, n: int = 8) -> np.ndarray:
    """`n` tokens drawn from the random windows among the examples, the same for all features."""
    kind = KINDS_OF_WINDOWS.index("random")
    seen = [s.explanation.tokens[s.explanation.kind == kind].ravel() for s in samples]
    pool = np.concatenate([np.zeros(0, np.int32), *seen])
    pool = pool[pool != bos]
    return stream("autointerp.any_token").choice(pool, n) if len(pool) else pool
