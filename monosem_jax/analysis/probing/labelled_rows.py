"""Balanced rows of a feature set with and without a concept: what probes and trees are fitted on and measured on.

A concept is a label of documents, whose rows are means over the tokens of one document within one context (at least
LEAST_WINDOW of them), or a proxy, whose rows are single tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.probing.sparse_rows import SparseRows
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.rng import stream

LEAST_WINDOW = 16  # tokens of a document in a context
LEAST_ROWS = 25  # rows with the concept, and as many without: fewer, in either text, and the concept is a gap
PER_CONTEXT = 8  # tokens of one proxy that are taken from one context
LOOKED_AT = 1 << 19  # tokens of a text among which rows are looked for
TOGETHER = 16  # neighbouring contexts that are looked at together
MANY = 1 << 25  # activations in memory at a time
LABEL, PROXY = "label", "proxy"


class TokenProxies(Protocol):
    """Numbers per token, positive where a proxy holds."""

    @property
    def names(self) -> tuple[str, ...]: ...
    def values(self, first_context: int, stop_context: int) -> np.ndarray:
        """[P,n,T] on some contexts."""
        ...


@dataclasses.dataclass(frozen=True)
class Concept:
    """What rows have or have not: `kind` is LABEL or PROXY."""

    name: str
    kind: str


@dataclasses.dataclass(frozen=True)
class Picks:
    """The numbers of the rows with a concept, and of as many without."""

    positive: np.ndarray
    negative: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        return np.concatenate([self.positive, self.negative])

    @property
    def truth(self) -> np.ndarray:
        """[n] bool of `rows`."""
        return np.repeat([True, False], [len(self.positive), len(self.negative)])


@dataclasses.dataclass(frozen=True)
class RowPlan:
    """Which rows of a text are read: `windows` [W,3] (place in `contexts`, first position, one behind the last) and
    `places` [R,2] (place in `contexts`, position) of the contexts `tokens` [n,T]; the rows of each concept."""

    tokens: np.ndarray
    windows: np.ndarray
    places: np.ndarray
    picks: Mapping[Concept, Picks]


@dataclasses.dataclass(frozen=True)
class LabelledRows:
    """The rows of a plan, of one feature set: means over windows, and single tokens."""

    windows: SparseRows
    places: SparseRows
    picks: Mapping[Concept, Picks]

    def of(self, concept: Concept) -> tuple[SparseRows, Picks]:
        """The rows that a concept's picks number, and its picks."""
        return (self.windows if concept.kind == LABEL else self.places), self.picks[concept]


@pinned()
def plan_rows(
    tokens: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    proxies: TokenProxies | None,
    *,
    bos: int,
    rows: int = 200,
    contexts: int = 1024,
    seed: int = 0,
) -> RowPlan:
    """Chooses rows of contexts [C,T] whose tokens have the labels [C,T] (numbers in `names`, -1: none).

    Up to `rows` with each concept and as many without, from at most `contexts` contexts; a concept with fewer than
    LEAST_ROWS has no picks. Rows without a label are of the other labels in equal parts, as far as there are enough;
    rows without a proxy are drawn from all tokens read.
    """
    rng = stream("labelled_rows", seed)
    looked = _looked_at(len(tokens), tokens.shape[1], rng)
    holds = _proxy_marks(proxies, looked, tokens, bos)  # [P,n,T]
    windows = _windows(np.asarray(tokens[looked]), np.asarray(labels[looked]), bos)
    chosen = _contexts(windows, holds, len(names), rows, contexts, rng)
    place = np.full(len(looked), -1)
    place[chosen] = np.arange(len(chosen))
    windows = windows[place[windows[:, 0]] >= 0]
    windows[:, 0] = place[windows[:, 0]]
    picks = _label_picks(windows[:, 3], names, rows, rng)
    places, proxy_picks = _proxy_picks(proxies, holds[:, chosen], tokens[looked[chosen]] != bos, rows, rng)
    return RowPlan(np.asarray(tokens[looked[chosen]]), windows[:, :3], places, {**picks, **proxy_picks})


@pinned()
def read_rows(features: FeatureSet, plan: RowPlan, *, batch: int = 32) -> LabelledRows:
    """The rows of a plan for a feature set."""
    n, length = plan.tokens.shape
    batch = max(1, min(batch, MANY // (length * len(features))))
    windows, places = [], []
    for start in range(0, n, batch):
        pick = np.minimum(np.arange(start, start + batch), n - 1)
        f = features.activations(plan.tokens[pick])
        for c, first, stop in plan.windows[_between(plan.windows, start, batch)]:
            windows.append(SparseRows.of(f[c - start, first:stop].mean(axis=0, dtype=np.float64)[None]))
        c, t = plan.places[_between(plan.places, start, batch)].T
        places.append(SparseRows.of(f[c - start, t]))
    width = len(features)
    return LabelledRows(SparseRows.joined(windows, width), SparseRows.joined(places, width), plan.picks)


def usable(training: RowPlan, heldout: RowPlan) -> tuple[list[Concept], list[Concept]]:
    """(concepts with rows in both texts, those that have too few in one)."""
    every = list(dict.fromkeys([*training.picks, *heldout.picks]))
    good = [c for c in every if c in training.picks and c in heldout.picks]
    return good, [c for c in every if c not in good]


def _between(table: np.ndarray, start: int, batch: int) -> slice:
    low, high = np.searchsorted(table[:, 0], [start, start + batch])
    return slice(int(low), int(high))


def _proxy_marks(proxies: TokenProxies | None, looked: np.ndarray, tokens: np.ndarray, bos: int) -> np.ndarray:
    """[P,n,T] where each proxy holds in the contexts looked at."""
    if proxies is None:
        return np.zeros((0, len(looked), tokens.shape[1]), bool)
    runs = np.split(looked, np.flatnonzero(looked % TOGETHER == 0)[1:])
    parts = [proxies.values(int(run[0]), int(run[-1]) + 1) > 0 for run in runs]
    return np.concatenate(parts, axis=1) & (np.asarray(tokens[looked]) != bos)


def _looked_at(n: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Contexts, in order: runs of TOGETHER of them, drawn at random, with about LOOKED_AT tokens in all."""
    runs = np.sort(rng.permutation(-(-n // TOGETHER))[: max(1, LOOKED_AT // (length * TOGETHER))])
    return np.concatenate([np.arange(r * TOGETHER, min((r + 1) * TOGETHER, n)) for r in runs])


def _windows(tokens: np.ndarray, labels: np.ndarray, bos: int) -> np.ndarray:
    """[W,4] (context, first position, one behind the last, label) of runs of one document, without BOS."""
    found = []
    for c, row in enumerate(tokens):
        cuts = np.concatenate([np.flatnonzero(row == bos), [len(row)]])
        for first, stop in zip(np.concatenate([[0], cuts[:-1] + 1]), cuts, strict=True):
            if stop - first >= LEAST_WINDOW:
                found.append((c, first, stop, labels[c, first]))
    return np.asarray(found, np.int64).reshape(-1, 4)


def _contexts(
    windows: np.ndarray, holds: np.ndarray, n_labels: int, rows: int, most: int, rng: np.random.Generator
) -> np.ndarray:
    """The places, in order, of at most `most` contexts that together have the rows asked for, as far as there are.

    Each time the concept that has the fewest rows so far, and could have more, gets another of its contexts.
    """
    n = holds.shape[1]
    offers = np.zeros((n, n_labels + len(holds)), np.int64)
    labelled = windows[windows[:, 3] >= 0]
    np.add.at(offers, (labelled[:, 0], labelled[:, 3]), 1)
    offers[:, n_labels:] = np.minimum(holds.sum(axis=2).T, PER_CONTEXT)
    queues = [rng.permutation(np.flatnonzero(o)).tolist() for o in offers.T]
    have = np.zeros(offers.shape[1])
    taken: set[int] = set()
    while len(taken) < most:
        wanting = np.asarray([bool(queue) for queue in queues]) & (have < rows)
        if not wanting.any():
            break
        c = queues[int(np.argmin(np.where(wanting, have, np.inf)))].pop()
        if c not in taken:
            taken.add(c)
            have += offers[c]
    return np.asarray(sorted(taken), np.int64)


def _label_picks(label: np.ndarray, names: Sequence[str], rows: int, rng: np.random.Generator) -> dict[Concept, Picks]:
    """The windows of each label, and as many of the others in equal parts."""
    of = {i: rng.permutation(np.flatnonzero(label == i)) for i in range(len(names))}
    found = {}
    for i, name in enumerate(names):
        if not name:  # documents without a label
            continue
        others = [of[j] for j in of if j != i and len(of[j])]
        # The first of every other label, then the second of each, …
        queue = sorted((k, n, w) for n, o in enumerate(others) for k, w in enumerate(o))
        n = min(rows, len(of[i]), len(queue))
        if n >= LEAST_ROWS:
            found[Concept(name, LABEL)] = Picks(of[i][:n], np.asarray([w for _, _, w in queue[:n]]))
    return found


def _proxy_picks(
    proxies: TokenProxies | None, holds: np.ndarray, real: np.ndarray, rows: int, rng: np.random.Generator
) -> tuple[np.ndarray, dict[Concept, Picks]]:
    """(the places [R,2], the rows of each proxy among them)."""
    names = proxies.names if proxies is not None else ()
    pool = np.argwhere(real)
    pool = pool[rng.permutation(len(pool))[: 4 * rows]]
    wanted: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, marks in zip(names, holds, strict=True):
        positive = rng.permutation(np.argwhere(marks))
        negative = pool[~marks[pool[:, 0], pool[:, 1]]]
        n = min(rows, len(positive), len(negative))
        if n >= LEAST_ROWS:
            wanted[name] = positive[:n], negative[:n]
    if not wanted:
        return np.zeros((0, 2), np.int64), {}
    length = real.shape[1]
    numbers = {name: [p[:, 0] * length + p[:, 1] for p in both] for name, both in wanted.items()}
    every = np.unique(np.concatenate([n for both in numbers.values() for n in both]))
    picks = {Concept(k, PROXY): Picks(*(np.searchsorted(every, n) for n in both)) for k, both in numbers.items()}
    return np.stack(np.divmod(every, length), axis=1), picks
