"""The examples from which a feature is explained, and others on which the explanation is tested (paper, "Automated
Interpretability - Activations").

Explanation: 10 examples of the largest activations, 2 from each of 12 equal intervals of (0, maximum], 5 around random
tokens, 10 around occurrences of the feature's top tokens anywhere in the text: 49. Test: 6, 2 × 12, 10 and 20: 60 of 9
tokens. No two windows of a feature overlap. For detection there are up to 30 more windows in which it does not fire,
and as many again on which a judge may choose a threshold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from monosem_jax.analysis.autointerp.occurrences import occurrences
from monosem_jax.analysis.autointerp.windows import KINDS, WIDTH, Text, Windows, window_start
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.scan.result import SetScan
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import stream
from monosem_jax.text.batches import context_batches

N_INTERVALS = 12
TOP, PER_INTERVAL, RANDOM, TOKEN = (10, 6), (2, 2), (5, 10), (10, 20)  # (explanation, test)
N_EXPLAIN = TOP[0] + N_INTERVALS * PER_INTERVAL[0] + RANDOM[0] + TOKEN[0]
N_TEST = TOP[1] + N_INTERVALS * PER_INTERVAL[1] + RANDOM[1] + TOKEN[1]
QUIET = TOP[1] + N_INTERVALS * PER_INTERVAL[1]  # as many as there are firing ones
LEAST = 20  # examples of firings; with fewer a feature is left out, as in the paper
POOL = 400  # random tokens, the same for all features
TOP_TOKENS = 10
EXPLAIN, TEST, APART = 0, 1, 2  # what an example is for


@dataclasses.dataclass(frozen=True)
class Samples:
    """The examples of one feature: `explanation` for the explainer, `test` for the score, `quiet` random windows in
    which the feature does not fire, `spare` further ones, on which nothing is scored. `maximum` is its largest
    activation in the scanned text; activations below 0, which some sets have, count as silence. `single_token`: all its
    top examples (20, or as many as the scan kept) have their largest activation on the same token."""

    feature: int
    maximum: float
    explanation: Windows
    test: Windows
    quiet: Windows
    spare: Windows
    single_token: bool


@dataclasses.dataclass(frozen=True)
class Dropped:
    """A feature without a score, and why."""

    feature: int
    reason: str


@dataclasses.dataclass
class _Picked:
    """Windows of a feature so far. One that overlaps with another is refused."""

    length: int
    rows: list[tuple[int, int, int, int, int, int]] = dataclasses.field(default_factory=list)
    starts: dict[int, list[int]] = dataclasses.field(default_factory=dict)

    def add(self, context: int, position: int, kind: str, role: int, interval: int = -1) -> bool:
        start = int(window_start(position, self.length))
        near = self.starts.setdefault(context, [])
        if any(abs(start - other) < WIDTH for other in near):
            return False
        near.append(start)
        self.rows.append((context, start, position - start, KINDS.index(kind), interval, role))
        return True


@pinned()
def draw_samples(
    features: FeatureSet, scan: SetScan, text: Text, chosen: Sequence[int], *, seed: int, batch: int = 32
) -> tuple[list[Samples], list[Dropped]]:
    """The samples of the features `chosen`, in order, and those that are left out with the reason.

    The same seed, scan and text give the same samples, whatever `batch` (contexts that are encoded together) is.
    Raises BadInput where the scan is not one of this text, or has other intervals.
    """
    _check(features, scan, text, chosen)
    alive = [int(i) for i in chosen if scan.fired[i] >= LEAST]
    dropped = [Dropped(int(i), _too_few(int(scan.fired[i]))) for i in chosen if scan.fired[i] < LEAST]
    tops = {i: _top_tokens(scan, text, i) for i in alive}
    places = occurrences(text.tokens[: scan.contexts], sorted({t for found in tops.values() for t in found}), seed=seed)
    pool = _random_tokens(features, scan, text, seed)
    picked: dict[int, _Picked] = {}
    for i in alive:
        drawn = _pick(scan, text, i, tops[i], places, pool, seed)
        firing = sum(KINDS[row[3]] in ("top", "interval") for row in drawn.rows)
        if firing < LEAST:
            what = f"{firing} examples of {int(scan.fired[i])} firings do not overlap"
            dropped.append(Dropped(i, f"{what}: {LEAST} are needed"))
        else:
            picked[i] = drawn
    return _with_activations(features, scan, text, picked, batch), dropped


def _check(features: FeatureSet, scan: SetScan, text: Text, chosen: Sequence[int]) -> None:
    if N_INTERVALS not in scan.intervals:
        raise BadInput(f"the scan of {scan.name} has intervals {sorted(scan.intervals)}: expected {N_INTERVALS}")
    if len(scan.fired) != len(features) or scan.contexts > len(text.tokens):
        raise BadInput(
            f"the scan of {scan.name} is of {len(scan.fired)} features in {scan.contexts} contexts: expected "
            f"{len(features)} features and at most {len(text.tokens)} contexts"
        )
    if wrong := [i for i in chosen if not 0 <= i < len(features)]:
        raise BadInput(f"feature {wrong[0]} of {scan.name} does not exist: expected 0 to {len(features) - 1}")


def _too_few(fired: int) -> str:
    return f"fires on {fired} tokens: {LEAST} examples are needed" if fired else "never fires"


def _top_tokens(scan: SetScan, text: Text, feature: int) -> list[int]:
    """The tokens with the largest activations in the top contexts, strongest first."""
    at = scan.top_context[feature] >= 0
    found = text.tokens[scan.top_context[feature][at], scan.top_position[feature][at]]
    return list(dict.fromkeys(int(t) for t in found))[:TOP_TOKENS]


def is_single_token(scan: SetScan, text: Text, feature: int, most: int = 20) -> bool:
    """Whether the largest activation of all top examples is on the same token."""
    at = np.flatnonzero(scan.top_context[feature] >= 0)[:most]
    found = text.tokens[scan.top_context[feature][at], scan.top_position[feature][at]]
    return len(at) > 1 and len(set(found.tolist())) == 1


def _random_tokens(features: FeatureSet, scan: SetScan, text: Text, seed: int) -> np.ndarray:
    """[POOL or fewer, 2] (context, position) of random tokens that are not BOS: the scan's, then further ones."""
    rng = stream("autointerp.random_tokens", seed)
    context = np.concatenate([scan.random_context, rng.integers(0, scan.contexts, POOL)])
    position = np.concatenate([scan.random_position, rng.integers(0, text.tokens.shape[1], POOL)])
    places = np.stack([context, position], 1)[text.tokens[context, position] != features.tapped.bos]
    places = np.unique(places.astype(np.int64), axis=0)
    return places[rng.permutation(len(places))][:POOL]


def _pick(
    scan: SetScan,
    text: Text,
    feature: int,
    tokens: list[int],
    places: dict[int, np.ndarray],
    pool: np.ndarray,
    seed: int,
) -> _Picked:
    """The windows of a feature. Rare kinds first: a window that is taken is not drawn again as one of another kind."""
    rng = stream("autointerp.samples", seed, feature)
    picked = _Picked(text.tokens.shape[1])
    n_top = int(np.sum(scan.top_context[feature] >= 0))
    top = [(int(scan.top_context[feature, r]), int(scan.top_position[feature, r])) for r in rng.permutation(n_top)]
    _deal(picked, top, "top", TOP, rng)
    reservoir = scan.intervals[N_INTERVALS]
    for n in range(N_INTERVALS - 1, -1, -1):
        at = np.flatnonzero(reservoir.context[feature, n] >= 0)
        found = [(int(reservoir.context[feature, n, r]), int(reservoir.position[feature, n, r])) for r in at]
        _deal(picked, [found[r] for r in rng.permutation(len(found))], "interval", PER_INTERVAL, rng, n)
    length = text.tokens.shape[1]
    mixed = [[divmod(int(p), length) for p in rng.permutation(places[t])] for t in tokens]
    in_turn = [found[r] for r in range(max(map(len, mixed), default=0)) for found in mixed if r < len(found)]
    _deal(picked, in_turn, "token", TOKEN, rng)
    shuffled = [(int(c), int(p)) for c, p in pool[rng.permutation(len(pool))]]
    _deal(picked, shuffled, "random", RANDOM, rng)
    for context, position in shuffled:
        picked.add(context, position, "quiet", APART)
    return picked


def _deal(
    picked: _Picked,
    places: list[tuple[int, int]],
    kind: str,
    wanted: tuple[int, int],
    rng: np.random.Generator,
    interval: int = -1,
) -> None:
    """Gives places to the two sets by turns, in the proportion `wanted`, until both have what they want. Where there
    are too few, both have too few; an odd one goes to either."""
    turns = np.repeat([EXPLAIN, TEST], wanted)[rng.permutation(sum(wanted))]
    if wanted[0] == wanted[1]:  # few and equal: strictly by turns
        turns = (np.arange(sum(wanted)) + rng.integers(2)) % 2
    left = list(turns)
    for context, position in places:
        if left and picked.add(context, position, kind, int(left[0]), interval):
            left.pop(0)


def _with_activations(
    features: FeatureSet, scan: SetScan, text: Text, picked: dict[int, _Picked], batch: int
) -> list[Samples]:
    """Reads the activations of all windows; each context is encoded once for all features."""
    columns = list(picked)
    rows = {i: np.asarray(p.rows, np.int64) for i, p in picked.items()}
    width = min(WIDTH, text.tokens.shape[1])
    values = {i: np.zeros((len(r), width), np.float32) for i, r in rows.items()}
    contexts = np.unique(np.concatenate([r[:, 0] for r in rows.values()])) if rows else np.zeros(0, np.int64)
    for n, (tokens, _) in enumerate(context_batches_of(text.tokens, contexts, batch)):
        f = features.activations(tokens, columns)  # [batch,T,n]
        own = contexts[n * batch : (n + 1) * batch]
        for j, i in enumerate(columns):
            at = np.flatnonzero(np.isin(rows[i][:, 0], own))
            place = np.searchsorted(own, rows[i][at, 0])[:, None]
            values[i][at] = f[place, rows[i][at, 1][:, None] + np.arange(width), j]
    return [_samples(scan, text, i, rows[i], values[i], width) for i in columns]


def context_batches_of(tokens: np.ndarray, contexts: np.ndarray, batch: int):
    """`context_batches` of some contexts, which are read batch by batch."""
    for first in range(0, len(contexts), batch):
        yield from context_batches(tokens[contexts[first : first + batch]], batch)


def _samples(scan: SetScan, text: Text, feature: int, rows: np.ndarray, values: np.ndarray, width: int) -> Samples:
    context, start, peak, kind, interval, role = rows.T
    columns = start[:, None] + np.arange(width)
    label = [text.sources[d].label for d in text.documents[context, start + peak]]
    every = Windows(
        tokens=np.asarray(text.tokens[context[:, None], columns], np.int32),
        activations=values,
        context=context,
        start=start,
        peak=peak,
        kind=kind,
        interval=interval,
        labels=tuple(label),
    )
    silent = np.flatnonzero((role == APART) & (values.max(axis=1) <= 0))
    return Samples(
        feature=feature,
        maximum=float(scan.maximum[feature]),
        explanation=every[role == EXPLAIN],
        test=every[role == TEST],
        quiet=every[silent[:QUIET]],
        spare=every[silent[QUIET : 2 * QUIET]],
        single_token=is_single_token(scan, text, feature),
    )
