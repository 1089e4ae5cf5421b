"""What tells features apart: the tokens and the documents in which they fire, from their scan."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from monosem_jax.analysis.scan.result import SetScan

TOKENS = 5  # in a description


@dataclasses.dataclass(frozen=True)
class Description:
    """What a feature fires on: `tokens` (id, share of its firings), most frequent first, and the label of documents
    in which it fires most above its density: `label_share` of its firings, `lift` times as many as of all tokens.
    """

    tokens: tuple[tuple[int, float], ...]
    label: str | None
    label_share: float | None
    lift: float | None


def describe(scan: SetScan, feature: int, n: int = TOKENS) -> Description:
    """What a feature of a scanned set fires on; the label is that of the largest correlation with its activation."""
    fired = int(scan.fired[feature])
    ids, counts = scan.token_id[feature], scan.token_fired[feature]
    kept = [k for k in range(len(ids)) if ids[k] >= 0 and counts[k] > 0][:n]
    tokens = tuple((int(ids[k]), float(counts[k] / max(fired, 1))) for k in kept)
    named = [i for i, name in enumerate(scan.labels) if name and np.isfinite(scan.label_correlation[i, feature])]
    if not named or not fired:
        return Description(tokens, None, None, None)
    best = max(named, key=lambda i: float(scan.label_correlation[i, feature]))
    share = float(scan.label_fired[best, feature] / fired)
    lift = share * scan.tokens / float(scan.label_tokens[best]) if scan.label_tokens[best] else None
    return Description(tokens, scan.labels[best], share, lift)


def token_divergence(
    scan_a: SetScan, a: Int[np.ndarray, " n"], scan_b: SetScan, b: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Jensen-Shannon divergences, in bits from 0 to 1, of the tokens on which features a[i] and b[i] fire.

    A scan keeps the tokens on which a feature fires most often; its other firings count as of a token that both may
    have in common, so that the true divergence is at least this. NaN where one never fires.
    """
    found = np.full(len(a), np.nan)
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        p, q = _shares(scan_a, int(x)), _shares(scan_b, int(y))
        if p and q:
            found[i] = _divergence(p, q)
    return found


def label_divergence(
    scan_a: SetScan, a: Int[np.ndarray, " n"], scan_b: SetScan, b: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """The same of the labels of the documents in which they fire; tokens without a label are left out."""
    found = np.full(len(a), np.nan)
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        counts = scan_a.label_fired[:, x], scan_b.label_fired[:, y]
        if all(c.sum() > 0 for c in counts):
            p, q = ({k: float(n / c.sum()) for k, n in enumerate(c)} for c in counts)
            found[i] = _divergence(p, q)
    return found


def _shares(scan: SetScan, feature: int) -> dict[int, float]:
    """The share of a feature's firings on each kept token; -1: of all others."""
    fired = int(scan.fired[feature])
    if not fired:
        return {}
    pairs = zip(scan.token_id[feature].tolist(), scan.token_fired[feature].tolist(), strict=True)
    shares = {token: n / fired for token, n in pairs if token >= 0 and n > 0}
    shares[-1] = max(1 - sum(shares.values()), 0.0)
    return shares


def _divergence(p: dict[int, float], q: dict[int, float]) -> float:
    total = 0.0
    for key in p.keys() | q.keys():
        x, y = p.get(key, 0.0), q.get(key, 0.0)
        for one in (x, y):
            if one > 0:
                total += one * np.log2(2 * one / (x + y)) / 2
    return float(min(max(total, 0.0), 1.0))
