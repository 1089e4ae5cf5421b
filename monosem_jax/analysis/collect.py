"""Records of features, put together from the kinds of evidence about each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.examples import SHORT, TOP, ExampleText
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.records import (
    Ablation,
    Category,
    Example,
    Explanation,
    Feature,
    Histogram,
    Interval,
    LogitSummary,
    Neighbour,
    ProxyScore,
    Sample,
    Score,
    Sources,
    TokenInContext,
    TopToken,
)
from monosem_jax.analysis.scan.result import LOG_EDGES, N_LINEAR, SetScan
from monosem_jax.analysis.windows import windows
from monosem_jax.runtime.ambient import pinned

SHOWN_INTERVALS = 12


@dataclasses.dataclass(frozen=True)
class LogitWeights:
    """The largest and smallest logit weights of a feature, as [token, weight] pairs, and their distribution."""

    top: tuple[tuple[str, float], ...]
    bottom: tuple[tuple[str, float], ...]
    summary: LogitSummary


def _no_scores(feature: int) -> tuple[ProxyScore, ...]:
    return ()


def _no_sources(feature: int) -> tuple[Sources, ...]:
    return ()


def _no_logits(features: Sequence[int]) -> Sequence[LogitWeights | None]:
    return [None] * len(features)


@dataclasses.dataclass
class Evidence:
    """What the kinds of evidence found out about the features of a set, by the number of the feature. `logits` is asked
    for many features at once. `loss_effects`: an array [examples,before+1+after] for the top examples of a feature;
    `sources` of each of them."""

    categories: dict[int, Category] = dataclasses.field(default_factory=dict)
    proxies: Callable[[int], tuple[ProxyScore, ...]] = _no_scores
    logits: Callable[[Sequence[int]], Sequence[LogitWeights | None]] = _no_logits
    token_in_context: dict[int, TokenInContext] = dataclasses.field(default_factory=dict)
    explanations: dict[int, tuple[Explanation, ...]] = dataclasses.field(default_factory=dict)
    scores: dict[int, tuple[Score, ...]] = dataclasses.field(default_factory=dict)
    ablations: dict[int, Ablation] = dataclasses.field(default_factory=dict)
    loss_effects: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    samples: dict[int, tuple[Sample, ...]] = dataclasses.field(default_factory=dict)
    stability: dict[int, float] = dataclasses.field(default_factory=dict)
    sources: Callable[[int], Sequence[Sources]] = _no_sources


@pinned()
def collect(
    features: FeatureSet,
    scan: SetScan,
    text: ExampleText,
    evidence: Evidence,
    chosen: Sequence[int],
    *,
    n_examples: int,
    n_per_interval: int,
    n_random: int,
    batch: int,
    block: int = 8192,
    advance: Callable[[int], Any] = lambda n: None,
) -> Iterator[Feature]:
    """The records of the features `chosen`, in ascending order, from the scan of `text`.

    Args:
      n_examples, n_per_interval, n_random: at most so many top contexts, examples of each interval, random windows.
      batch: contexts per forward pass.
      block: features whose examples are in memory together; the contexts of their examples are read once per block.
      advance: called with the number of contexts done.
    """
    chosen = sorted(int(i) for i in chosen)
    for first in range(0, len(chosen), block):
        part = np.asarray(chosen[first : first + block])
        shown = _Shown(features, scan, text, part, n_examples, n_per_interval, n_random, batch, advance)
        for j, (i, logits) in enumerate(zip(part, evidence.logits(part.tolist()), strict=True)):
            yield _record(features.name, scan, text, evidence, int(i), logits, shown, j)


@dataclasses.dataclass(frozen=True)
class _Places:
    """Where examples are, (context, position) of one shape, and the activations around each."""

    context: np.ndarray
    position: np.ndarray
    activations: np.ndarray

    def of(self, *at: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Those of a feature, or of one of its intervals."""
        return self.context[at], self.position[at], self.activations[at]


class _Shown:
    """The examples of a block of features."""

    def __init__(
        self,
        features: FeatureSet,
        scan: SetScan,
        text: ExampleText,
        part: np.ndarray,
        n_examples: int,
        n_per_interval: int,
        n_random: int,
        batch: int,
        advance: Callable[[int], Any],
    ):
        reservoir = scan.intervals[SHOWN_INTERVALS]

        def places(context: np.ndarray, position: np.ndarray, shape: tuple[int, int]) -> _Places:
            feature = np.broadcast_to(part.reshape(-1, *[1] * (context.ndim - 1)), context.shape)
            f = windows(features, text.tokens, context, position, feature, *shape, batch=batch, advance=advance)
            return _Places(context, position, f.reshape(*context.shape, f.shape[-1]))

        self.top = places(scan.top_context[part, :n_examples], scan.top_position[part, :n_examples], TOP)
        few = (part, slice(None), slice(n_per_interval))
        self.intervals = places(reservoir.context[few], reservoir.position[few], SHORT)
        n = (len(part), min(n_random, len(scan.random_context)))
        context, position = (np.broadcast_to(a[: n[1]], n) for a in (scan.random_context, scan.random_position))
        self.random = places(context, position, SHORT)


def _record(
    name: str,
    scan: SetScan,
    text: ExampleText,
    evidence: Evidence,
    i: int,
    logits: LogitWeights | None,
    shown: _Shown,
    j: int,
) -> Feature:
    category = evidence.categories.get(i)
    label, correlation = _nearest_label(scan, i)
    maximum = float(scan.maximum[i])
    fires = maximum > 0
    effects = evidence.loss_effects.get(i, np.zeros((len(shown.top.context[j]), 0)))
    log_edges, log_counts = _log_histogram(scan.log_counts[i])
    return Feature(
        feature=i,
        density=float(scan.density[i]),
        largest=maximum,
        label=category.label if category else None,
        label_correlation=category.feature_correlation if category else None,
        top_logits=logits.top if logits else (),
        bottom_logits=logits.bottom if logits else (),
        examples=_examples(text, shown.top.of(j), TOP, effects, evidence.sources(i)),
        set=name,
        fired=int(scan.fired[i]),
        mean=float(scan.mean[i]),
        nearest_label=label,
        nearest_label_correlation=correlation,
        log_histogram=Histogram(log_edges, log_counts) if fires else None,
        linear_histogram=_linear_histogram(maximum, scan.linear_counts[i]) if fires else None,
        intervals=_intervals(text, scan, shown, i, j) if fires else (),
        random=_examples(text, shown.random.of(j), SHORT),
        top_tokens=_top_tokens(scan, text, i),
        token_in_context=evidence.token_in_context.get(i),
        proxies=evidence.proxies(i),
        logits=logits.summary if logits else None,
        neighbours=_neighbours(scan, i),
        explanations=evidence.explanations.get(i, ()),
        scores=evidence.scores.get(i, ()),
        ablation=evidence.ablations.get(i),
        samples=evidence.samples.get(i, ()),
        stability=evidence.stability.get(i),
    )


def _examples(
    text: ExampleText,
    places: tuple[np.ndarray, np.ndarray, np.ndarray],
    around: tuple[int, int],
    effects: Sequence[Any] | np.ndarray = (),
    sources: Sequence[Sources] = (),
) -> tuple[Example, ...]:
    context, position, activations = places
    return tuple(
        text.example(
            int(c),
            int(p),
            activations[n],
            around,
            effects[n] if n < len(effects) else (),
            sources[n] if n < len(sources) else None,
        )
        for n, (c, p) in enumerate(zip(context, position, strict=True))
        if p >= 0
    )


def _intervals(text: ExampleText, scan: SetScan, shown: _Shown, i: int, j: int) -> tuple[Interval, ...]:
    """The highest interval first."""
    maximum, counts = float(scan.maximum[i]), scan.intervals[SHOWN_INTERVALS].count[i]
    return tuple(
        Interval(
            low=maximum * n / SHOWN_INTERVALS,
            high=maximum * (n + 1) / SHOWN_INTERVALS,
            count=int(counts[n]),
            examples=_examples(text, shown.intervals.of(j, n), SHORT),
        )
        for n in reversed(range(SHOWN_INTERVALS))
    )


def _nearest_label(scan: SetScan, i: int) -> tuple[str | None, float | None]:
    found = scan.label_correlation[:, i]
    found = np.where(np.isfinite(found) & np.asarray([bool(name) for name in scan.labels]), found, -np.inf)
    if not len(found) or scan.fired[i] == 0 or not np.isfinite(found.max()):
        return None, None
    return scan.labels[int(np.argmax(found))], float(found.max())


def _log_histogram(counts: np.ndarray) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """(edges, counts) of the bins from the first that is not empty to the last; the outermost of all are open."""
    used = np.flatnonzero(counts)
    if not len(used):
        return (), ()
    edges = [0.0, *(float(e) for e in LOG_EDGES), float(np.finfo(np.float32).max)]
    return tuple(edges[used[0] : used[-1] + 2]), tuple(int(n) for n in counts[used[0] : used[-1] + 1])


def _linear_histogram(maximum: float, counts: np.ndarray) -> Histogram:
    return Histogram(tuple(maximum * n / N_LINEAR for n in range(N_LINEAR + 1)), tuple(int(n) for n in counts))


def _top_tokens(scan: SetScan, text: ExampleText, i: int) -> tuple[TopToken, ...]:
    total = int(scan.fired[i])
    return tuple(
        TopToken(
            id=int(t),
            token=text.strings[int(t)],
            fired=int(n),
            share_of_firings=float(n) / total,
            share_of_occurrences=float(n) / max(int(scan.token_occurrences[t]), 1),
            mean=float(s) / float(n),
        )
        for t, n, s in zip(scan.token_id[i], scan.token_fired[i], scan.token_total[i], strict=True)
        if t >= 0 and n > 0
    )


def _neighbours(scan: SetScan, i: int) -> tuple[Neighbour, ...]:
    return tuple(
        Neighbour(of, int(n), _known(c), _known(cosine))
        for of, found in scan.neighbours.items()
        for n, c, cosine in zip(found.index[i], found.correlation[i], found.cosine[i], strict=True)
        if n >= 0
    )


def _known(x: Any) -> float | None:
    return round(float(x), 4) if np.isfinite(x) else None
