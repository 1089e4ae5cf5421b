"""A second implementation of all architectures: float64, plain NumPy, by the formulas of their docstrings.

Losses are written so that they are smooth: the set of active features, values under a stop-gradient, and the kernels of
straight-through estimators are held fixed at the parameters. So gradients can be taken by complex steps, which have
almost no rounding error, for any formula.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tests.reference import doubles

SUMMED = ("april_2024", "jumprelu", "gated", "crosscoder", "p_anneal")  # squared errors are summed over M there
IN_VARIANCES = ("topk", "abs_topk", "transcoder")
UNCENTRED = ("april_2024", "transcoder", "crosscoder")
FREE_ROWS = ("april_2024", "crosscoder")  # of W_dec


@dataclasses.dataclass(frozen=True)
class Case:
    """A dictionary of an architecture with keys of its configuration, on rows that consist of `parts`."""

    architecture: str
    options: dict[str, Any]
    parts: tuple[int, ...]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.options.get(name, 0)

    @property
    def activates(self) -> str:
        kinds = {"april_2024": "relu", "relu": "relu", "p_anneal": "relu"}
        usual = "relu" if self.architecture == "crosscoder" else self.architecture
        return kinds.get(self.architecture) or self.options.get("activation", usual)

    @property
    def width_out(self) -> int:
        return self.parts[1] if self.architecture == "transcoder" else sum(self.parts)

    @property
    def with_aux(self) -> bool:
        return self.activates in ("topk", "abs_topk", "batchtopk") and self.aux_coefficient > 0

    def columns(self, scale: Any) -> np.ndarray:
        """What each column of a row is multiplied by."""
        return np.repeat(np.ravel(np.asarray(scale, np.float64)), self.parts if np.ndim(scale) else (sum(self.parts),))

    def split(self, rows: np.ndarray, scale: Any = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) of rows, scaled."""
        rows = np.asarray(rows, np.float64) * self.columns(scale)
        if self.architecture != "transcoder":
            return rows, rows
        return rows[..., : self.parts[0]], rows[..., self.parts[0] :]


@dataclasses.dataclass
class Given:
    """A batch of raw rows, and what a dictionary knows when it sees it: coefficients in `hyper`, with the scale."""

    params: dict[str, np.ndarray]
    rows: np.ndarray
    hyper: dict[str, Any]
    step: int
    last_fired: np.ndarray
    threshold: float = 0.0
    stats: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Found:
    """Gradients of the mean loss, terms as sums over the batch, activations, and the smallest one that is positive."""

    grads: dict[str, np.ndarray]
    terms: dict[str, float]
    f: np.ndarray
    least: float

    @property
    def fired(self) -> np.ndarray:
        """[F]: which features are active on some row."""
        return (self.f != 0).any(axis=0)


def row_top(z: np.ndarray, k: int) -> np.ndarray:
    """Where the k largest positive numbers of each row are, of equal ones the first."""
    mask = np.zeros(z.shape, bool)
    for row, kept in zip(z, mask, strict=True):
        for i in sorted(range(len(row)), key=lambda i, row=row: (-row[i], i))[:k]:
            kept[i] = row[i] > 0
    return mask


def batch_top(z: np.ndarray, n: int) -> np.ndarray:
    """Where the n largest positive numbers are, and those equal to the n-th."""
    positive = sorted(z[z > 0], reverse=True)
    return z > 0 if len(positive) <= n else z >= positive[n - 1]


def ends(case: Case, n_features: int) -> list[int]:
    """Where the prefixes of Matryoshka dictionaries end."""
    sizes = [g * n_features if g < 1 else g for g in case.options.get("groups", (n_features,))]
    return [int(e) for e in np.cumsum(sizes)]


def through(case: Case, p: dict[str, Any], x: np.ndarray) -> np.ndarray:
    centre = 0.0 if case.architecture in UNCENTRED else p["b_dec"]
    return (x - centre) @ p["W_enc"]


def norms(case: Case, p: dict[str, Any]) -> Any:
    """By which L1 is weighted: the sum over sites of the norms of a feature's vectors."""
    if case.architecture not in FREE_ROWS:
        return 1.0
    parts = np.split(p["W_dec"], np.cumsum(case.parts)[:-1], axis=1)
    return sum(np.sqrt((w**2).sum(axis=1)) for w in parts)


def decoded(case: Case, p: dict[str, Any], f: np.ndarray, x: np.ndarray) -> np.ndarray:
    return f @ p["W_dec"] + p["b_dec"] + (x @ p["W_skip"] if "W_skip" in p else 0)


def published(case: Case, p: dict[str, Any], x: np.ndarray, threshold: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(f, ŷ) of scaled x, each row by itself, from parameters as they are trained."""
    p = doubles(p)
    h = through(case, p, x)
    z = h + p["b_enc"]
    if case.activates == "jumprelu":
        mask = z > np.exp(p["log_threshold"])
    elif case.activates == "gated":
        z = np.exp(p["r_mag"]) * h + p["b_enc"]
        mask = (h + p["b_gate"] > 0) & (z > 0)
    elif case.activates == "topk":
        mask = row_top(z, case.k)
    elif case.activates == "abs_topk":
        mask = row_top(np.abs(z), case.k)
    else:
        mask = z * norms(case, p) > threshold if case.activates == "batchtopk" else z > 0
    return z * mask, decoded(case, p, z * mask, x)


def hold(case: Case, p: dict[str, np.ndarray], given: Given) -> dict[str, Any]:
    """What the loss holds as it is at these parameters."""
    x, y = case.split(given.rows, given.hyper["input_scale"])
    h = through(case, p, x)
    z, held = h + p["b_enc"], {"W_dec": p["W_dec"], "b_dec": p["b_dec"]}
    size = np.abs(z) if case.activates == "abs_topk" else z
    if case.activates == "relu":
        held["on"] = z > 0
    elif case.activates == "topk":
        held["on"] = row_top(z, case.k)
        held["wide"] = row_top(z, 4 * case.k)
    elif case.activates == "abs_topk":
        held["on"] = row_top(size, case.k)
    elif case.activates == "batchtopk":
        held["on"] = batch_top(z * norms(case, p), case.k * len(x))
    elif case.activates == "jumprelu":
        theta = np.exp(p["log_threshold"])
        held |= {"theta": theta, "on": z > theta, "near": (np.abs(z - theta) < case.bandwidth / 2) / case.bandwidth}
    else:
        held["gate"] = h + p["b_gate"] > 0
        held["on"] = held["gate"] & (np.exp(p["r_mag"]) * h + p["b_enc"] > 0)
    if case.with_aux:
        dead = np.array([(given.step - int(last)) * len(x) >= case.dead_rows for last in given.last_fired])
        held["some"], held["aux"] = bool(dead.any()), row_top(np.where(dead, size, 0), case.k_aux)
        held["error"] = y - decoded(case, p, z * held["on"], x)
        held["spread"] = ((held["error"] - held["error"].mean(axis=0)) ** 2).sum()
    return held


def terms(case: Case, p: dict[str, Any], held: dict[str, Any], given: Given) -> dict[str, Any]:
    """The mean loss, and the terms that it is made of as they are reported."""
    (x, y), n = case.split(given.rows, given.hyper["input_scale"]), len(given.rows)
    h = through(case, p, x)
    z = h + p["b_enc"]
    f = z * held["on"]
    if case.activates == "jumprelu":
        moved = np.exp(p["log_threshold"]) - held["theta"]
        f = f - held["theta"] * held["near"] * moved
    if case.activates == "gated":
        f = (np.exp(p["r_mag"]) * h + p["b_enc"]) * held["on"]

    def error(f):
        squares = ((decoded(case, p, f, x) - y) ** 2).sum() / n
        mean = squares / case.width_out
        if case.architecture in SUMMED and case.activates != "batchtopk":
            return squares
        return mean / given.hyper["variance"] if case.architecture in IN_VARIANCES else mean

    found = {"mse": ((decoded(case, p, f, x) - y) ** 2).mean(axis=1).sum() / n}
    if case.architecture == "matryoshka":
        first = [f * (np.arange(f.shape[1]) < end) for end in [0, *ends(case, f.shape[1])]]
        loss = sum(error(part) for part in first) / len(first)
    else:
        loss = error(f)
    if case.multi:
        found["wide"] = error(z * held["wide"])
        loss = loss + case.multi * found["wide"]
    if case.activates == "relu":
        found["l1"] = (f * norms(case, p)).sum() / n
        strength = given.hyper["l1_coefficient"]
        if case.architecture == "p_anneal":
            found |= {name: power(f, p).sum() / n for name, p in exponents(case, given.step).items()}
            strength = strength * given.stats["lp_scale"]
        loss = loss + strength * found["lp" if case.architecture == "p_anneal" else "l1"]
    if case.activates == "gated":
        gate = (h + p["b_gate"]) * held["gate"]
        found["l1"] = gate.sum() / n
        found["gated"] = ((gate @ held["W_dec"] + held["b_dec"] - y) ** 2).sum() / n
        loss = loss + given.hyper["l1_coefficient"] * found["l1"] + found["gated"]
    if case.activates == "jumprelu":
        l0 = (held["on"] - held["near"] * moved).sum() / n
        off = l0 / given.hyper["target_l0"] - 1 if case.target_l0 else None
        loss = loss + given.hyper["l0_coefficient"] * (l0 if off is None else off**2)
    if case.with_aux:
        left = ((held["error"] - (z * held["aux"]) @ p["W_dec"]) ** 2).sum()
        found["aux"] = left / held["spread"] if held["some"] else 0.0
        loss = loss + case.aux_coefficient * found["aux"]
    return {**found, "loss": loss}


def power(f: np.ndarray, p: float) -> np.ndarray:
    """f^p, and its chord where f is below 1e-4."""
    return np.where(f.real > 1e-4, np.where(f.real > 1e-4, f, 1) ** p, f * 1e-4 ** (p - 1))


def exponents(case: Case, step: int, n_steps: int = 1000) -> dict[str, float]:
    """p at a step of p-annealing, and that after its next update."""
    at = [case.anneal_start + (n_steps - case.anneal_start) * i // case.p_updates for i in range(case.p_updates)]
    done = sum(step >= a for a in at)
    values = np.linspace(1, case.p_end, case.p_updates + 1)
    return {"lp": values[done], "lp_next": values[min(done + 1, case.p_updates)]}


def next_stats(case: Case, given: Given, found: dict[str, float]) -> dict[str, float]:
    """`given.stats` after a step whose terms were these."""
    if case.architecture != "p_anneal":
        return given.stats
    now, following = (0.9 * given.stats[f"lp_sum{s}"] + found[f"lp{s}"] for s in ("", "_next"))
    if exponents(case, given.step + 1) == exponents(case, given.step):
        return {**given.stats, "lp_sum": now, "lp_sum_next": following}
    ratio = now / following if following else 1.0
    return {"lp_scale": given.stats["lp_scale"] * ratio, "lp_sum": 0.0, "lp_sum_next": 0.0}


def evaluate(case: Case, given: Given) -> Found:
    """All that a step finds out."""
    p, n = doubles(given.params), len(given.rows)
    held = hold(case, p, given)
    found = {name: float(v) * n for name, v in terms(case, p, held, given).items()}
    grads = {name: np.zeros(v.shape) for name, v in p.items()}
    for name, value in p.items():
        for at in np.ndindex(value.shape):
            moved = value.astype(complex)
            moved[at] += 1e-30j
            grads[name][at] = np.imag(terms(case, {**p, name: moved}, held, given)["loss"]) / 1e-30
    x, _ = case.split(given.rows, given.hyper["input_scale"])
    h = through(case, p, x)
    f = (np.exp(p["r_mag"]) * h if case.activates == "gated" else h) + p["b_enc"]
    f = f * held["on"]
    value = f * norms(case, p)
    least = value[f > 0].min() if (f > 0).any() else np.inf
    return Found(grads, {**found, "l0": float(np.count_nonzero(f)), "count": n}, f, least)
