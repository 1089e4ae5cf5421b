"""A second implementation of the package's formulas: float64, plain NumPy, after the paper and the docstrings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

FEATURE_AXES = {"W_enc": 1, "b_enc": 0, "W_dec": 0}


def doubles(tree: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, np.float64) for name, value in tree.items()}


def random_dictionary(seed: int, width: int, n_features: int, bias: float = 0.1) -> dict[str, np.ndarray]:
    """fp32 parameters in general position: no bias is zero, rows of W_dec have unit norm."""
    rng = np.random.default_rng(seed)
    w_dec = rng.normal(size=(n_features, width))
    params = {
        "W_enc": rng.uniform(-1, 1, size=(width, n_features)) / math.sqrt(width),
        "b_enc": bias * rng.normal(size=n_features),
        "W_dec": w_dec / np.sqrt((w_dec**2).sum(axis=1, keepdims=True)),
        "b_dec": bias * rng.normal(size=width),
    }
    return {name: p.astype(np.float32) for name, p in params.items()}


def encode(p: dict[str, Any], x: np.ndarray) -> np.ndarray:
    p, x = doubles(p), np.asarray(x, np.float64)
    return np.maximum((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"], 0.0)


def decode(p: dict[str, Any], f: np.ndarray) -> np.ndarray:
    p = doubles(p)
    return np.asarray(f, np.float64) @ p["W_dec"] + p["b_dec"]


def row_losses(p: dict[str, Any], x: np.ndarray, l1: float) -> np.ndarray:
    f = encode(p, x)
    squares = (decode(p, f) - np.asarray(x, np.float64)) ** 2
    return squares.sum(axis=-1) / x.shape[-1] + l1 * f.sum(axis=-1)


def loss(p: dict[str, Any], x: np.ndarray, l1: float) -> float:
    return float(row_losses(p, x, l1).sum() / len(x))


def gradients(p: dict[str, Any], x: np.ndarray, l1: float) -> dict[str, np.ndarray]:
    """Of the mean loss. b_dec is both added to the output and taken from the input."""
    p, x = doubles(p), np.asarray(x, np.float64)
    n, width = x.shape
    f = encode(p, x)
    d_out = 2 * (decode(p, f) - x) / (n * width)
    d_pre = (d_out @ p["W_dec"].T + l1 / n) * (f > 0)
    return {
        "W_enc": (x - p["b_dec"]).T @ d_pre,
        "b_enc": d_pre.sum(axis=0),
        "W_dec": f.T @ d_out,
        "b_dec": d_out.sum(axis=0) - (d_pre @ p["W_enc"].T).sum(axis=0),
    }


def project(g: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Every row of g without its part along the same row of d."""
    g, d = np.array(g, np.float64), np.asarray(d, np.float64)
    for i in range(len(g)):
        g[i] -= sum(a * b for a, b in zip(g[i], d[i], strict=True)) * d[i]
    return g


def adam_step(p, moments, x, *, l1: float, lr: float, b1: float, b2: float, eps: float):
    """One constrained step: (parameters, (mu, nu, count)) -> the same after it."""
    p, (mu, nu, count) = doubles(p), moments
    grads = gradients(p, x, l1)
    grads["W_dec"] = project(grads["W_dec"], p["W_dec"])
    count += 1
    mu = {k: b1 * mu[k] + (1 - b1) * g for k, g in grads.items()}
    nu = {k: b2 * nu[k] + (1 - b2) * g**2 for k, g in grads.items()}
    new = {k: p[k] - lr * (mu[k] / (1 - b1**count)) / (np.sqrt(nu[k] / (1 - b2**count)) + eps) for k in p}
    new["W_dec"] = new["W_dec"] / np.sqrt((new["W_dec"] ** 2).sum(axis=1, keepdims=True))
    return new, (mu, nu, count)


def no_moments(p: dict[str, Any]):
    return {k: np.zeros(np.shape(v)) for k, v in p.items()}, {k: np.zeros(np.shape(v)) for k, v in p.items()}, 0


def geometric_median(x: np.ndarray, steps: int = 20_000) -> np.ndarray:
    """Weiszfeld's iteration for as long as it takes; rows that the centre meets are left out of a step."""
    x = np.asarray(x, np.float64)
    centre = np.median(x, axis=0)
    for _ in range(steps):
        d = np.sqrt(((x - centre) ** 2).sum(axis=1))
        w = 1 / d[d > 0]
        new = (w[:, None] * x[d > 0]).sum(axis=0) / w.sum()
        if np.abs(new - centre).max() < 1e-14 * d.mean():
            break
        centre = new
    return centre


def pull(x: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The mean of the unit vectors from the centre to the rows: zero at the geometric median."""
    away = np.asarray(x, np.float64) - centre
    return (away / np.sqrt((away**2).sum(axis=1, keepdims=True))).mean(axis=0)


def resample(p, mu, nu, last_fired, step: int, window: int, x: np.ndarray, drawn: dict[int, int]):
    """One event on inputs x as the dictionary sees them: new (p, mu, nu, last_fired)."""
    p, mu, nu = ({k: v.copy() for k, v in doubles(t).items()} for t in (p, mu, nu))
    last_fired = np.array(last_fired)
    alive = [i for i in range(len(last_fired)) if step - last_fired[i] < window]
    norms = [math.sqrt((p["W_enc"][:, i] ** 2).sum()) for i in (alive or range(len(last_fired)))]
    for feature in set(range(len(last_fired))) - set(alive):
        row = np.asarray(x[drawn[feature]], np.float64)
        direction = row / math.sqrt((row**2).sum())
        p["W_dec"][feature] = direction
        p["W_enc"][:, feature] = 0.2 * sum(norms) / len(norms) * direction
        p["b_enc"][feature] = 0.0
        for moment in (mu, nu):
            moment["W_dec"][feature] = 0.0
            moment["W_enc"][:, feature] = 0.0
            moment["b_enc"][feature] = 0.0
        last_fired[feature] = step
    return p, mu, nu, last_fired


def next_token_losses(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """[T-1] negative log-likelihoods of one context."""
    logits = np.asarray(logits, np.float64)
    found = []
    for t in range(len(tokens) - 1):
        top = logits[t].max()
        found.append(top + math.log(np.exp(logits[t] - top).sum()) - logits[t, tokens[t + 1]])
    return np.asarray(found)


def row_metrics(p: dict[str, Any], x: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """The metrics of a dictionary on rows [N,M], and the densities [F]."""
    x = np.asarray(x, np.float64)
    f = encode(p, x)
    error, deviation = decode(p, f) - x, x - x.mean(axis=0)
    density = np.asarray([sum(f[:, i] > 0) / len(x) for i in range(f.shape[1])])
    return {
        "l0": np.mean([(row > 0).sum() for row in f]),
        "mse": (error**2).mean(),
        "variance_explained": 1 - (error**2).sum() / (deviation**2).sum(),
        "l1": f.sum(axis=1).mean(),
        "n_features": f.shape[1],
        "dead": sum(d == 0 for d in density),
        "dense": sum(d > 0.01 for d in density),
        "evaluated_tokens": len(x),
    }, density


def evaluation(tokens, to_acts, from_acts, p: dict[str, Any], bos: int) -> tuple[dict[str, float], np.ndarray]:
    """The metrics on contexts [C,T], a context at a time; `to_acts` and `from_acts` are the transformer's halves."""
    halves = [to_acts(t[None]) for t in tokens]
    rows = np.concatenate([np.asarray(x[0])[t != bos] for (_, x), t in zip(halves, tokens, strict=True)])
    mean = rows.astype(np.float64).mean(axis=0)
    losses: dict[str, list[float]] = {"intact": [], "zero_ablation": [], "mean_ablation": [], "reconstructed": []}
    for t, (carry, x) in zip(tokens, halves, strict=True):
        x = np.asarray(x[0], np.float64)
        replaced = {"intact": x, "zero_ablation": 0 * x, "mean_ablation": 0 * x + mean}
        replaced["reconstructed"] = decode(p, encode(p, x))
        for kind, new in replaced.items():
            acts = np.where((t == bos)[:, None], x, new).astype(np.float32)
            losses[kind] += list(next_token_losses(from_acts(carry, acts[None])[0], t))
    ce = {f"ce_{kind}": float(np.mean(values)) for kind, values in losses.items()}
    recovered = {
        f"loss_recovered_{kind}": (ce[f"ce_{kind}_ablation"] - ce["ce_reconstructed"])
        / (ce[f"ce_{kind}_ablation"] - ce["ce_intact"])
        for kind in ("zero", "mean")
    }
    metrics, density = row_metrics(p, rows)
    return {**ce, **recovered, **metrics}, density
