"""The default judge: neuron-to-graph (Foote et al. 2023, "Neuron to Graph"), without any other language model.

The examples of a feature become a trie of token patterns (see `pruning` and `token_graph`). It is the explanation, and
it predicts: where the longest matching pattern is known, its mean activation. What differs from the published method:
replacements come from the model's own nearest tokens instead of DistilBERT; a pattern's activation is the mean over
all tokens of the explanation examples that it matches, those without an activation too, so the examples "top token in
another context" count; a pattern that reaches beyond the left end of a window has a mean of its own,
over the tokens of the examples where no more of it could be seen.

A model knows no mask token. Here it is BOS: it occurs within contexts, between two documents, so the model has been
trained on text around it, and it says nothing about the words there.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from monosem_jax.analysis.autointerp.followers import belongs, followers
from monosem_jax.analysis.autointerp.probe import Probe
from monosem_jax.analysis.autointerp.protocol import KINDS, Refusal
from monosem_jax.analysis.autointerp.pruning import patterns_of
from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.targets import choose_targets
from monosem_jax.analysis.autointerp.token_graph import ANY, TokenGraph
from monosem_jax.analysis.autointerp.token_neighbours import TokenNeighbours
from monosem_jax.analysis.autointerp.windows import Excerpts, Text, quantised
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.records import Explanation
from monosem_jax.runtime.ambient import pinned

SHOWN = 12  # lines of the text
SHOWN_TOKENS = 8  # tokens in a line


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
        for p in patterns_of(targets, self.probe, self.neighbours, self.mask):
            owner = places[p.target, 0]
            level = quantised(targets.activation[p.target] * p.kept, samples[owner].maximum)
            graphs[owner].add(p.tokens, float(level))
        out: list[GraphExplanation | Refusal] = []
        for n, (s, graph) in enumerate(zip(samples, graphs, strict=True)):
            if not graph.root.children:
                out.append(Refusal("no example reaches a tenth of the feature's maximum"))
                continue
            weigh(graph, s, places[places[:, 0] == n, 1:])
            record = Explanation(self.name, written(graph, self.text.strings), graph.n_edges, "edges of the graph")
            out.append(GraphExplanation(graph, followers(s), record))
        return out

    def simulate(self, questions: Sequence[tuple[GraphExplanation, Excerpts]]) -> list[np.ndarray | Refusal]:
        """Where a pattern matches, its mean activation; elsewhere 0."""
        return [explained.graph.predict(windows.tokens) for explained, windows in questions]

    @pinned()
    def likely_next(self, questions: Sequence[tuple[GraphExplanation, np.ndarray]]) -> list[np.ndarray | Refusal]:
        """The half of the tokens that is most like those that follow the firing ones in the examples."""
        return [belongs(explained.next_tokens, tokens, self.neighbours) for explained, tokens in questions]


def weigh(graph: TokenGraph, samples: Samples, targets: np.ndarray) -> None:
    """Adds the tokens of the explanation examples to the means of the patterns that they match: of all patterns that go
    on to the left of their window, and of the best one otherwise, but for the `targets` [n,2] (window, column), which
    are in it."""
    levels = quantised(samples.explanation.activations, samples.maximum)
    windows = samples.explanation.tokens.tolist()
    places = np.argwhere(np.isin(samples.explanation.tokens, list(graph.root.children))).tolist()
    for i, j in places:
        for found in graph.fitting(windows[i], j):
            if not found.whole:
                found.mean.observe(float(levels[i, j]))
    known = set(map(tuple, targets.tolist()))
    best = [(graph.match(windows[i], j), levels[i, j]) for i, j in places if (i, j) not in known]
    for found, level in best:  # afterwards: which pattern is best depends on the means
        if found is not None and found.whole:
            found.mean.observe(float(level))


def written(graph: TokenGraph, strings: Sequence[str]) -> str:
    """The graph as text: a line for each context, with the tokens that fire after it and their mean activations, the
    strongest first."""
    by_context: dict[tuple[int, ...], list[tuple[float, int]]] = defaultdict(list)
    for pattern, node in graph.patterns():
        by_context[pattern[1:]].append((node.whole.value, pattern[0]))
    lines = []
    for context, tokens in by_context.items():
        tokens.sort(key=lambda found: (-found[0], found[1]))
        shown = " | ".join(f"{quoted(strings, t)} {level:.1f}" for level, t in tokens[:SHOWN_TOKENS])
        more = f" | {len(tokens) - SHOWN_TOKENS} more" if len(tokens) > SHOWN_TOKENS else ""
        before = " ".join("*" if t == ANY else quoted(strings, t) for t in reversed(context))
        total = sum(level for level, _ in tokens)
        lines.append((total, f"{before} → {shown}{more}" if before else f"{shown}{more}"))
    lines.sort(key=lambda line: (-line[0], line[1]))
    left = [f"and {len(lines) - SHOWN} contexts more"] if len(lines) > SHOWN else []
    return "\n".join([line for total, line in lines[:SHOWN] if total > 0] + left)


def quoted(strings: Sequence[str], token: int) -> str:
    """The text of a token in quotation marks, with control characters as JSON writes them."""
    return json.dumps(strings[token], ensure_ascii=False)
