"""The automata of a feature set: searched for on training text, compared with chance, and checked on held-out text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from monosem_jax.analysis.automata.causal import (
    Check,
    Firing,
    Sampler,
    check_edge,
    draw_prompts,
    firing_when_held,
)
from monosem_jax.analysis.automata.choice import Chosen, choose
from monosem_jax.analysis.automata.config import AutomataConfig
from monosem_jax.analysis.automata.graph import Graph, Weights, feature_graph
from monosem_jax.analysis.automata.rates import TokenRates, token_rates
from monosem_jax.analysis.automata.result import Automata, Automaton, Edge, Followed, Node
from monosem_jax.analysis.automata.transitions import Transitions, transitions
from monosem_jax.analysis.automata.walks import walk
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import stream

DEFAULT = AutomataConfig()
SHOWN = 8  # tokens and logits of a feature


@dataclasses.dataclass(frozen=True)
class Material:
    """What a search of one set needs.

    Args:
      training, heldout: contexts [C,T]; prompts and transitions are of the second.
      tokens: [n] the ids of the tokens that are not rare in `training`.
      weights: the logit weights of some features for `tokens`.
      gain: how much a logit rises per unit of weight and activation, one over the norm that the final normalisation
        divides by.
      sampler: draws texts while a feature is held.
      prompt: token ids, BOS first, after which confirmed automata are followed.
      strings: the text of every token of the vocabulary; `decode` gives that of several.
      labels: what is known of some features.
    """

    training: np.ndarray
    heldout: np.ndarray
    tokens: np.ndarray
    weights: Weights
    gain: float
    sampler: Sampler
    prompt: np.ndarray
    strings: Sequence[str]
    decode: Callable[[list[int]], str]
    labels: Mapping[int, str] = dataclasses.field(default_factory=dict)


@pinned()
def find_automata(
    features: FeatureSet,
    material: Material,
    config: AutomataConfig = DEFAULT,
    *,
    batch: int = 32,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Automata:
    """Searches, judges by shuffled graphs, checks by pinned sampling, and follows what is confirmed.

    Args:
      batch: contexts per forward pass.
      seed: decides the shuffled graphs, the prompts and the random features.
      say: is told what begins.

    Raises BadInput on an impossible configuration, on a gain that is not positive, and on
    too few held-out contexts to draw prompts from.
    """
    config.check()
    if not (np.isfinite(material.gain) and material.gain > 0):
        raise BadInput(f"automata of {features.name}: the gain is {material.gain}: expected a positive number")
    prompts = draw_prompts(material.heldout, features.tapped.bos, config.prompts, config.prompt_tokens, seed)
    say("firing rates by token")
    rates = token_rates(features, material.training, batch=batch)
    graph = feature_graph(
        rates, material.weights, rates.maximum * material.gain, material.tokens, per_feature=config.per_feature,
        least_firings=config.least_firings, least_weight=config.least_weight,
    )  # fmt: skip
    say(f"search of {len(graph)} edges")
    chosen, kinds = choose(
        graph, rates, looked_at=config.looked_at, most=config.most, largest_false_share=config.largest_false_share,
        alike=config.alike, shuffles=config.shuffles, seed=seed,
    )  # fmt: skip
    edges = np.unique(np.concatenate([c.edges.reshape(-1) for c in chosen] + [np.zeros(0, np.int64)]))
    empty = Automata(features.name, rates.n_features, len(graph), tuple(kinds), (), 0, 0, 0, 0, 0, 0, None, None)
    if not len(edges):
        return empty
    say(f"check of {len(edges)} edges")
    firing = _hold(features, material, rates, graph.part(edges), prompts, config, seed)
    source, target = graph.source[edges], graph.target[edges]
    checks = [check_edge(firing, int(i), int(j), config.least_effect) for i, j in zip(source, target, strict=True)]
    text = transitions(features, material.heldout, source, target, batch=batch)
    describe = _Describe(
        material, rates, graph, dict(zip(edges.tolist(), range(len(edges)), strict=True)), checks, text
    )
    found = []
    for each in chosen:
        for n in range(len(each)):
            automaton = describe.automaton(each, n)
            if automaton.confirmed and config.walk_texts:
                followed = _follow(features, material, each.nodes[n], rates, config)
                automaton = dataclasses.replace(automaton, followed=followed)
            found.append(automaton)
    beside = _without_edge(graph, firing, firing.random, np.unique(target), config)
    crossed = _without_edge(graph, firing, firing.features, np.unique(target), config)
    follows = [bool(a > b) for a, b in zip(text[0].lift, text[1].lift, strict=True)]
    told = [f for f, c in zip(follows, checks, strict=True) if c.confirmed]
    return dataclasses.replace(
        empty, automata=tuple(found), checked_edges=len(checks), confirmed_edges=sum(c.confirmed for c in checks),
        random_checked=len(beside), random_confirmed=sum(c.confirmed for c in beside),
        crossed_checked=len(crossed), crossed_confirmed=sum(c.confirmed for c in crossed),
        agreement=float(np.mean(follows)), confirmed_agreement=float(np.mean(told)) if told else None,
    )  # fmt: skip


def _without_edge(
    graph: Graph, firing: Firing, sources: np.ndarray, targets: np.ndarray, config: AutomataConfig
) -> list[Check]:
    """The checks of all pairs that the graph has no edge for."""
    i, j = (x.reshape(-1) for x in np.meshgrid(sources, targets, indexing="ij"))
    none = graph.find(i, j) < 0
    return [check_edge(firing, int(a), int(b), config.least_effect) for a, b in zip(i[none], j[none], strict=True)]


def _hold(
    features: FeatureSet, material: Material, rates: TokenRates, edges: Graph, prompts: np.ndarray,
    config: AutomataConfig, seed: int,
) -> Firing:  # fmt: skip
    """What fires when the sources of edges, and random features, are held."""
    nodes = np.union1d(edges.source, edges.target)
    others = np.setdiff1d(np.flatnonzero(rates.firings >= config.least_firings), nodes)
    random = stream("automata.random", seed).permutation(others)[: config.random]
    if not len(random):
        raise BadInput(f"automata of {features.name}: no other feature fires: expected some to compare with")
    held = np.unique(edges.source)
    return firing_when_held(
        features, material.sampler, prompts, held, np.sort(random), rates.maximum, nodes, samples=config.samples,
        n_tokens=config.held_tokens,
    )  # fmt: skip


def _follow(
    features: FeatureSet, material: Material, nodes: np.ndarray, rates: TokenRates, config: AutomataConfig
) -> Followed:
    """The texts of an automaton let loose."""
    maximum = float(rates.maximum[nodes[0]])
    w = walk(
        features, material.sampler, material.prompt, nodes, maximum, n_texts=config.walk_texts,
        n_held=config.held_tokens, n_tokens=config.walk_tokens,
    )  # fmt: skip
    new, plain = w.texts[:, w.n_prompt :], w.plain_texts[:, w.n_prompt :]
    return Followed(
        prompt=material.decode(material.prompt[1:].tolist()),
        held_tokens=config.held_tokens,
        texts=tuple(material.decode(t.tolist()) for t in new),
        pieces=tuple(tuple(material.strings[int(v)] for v in t) for t in new),
        fires=tuple(tuple(tuple(np.flatnonzero(f).tolist()) for f in text) for text in w.fires),
        running=tuple(w.running.tolist()),
        plain_texts=tuple(material.decode(t.tolist()) for t in plain),
        plain_running=tuple(w.plain_running.tolist()),
    )


@dataclasses.dataclass(frozen=True)
class _Describe:
    """From numbers to what is reported. `place`: of an edge's number among the checked ones."""

    material: Material
    rates: TokenRates
    graph: Graph
    place: Mapping[int, int]
    checks: Sequence[Check]
    text: tuple[Transitions, ...]

    def automaton(self, chosen: Chosen, n: int) -> Automaton:
        edges = tuple(self.edge(int(e)) for e in chosen.edges[n])
        nodes = tuple(self.node(int(i)) for i in chosen.nodes[n])
        return Automaton(
            kind=chosen.kind,
            nodes=nodes,
            edges=edges,
            score=float(chosen.score[n]),
            expected=float(chosen.expected[n]),
            false_share=float(chosen.false_share[n]),
            confirmed=all(e.check.confirmed for e in edges),
            followed=None,
        )

    def edge(self, e: int) -> Edge:
        g, i = self.graph, self.place[e]
        near, apart = self.text
        lift, apart_lift = (float(t.lift[i]) if np.isfinite(t.lift[i]) else None for t in (near, apart))
        return Edge(
            source=int(g.source[e]),
            target=int(g.target[e]),
            weight=float(g.weight[e]),
            rate=float(g.rate[e]),
            base=float(g.base[e]),
            token=self.material.strings[int(g.token[e])],
            joint=int(near.joint[i]),
            lift=lift,
            lift_apart=apart_lift,
            check=self.checks[i],
        )

    def node(self, i: int) -> Node:
        fired, strings = self.rates.fired[i], self.material.strings
        top = np.argsort(-fired, kind="stable")[:SHOWN]
        w = np.asarray(self.material.weights(np.asarray([i])))[0]
        up = np.argsort(-w, kind="stable")[:SHOWN]
        total = int(fired.sum())
        return Node(
            feature=i,
            density=total / self.rates.n_tokens,
            maximum=float(self.rates.maximum[i]),
            tokens=tuple((strings[int(v)], round(int(fired[v]) / total, 4)) for v in top if fired[v]),
            logits=tuple((strings[int(self.material.tokens[v])], round(float(w[v]), 4)) for v in up),
            label=self.material.labels.get(i, ""),
        )
