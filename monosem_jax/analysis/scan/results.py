"""From sums to what a scan reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from monosem_jax.analysis.scan.batch import Accumulator
from monosem_jax.analysis.scan.bottom import EMPTY
from monosem_jax.analysis.scan.intervals import Intervals, split_place
from monosem_jax.analysis.scan.pairs import mean_and_deviation
from monosem_jax.analysis.scan.proxy_sums import PER, Proxies
from monosem_jax.analysis.scan.result import N_LINEAR, Neighbours, ProxyMoments, SetScan
from monosem_jax.analysis.scan.text_counts import TextCounts
from monosem_jax.analysis.scan.top_tokens import TopTokens

State = Mapping[str, np.ndarray]


class LabelStatistics(NamedTuple):
    """See SetScan."""

    names: tuple[str, ...]
    correlation: np.ndarray
    fired: np.ndarray
    tokens: np.ndarray


def correlations(product: np.ndarray, total: np.ndarray, square: np.ndarray, moments: State, n: int) -> np.ndarray:
    """[P,F] Pearson correlations of P numbers per token, of which sums over n tokens are given, with features: NaN for
    numbers that never vary, 0 for a feature that never does."""
    mean, deviation = mean_and_deviation(total, square, n)
    f_mean, f_deviation = mean_and_deviation(moments["total"], moments["square"], n)
    covariance = product / n - np.outer(mean, f_mean)
    varies = np.where(deviation > 0, deviation, np.nan)[:, None]
    return np.where(f_deviation > 0, covariance, 0) / varies / np.where(f_deviation > 0, f_deviation, 1)


def label_statistics(names: tuple[str, ...], sums: State, moments: State, counts: TextCounts) -> LabelStatistics:
    """Correlations with "this token lies in a document of the label"."""
    n = counts.label_tokens
    found = correlations(sums["total"], n, n, moments, counts.tokens)
    return LabelStatistics(names, found, sums["fired"], n)


def proxy_moments(
    proxies: Proxies | None, first: Mapping[str, Accumulator], second: Mapping[str, Accumulator], n: int
) -> ProxyMoments | None:
    """Correlations with proxies and with proxy > 0; the hits are zero without a second pass."""
    if proxies is None:
        return None
    s, moments = first["proxies"].state, first["moments"].state
    mean, deviation = mean_and_deviation(s["total"], s["square"], n)
    shape = s["product"].shape
    hits = second["proxies"].state if second else {"hits": np.zeros((*shape, PER), np.int64), "value": np.zeros(shape)}
    return ProxyMoments(
        names=tuple(proxies.names),
        mean=mean,
        deviation=deviation,
        positive=s["positive"],
        correlation=correlations(s["product"], s["total"], s["square"], moments, n),
        binary_correlation=correlations(s["on_positive"], s["positive"], s["positive"], moments, n),
        hits=hits["hits"],
        hit_value=hits["value"],
    )


def set_scan(
    *,
    name: str,
    counts: TextCounts,
    contexts: int,
    length: int,
    moments: State,
    top: State,
    intervals: Accumulator | None,
    tokens: TopTokens | None,
    tokens_exact: bool,
    labels: LabelStatistics,
    proxies: ProxyMoments | None,
    neighbours: Mapping[str, Neighbours],
) -> SetScan:
    """All of it together; what needs a second pass is empty without one."""
    fired = moments["fired"]
    n, none = len(fired), np.zeros((len(fired), 0))
    top_context, top_position = split_place(np.where(top["key"] == EMPTY, -1, top["place"]), length)
    random_context, random_position = split_place(counts.random, length)
    token_id, token_fired, token_total = tokens or (none.astype(np.int32), none.astype(np.int64), none)
    second = intervals if isinstance(intervals, Intervals) else None
    return SetScan(
        name=name,
        tokens=counts.tokens,
        contexts=contexts,
        fired=fired,
        maximum=moments["maximum"],
        mean=moments["fired_total"] / np.maximum(fired, 1),
        total=moments["total"],
        square=moments["square"],
        log_counts=moments["log_counts"],
        linear_counts=second.linear_counts if second else np.zeros((n, N_LINEAR), np.int64),
        top_context=top_context,
        top_position=top_position,
        top_value=top["value"],
        intervals=second.reservoirs(length) if second else {},
        random_context=random_context,
        random_position=random_position,
        token_id=token_id,
        token_fired=token_fired,
        token_total=token_total,
        token_occurrences=counts.occurrences,
        tokens_exact=tokens_exact,
        labels=labels.names,
        label_correlation=labels.correlation,
        label_fired=labels.fired,
        label_tokens=labels.tokens,
        proxies=proxies,
        neighbours=neighbours,
    )
