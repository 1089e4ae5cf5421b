"""A scan of activations that are given, in float64 NumPy: what `monosem_jax.analysis.scan` is to find."""

from __future__ import annotations

import numpy as np

from monosem_jax.analysis.scan.result import INTERVALS, LOG_EDGES, N_LINEAR, ProxyMoments, Reservoir, SetScan


def scan_of(
    f: np.ndarray,
    tokens: np.ndarray,
    proxies: dict[str, np.ndarray],
    *,
    bos: int = 0,
    name: str = "features",
    n_top: int = 4,
) -> SetScan:
    """The scan of activations [C,T,F] (>= 0) on contexts [C,T] with proxies [C,T]."""
    real = tokens != bos
    x, t = f[real].astype(np.float64), tokens[real].astype(int)
    n, width = x.shape
    maximum = x.max(axis=0)
    intervals = {k: Reservoir(*np.zeros((3, width, k, 1)), interval_counts(x, maximum, k)) for k in INTERVALS}
    vocab = int(tokens.max()) + 1
    fired = np.stack([np.bincount(t, weights=x[:, i] > 0, minlength=vocab) for i in range(width)])
    top = np.argsort(-fired, axis=1, kind="stable")[:, :n_top]
    often = np.take_along_axis(fired, top, 1).astype(np.int64)
    zeros = np.zeros((width, 1))
    return SetScan(
        name=name,
        tokens=n,
        contexts=len(tokens),
        fired=(x > 0).sum(0),
        maximum=maximum,
        mean=x.sum(0) / np.maximum((x > 0).sum(0), 1),
        total=x.sum(0),
        square=np.square(x).sum(0),
        log_counts=np.zeros((width, len(LOG_EDGES) + 1), np.int64),
        linear_counts=np.zeros((width, N_LINEAR), np.int64),
        top_context=zeros,
        top_position=zeros,
        top_value=zeros,
        intervals=intervals,
        random_context=np.zeros(0),
        random_position=np.zeros(0),
        token_id=np.where(often > 0, top, -1),
        token_fired=often,
        token_total=np.zeros_like(often, np.float64),
        token_occurrences=np.bincount(t, minlength=vocab),
        tokens_exact=True,
        labels=(),
        label_correlation=np.zeros((0, width)),
        label_fired=np.zeros((0, width)),
        label_tokens=np.zeros(0),
        proxies=moments_of(x, {k: v[real] for k, v in proxies.items()}, maximum),
        neighbours={},
    )


def interval_counts(x: np.ndarray, maximum: np.ndarray, k: int, where: np.ndarray | None = None) -> np.ndarray:
    """[F,k] firings in each of k equal intervals of (0, max]; only on the tokens `where`, if given."""
    at = np.ceil(x / np.where(maximum > 0, maximum, 1) * k).astype(int)  # 1 … k where it fires
    where = np.ones(len(x), bool) if where is None else where
    return np.stack([((at == i) & (x > 0) & where[:, None]).sum(0) for i in range(1, k + 1)], axis=1)


def moments_of(x: np.ndarray, proxies: dict[str, np.ndarray], maximum: np.ndarray) -> ProxyMoments:
    """The moments of activations [n,F] with proxies [n]."""
    p = np.stack(list(proxies.values())).astype(np.float64)

    def pearson(a: np.ndarray, b: np.ndarray) -> float:
        if a.std() == 0:
            return np.nan
        return 0.0 if b.std() == 0 else float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()))

    return ProxyMoments(
        names=tuple(proxies),
        mean=p.mean(1),
        deviation=p.std(1),
        positive=(p > 0).sum(1),
        correlation=np.asarray([[pearson(a, b) for b in x.T] for a in p]),
        binary_correlation=np.asarray([[pearson(a > 0, b) for b in x.T] for a in p]),
        hits=np.stack([interval_counts(x, maximum, 12, a > 0) for a in p]),
        hit_value=np.stack([x[a > 0].sum(0) for a in p]),
    )
