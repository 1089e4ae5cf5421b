"""Features against proxies: chosen on one text, measured on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.proxies.chosen import Gap
from monosem_jax.analysis.proxies.strings import SIGN, Proxy
from monosem_jax.analysis.records import ProxyScore
from monosem_jax.analysis.records_tables import ChosenFeature, ProxyRow, ProxyTable, TableGap
from monosem_jax.analysis.scan.result import ProxyMoments, SetScan
from monosem_jax.runtime.ambient import pinned

LEAST_FIRINGS = 20  # in an interval, or of a feature: fewer give no share
LEAST_POSITIVE = 50  # tokens of a proxy, in either text: fewer give no row
NOTICEABLE = 0.1  # correlation from which a feature's record has its score for a proxy
N_INTERVALS = 12


@pinned()
def proxy_table(
    proxies: Sequence[Proxy],
    gaps: Sequence[Gap],
    chosen_on: Sequence[SetScan],
    measured_on: Sequence[SetScan],
    directions: np.ndarray | None = None,
    *,
    neurons: str = "neurons",
) -> ProxyTable:
    """The best feature of every set for every proxy.

    Args:
      proxies, gaps: those of the scans, and those that are left out (of the choice, and of what failed in a scan).
      chosen_on, measured_on: scans of training and of held-out text, of the same sets in the same order.
      directions: [F,M] of the first set, in the basis of the set named `neurons`; None: no `largest_neuron`.

    A proxy that holds on fewer than LEAST_POSITIVE tokens of either text is a gap. A feature that fires less than
    LEAST_FIRINGS times on training text is not chosen; a set without such a feature is left out of the row.
    """
    left_out = {gap.proxy: TableGap(gap.proxy, gap.reason) for gap in gaps}
    rows = []
    for proxy in proxies:
        if proxy.name in left_out:
            continue
        found = _row(proxy, chosen_on, measured_on, directions, neurons)
        if isinstance(found, str):
            left_out[proxy.name] = TableGap(proxy.name, found)
        else:
            rows.append(found)
    return ProxyTable(tuple(rows), tuple(left_out.values()))


def _row(
    proxy: Proxy,
    chosen_on: Sequence[SetScan],
    measured_on: Sequence[SetScan],
    directions: np.ndarray | None,
    neurons: str,
) -> ProxyRow | str:
    """The row of a proxy, or why there is none."""
    for scan, text in ((chosen_on[0], "training"), (measured_on[0], "held-out")):
        moments, i = _moments(scan, proxy.name)
        if (positive := int(moments.positive[i])) < LEAST_POSITIVE:
            return f"it holds on {positive:,} of {scan.tokens:,} {text} tokens: at least {LEAST_POSITIVE} are needed"
        if positive == scan.tokens:
            return f"it holds on all {text} tokens: there is nothing to tell apart"
    best = [
        _chosen(proxy, feature, before, after)
        for before, after in zip(chosen_on, measured_on, strict=True)
        if (feature := best_feature(before, proxy)) is not None
    ]
    if not best:
        return f"no feature fires on {LEAST_FIRINGS} training tokens"
    largest = None
    names = [scan.name for scan in measured_on]
    if directions is not None and neurons in names and best[0].set == names[0]:
        at = names.index(neurons)
        coefficients = np.abs(directions[best[0].feature])
        if len(coefficients) == len(measured_on[at].fired):
            largest = _chosen(proxy, int(np.argmax(coefficients)), chosen_on[at], measured_on[at])
    measured, i = _moments(measured_on[0], proxy.name)
    positive = int(measured.positive[i])
    return ProxyRow(proxy.name, proxy.form, proxy.about, positive, measured_on[0].tokens, tuple(best), largest)


def best_feature(scan: SetScan, proxy: Proxy) -> int | None:
    """The feature with the largest correlation; None when none fires LEAST_FIRINGS times."""
    r = np.where(scan.fired >= LEAST_FIRINGS, correlations(scan, proxy.name, proxy.form), -np.inf)
    best = int(np.argmax(np.where(np.isnan(r), -np.inf, r)))
    return best if r[best] > -np.inf else None


def correlations(scan: SetScan, name: str, form: str) -> np.ndarray:
    """[F] Pearson correlations with a proxy in a form."""
    moments, i = _moments(scan, name)
    return (moments.binary_correlation if form == SIGN else moments.correlation)[i]


def _chosen(proxy: Proxy, feature: int, before: SetScan, after: SetScan) -> ChosenFeature:
    r = float(correlations(before, proxy.name, proxy.form)[feature])
    return ChosenFeature(after.name, feature, r, score(after, proxy.name, proxy.form, feature))


def score(scan: SetScan, name: str, form: str, feature: int) -> ProxyScore:
    """A feature of a scan against a proxy. What is over fewer than LEAST_FIRINGS firings is None."""
    moments, i = _moments(scan, name)
    firings = scan.intervals[N_INTERVALS].count[feature].astype(np.int64)
    hits = moments.hits[i, feature].astype(np.int64)
    enough = firings >= LEAST_FIRINGS
    shares = tuple(float(h / n) if e else None for h, n, e in zip(hits, firings, enough, strict=True))
    fired = int(firings.sum())
    positive, r = int(moments.positive[i]), float(correlations(scan, name, form)[feature])
    told = fired >= LEAST_FIRINGS
    return ProxyScore(
        proxy=name,
        form=form,
        pearson=r if told and np.isfinite(r) else None,
        specificity=shares,
        firings=tuple(int(n) for n in firings),
        specificity_top=next((s for s in reversed(shares) if s is not None), None),
        specificity_all=float(hits.sum() / fired) if told else None,
        expected_value=float(moments.hit_value[i, feature] / scan.total[feature]) if told else None,
        sensitivity=float(hits.sum() / positive) if positive else None,
        positive=positive,
    )


def scores_of(scan: SetScan, proxies: Sequence[Proxy], feature: int) -> tuple[ProxyScore, ...]:
    """The scores of a feature for the proxies with which it correlates noticeably, by falling correlation.

    `proxies`: those that the scan's moments can be trusted for (without the gaps).
    """
    known = scan.proxies.names if scan.proxies else ()
    found = [score(scan, p.name, p.form, feature) for p in proxies if p.name in known]
    kept = [s for s in found if s.pearson is not None and s.pearson >= NOTICEABLE and s.positive >= LEAST_POSITIVE]
    return tuple(sorted(kept, key=lambda s: -(s.pearson or 0)))


def summary(table: ProxyTable, *, features: str = "features", neurons: str = "neurons") -> dict[str, dict[str, Any]]:
    """{proxy: {feature, pearson, specificity_top, specificity_all, sensitivity, neuron, neuron_pearson}} for
    summary.json; None for what is not known."""
    rows: dict[str, dict[str, Any]] = {}
    for row in table.rows:
        by_set: Mapping[str, ChosenFeature] = {chosen.set: chosen for chosen in row.best}
        feature, neuron = by_set.get(features), by_set.get(neurons)
        rows[row.proxy] = {
            "feature": feature.feature if feature else None,
            "pearson": feature.score.pearson if feature else None,
            "specificity_top": feature.score.specificity_top if feature else None,
            "specificity_all": feature.score.specificity_all if feature else None,
            "sensitivity": feature.score.sensitivity if feature else None,
            "neuron": neuron.feature if neuron else None,
            "neuron_pearson": neuron.score.pearson if neuron else None,
        }
    return rows


def _moments(scan: SetScan, name: str) -> tuple[ProxyMoments, int]:
    """The moments of a scan, and the number of a proxy in them. Raises ValueError when it was not scanned."""
    if scan.proxies is None or name not in scan.proxies.names:
        raise ValueError(f"the scan of {scan.name} has no proxy {name!r}")
    return scan.proxies, scan.proxies.names.index(name)
