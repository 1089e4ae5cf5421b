"""How little of the text before a token makes a feature fire on it, found by forward passes (neuron-to-graph, Foote et
al. 2023).

A target is a token of an example on which a feature fires. (1) Its context is cut to the fewest tokens before it with
which the feature keeps half of its activation. (2) Each of them is masked; one whose masking takes more than half of
what is left matters. (3) Each token that matters is replaced by the model's own nearest tokens; replacements that keep
half are patterns too. (4) The target itself is replaced by random tokens; if most of them keep half, any token fires
in its context.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from monosem_jax.analysis.autointerp.probe import LENGTHS, Probe
from monosem_jax.analysis.autointerp.token_graph import ANY
from monosem_jax.analysis.autointerp.token_neighbours import TokenNeighbours

KEEP = 0.5  # share of the activation that a shorter context, or a replaced token, must keep
IMPORTANT = 0.5  # share of the activation that is lost when a token that matters is masked
STEPS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 24, 33)  # tokens of context that are tried, the target included
SHORT = LENGTHS[0] - 1  # those of them that are tried together first; BOS comes before them
N_REPLACEMENTS = 8


@dataclasses.dataclass(frozen=True)
class Targets:
    """n targets: the `feature` [n] of each, its `activation` [n] in the text, and the tokens up to it, right aligned:
    `before` [n, STEPS[-1]], of which the last `available` [n] exist."""

    feature: np.ndarray
    activation: np.ndarray
    before: np.ndarray
    available: np.ndarray

    def __len__(self) -> int:
        return len(self.feature)


@dataclasses.dataclass(frozen=True)
class Pattern:
    """A pattern of a target: the tokens backwards from it, and the share of the target's activation that it keeps.
    `original`: it has no replaced token."""

    target: int
    tokens: tuple[int, ...]
    kept: float
    original: bool = False


def patterns_of(
    targets: Targets, probe: Probe, neighbours: TokenNeighbours, mask: int, others: np.ndarray
) -> list[Pattern]:
    """The patterns of all targets. One whose context cannot be cut within STEPS keeps its own token alone.

    `mask` is the token that masks, `others` are the random ones of (4).
    """
    length, base = _cut(targets, probe)
    matters = _important(targets, length, base, probe, mask)
    found = []
    for i in range(len(targets)):
        found.append(Pattern(i, _pattern(targets.before[i], matters[i]), 1.0, True))
    found += _replaced(targets, length, base, matters, probe, neighbours)
    return found + _any_token(targets, length, base, matters, probe, others)


def _contexts(targets: Targets, rows: np.ndarray, lengths: np.ndarray, bos: int) -> np.ndarray:
    """[n, longest + 1] BOS and the last `lengths` tokens of the targets `rows`, left aligned."""
    longest = int(lengths.max(initial=1))
    column = np.arange(longest)
    at = np.minimum(targets.before.shape[1] - lengths[:, None] + column, targets.before.shape[1] - 1)
    cut = np.where(column < lengths[:, None], targets.before[rows[:, None], at], bos)
    return np.concatenate([np.full((len(rows), 1), bos), cut], axis=1)


def _padded(tokens: np.ndarray, bos: int) -> np.ndarray:
    """The same contexts, as long as one of LENGTHS."""
    size = next((n for n in LENGTHS if n >= tokens.shape[1]), tokens.shape[1])
    return np.pad(tokens, ((0, 0), (0, size - tokens.shape[1])), constant_values=bos)


def _ask(probe: Probe, targets: Targets, rows: np.ndarray, lengths: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return probe(targets.feature[rows], _padded(tokens, probe.features.tapped.bos), lengths + 1)


def _cut(targets: Targets, probe: Probe) -> tuple[np.ndarray, np.ndarray]:
    """([n] the fewest tokens that keep KEEP of the activation, 0 if none of STEPS do; [n] the activation with them)."""
    length, base = np.zeros(len(targets), np.int64), np.zeros(len(targets))
    bos = probe.features.tapped.bos
    for steps in ([s for s in STEPS if s <= SHORT], [s for s in STEPS if s > SHORT]):
        open_ = np.flatnonzero(length == 0)
        tries = [(i, s) for i in open_ for s in steps if s <= targets.available[i]]
        if not tries:
            continue
        rows, tried = np.asarray(tries).T
        kept = _ask(probe, targets, rows, tried, _contexts(targets, rows, tried, bos))
        enough = kept >= KEEP * targets.activation[rows]
        for i, s, f in zip(rows[enough][::-1], tried[enough][::-1], kept[enough][::-1], strict=True):
            length[i], base[i] = s, f  # the shortest is written last
    return length, base


def _important(targets: Targets, length: np.ndarray, base: np.ndarray, probe: Probe, mask: int) -> list[set[int]]:
    """For each target the distances (1: the token before it) of the tokens that matter."""
    tries = [(i, d) for i in range(len(targets)) for d in range(1, length[i])]
    matters: list[set[int]] = [set() for _ in range(len(targets))]
    if not tries:
        return matters
    rows, distance = np.asarray(tries).T
    tokens = _contexts(targets, rows, length[rows], probe.features.tapped.bos)
    tokens[np.arange(len(rows)), length[rows] - distance] = mask
    left = _ask(probe, targets, rows, length[rows], tokens)
    for i, d in zip(*(a[left < (1 - IMPORTANT) * base[rows]] for a in (rows, distance)), strict=True):
        matters[i].add(int(d))
    return matters


def _pattern(before: np.ndarray, matters: set[int]) -> tuple[int, ...]:
    farthest = max(matters, default=0)
    return tuple(int(before[-1 - d]) if d == 0 or d in matters else ANY for d in range(farthest + 1))


def _replaced(
    targets: Targets,
    length: np.ndarray,
    base: np.ndarray,
    matters: list[set[int]],
    probe: Probe,
    neighbours: TokenNeighbours,
) -> list[Pattern]:
    """Patterns with one token replaced by a similar one, which keep KEEP of the activation."""
    places = [(i, d) for i in range(len(targets)) if length[i] for d in sorted({0, *matters[i]})]
    near = neighbours.nearest(np.asarray([targets.before[i, -1 - d] for i, d in places], np.int64), N_REPLACEMENTS)
    tries = [(i, d, int(t)) for i, d in places for t in near[int(targets.before[i, -1 - d])]]
    if not tries:
        return []
    rows, distance, token = np.asarray(tries).T
    tokens = _contexts(targets, rows, length[rows], probe.features.tapped.bos)
    tokens[np.arange(len(rows)), length[rows] - distance] = token
    kept = _ask(probe, targets, rows, length[rows], tokens) / np.maximum(base[rows], 1e-30)
    found = []
    for n in np.flatnonzero(kept >= KEEP):
        pattern = list(_pattern(targets.before[rows[n]], matters[rows[n]]))
        pattern[distance[n]] = int(token[n])
        found.append(Pattern(int(rows[n]), tuple(pattern), float(kept[n])))
    return found


def _any_token(
    targets: Targets,
    length: np.ndarray,
    base: np.ndarray,
    matters: list[set[int]],
    probe: Probe,
    others: np.ndarray,
) -> list[Pattern]:
    """Patterns with ANY in the place of the target's own token, where most of `others` keep KEEP in its context.

    A target that needs a context of which no token matters alone has none: such a pattern would fit everywhere.
    """
    cut = np.asarray([i for i in np.flatnonzero(length) if length[i] == 1 or matters[i]], np.int64)
    if not len(cut) or not len(others):
        return []
    rows = np.repeat(cut, len(others))
    tokens = _contexts(targets, rows, length[rows], probe.features.tapped.bos)
    tokens[np.arange(len(rows)), length[rows]] = np.tile(others, len(cut))
    kept = _ask(probe, targets, rows, length[rows], tokens) / np.maximum(base[rows], 1e-30)
    found = []
    for i, shares in zip(cut, kept.reshape(len(cut), len(others)), strict=True):
        if np.mean(shares >= KEEP) > 0.5:
            pattern = (ANY, *_pattern(targets.before[i], matters[i])[1:])
            found.append(Pattern(int(i), pattern, float(np.minimum(shares, 1).mean())))
    return found
