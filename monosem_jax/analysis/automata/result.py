"""What is reported of automata: plain values, as `automata.json` has them."""

from __future__ import annotations

import dataclasses
from typing import Any

from monosem_jax.analysis.automata.causal import Check
from monosem_jax.analysis.automata.choice import KindCount


@dataclasses.dataclass(frozen=True)
class Node:
    """A feature: on which tokens it fires most often [token, share of its firings], the largest logit weights [token,
    weight], and a label if one is known ("": none)."""

    feature: int
    density: float
    maximum: float
    tokens: tuple[tuple[str, float], ...]
    logits: tuple[tuple[str, float], ...]
    label: str


@dataclasses.dataclass(frozen=True)
class Edge:
    """A step from `source` to `target`: `weight` nats, the firing rates `rate` and `base` from which it comes, and the
    `token` that contributes most (see `feature_graph`).

    In held-out text the two fire one after the other `joint` times, `lift` times as often as if they were independent,
    and `lift_apart` times as often at a distance, where they only share a topic (None: one never fires). `check` is
    what happens when the source is held.
    """

    source: int
    target: int
    weight: float
    rate: float
    base: float
    token: str
    joint: int
    lift: float | None
    lift_apart: float | None
    check: Check


@dataclasses.dataclass(frozen=True)
class Followed:
    """An automaton let loose after a prompt: its first feature was held for the first `held_tokens`
    tokens. `texts` is what was sampled,
    `fires` for each text and token the places in `nodes` of the features that fire; `running` the share of texts, by
    steps, in which some feature fires. `plain_running`, `plain_texts`: with the same random numbers, nothing held."""

    prompt: str
    held_tokens: int
    texts: tuple[str, ...]
    pieces: tuple[tuple[str, ...], ...]
    fires: tuple[tuple[tuple[int, ...], ...], ...]
    running: tuple[float, ...]
    plain_texts: tuple[str, ...]
    plain_running: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Automaton:
    """An automaton of a `kind` (see `search`): `score` in nats, the smallest weight of its edges; `expected`: how many
    of the kind with that score a graph with shuffled edges has; `false_share`: of all that score as high, the share
    found by chance. `confirmed`: every edge is."""

    kind: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    score: float
    expected: float
    false_share: float
    confirmed: bool
    followed: Followed | None


@dataclasses.dataclass(frozen=True)
class Automata:
    """The automata of a set: `edges` of the graph; `kinds` what there is beside chance; `confirmed` how many automata
    are.

    Two kinds of edges that the graph does not have are checked in the same way, to the same targets:
    `random_confirmed` of `random_checked` from random features, and `crossed_confirmed` of `crossed_checked` from the
    sources of other edges, which are often of the same script. `agreement`: the share of the checked edges whose
    features follow each other in held-out text more often than they share a topic, `confirmed_agreement` of the
    confirmed ones (None: there are none).
    """

    set: str
    n_features: int
    edges: int
    kinds: tuple[KindCount, ...]
    automata: tuple[Automaton, ...]
    checked_edges: int
    confirmed_edges: int
    random_checked: int
    random_confirmed: int
    crossed_checked: int
    crossed_confirmed: int
    agreement: float | None
    confirmed_agreement: float | None

    @property
    def confirmed(self) -> int:
        return sum(a.confirmed for a in self.automata)

    def table(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**dataclasses.asdict(self), "confirmed": self.confirmed}
