"""Products of activations, summed over tokens, for pairs of features: all pairs, a sketch of all, or some."""

from __future__ import annotations

import numpy as np

from monosem_jax.analysis.scan.batch import Batch, Sums
from monosem_jax.analysis.scan.firings import Dense, Firings
from monosem_jax.analysis.scan.hashes import Keys

# Seconds per unit of work of the three ways to sum products, on a CPU; only their ratios matter.
PER_PAIR, PER_ROW_OF_DENSE, PER_DENSE = 15e-9, 0.6e-9, 2e-11
SCRATCH = 1 << 24  # numbers in a temporary dense array


class PairMoments(Sums):
    """Sums of the activations of two sets and of their squares, on the tokens on which they are compared."""

    def __init__(self, n: int, m: int):
        self.state = {
            "total": np.zeros(n),
            "square": np.zeros(n),
            "other_total": np.zeros(m),
            "other_square": np.zeros(m),
        }

    def add_moments(self, f: Firings, g: Firings | Dense) -> None:
        for prefix, x in (("", f), ("other_", g)):
            total, square = x.moments()
            self.state[f"{prefix}total"] += total
            self.state[f"{prefix}square"] += square


class AllPairs(PairMoments):
    """Σ f_i g_j [F,G] for every feature of a set and every feature of the set `other` ("": of the same set)."""

    def __init__(self, n: int, m: int, other: str):
        super().__init__(n, m)
        self._other = other
        self.state["product"] = np.zeros((n, m))

    def add(self, batch: Batch) -> None:
        if not batch.compared.any():
            return
        f, g = compared(batch, self._other)
        self.add_moments(f, g)
        add_products(self.state["product"], f, g)


class Sketch(PairMoments):
    """Random projections of the activations, as functions of the token, of two sets: their products estimate sums of
    products to within ‖f‖‖g‖/√columns (Johnson and Lindenstrauss; signs as in Achlioptas 2003)."""

    def __init__(self, n: int, m: int, other: str, columns: int, seed: int):
        super().__init__(n, m)
        self._other, self._keys, self._columns = other, Keys("sketch", seed), columns
        self.state["signs"] = np.zeros(columns)
        self.state["sketch"] = np.zeros((n, columns), np.float32)
        if other:
            self.state["other_sketch"] = np.zeros((m, columns), np.float32)

    def add(self, batch: Batch) -> None:
        if not batch.compared.any():
            return
        f, g = compared(batch, self._other)
        self.add_moments(f, g)
        rows = np.flatnonzero(batch.real & batch.compared)
        signs = np.zeros((f.n_rows, self._columns), np.float32)
        signs[rows] = self._keys.signs(batch.first_token + rows, self._columns)
        self.state["signs"] += signs.sum(axis=0, dtype=np.float64)
        for name, x in (("sketch", f), ("other_sketch", g)):
            if name in self.state:
                add_rows(self.state[name], x, signs)

    def centred(self, tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays [F,r] and [G,r] whose products estimate correlations over so many tokens; rows of features that
        do not vary are zero."""
        s = self.state
        found = []
        for prefix in ("", "other_")[: 1 + bool(self._other)]:
            mean, deviation = mean_and_deviation(s[f"{prefix}total"], s[f"{prefix}square"], tokens)
            scale = np.where(deviation > 0, deviation, np.inf) * np.sqrt(tokens * self._columns)
            x = np.outer(-mean.astype(np.float32), s["signs"].astype(np.float32))
            x += s[f"{prefix}sketch"]
            x /= scale.astype(np.float32)[:, None]
            found.append(x)
        if not self._other:
            found = found[:1] * 2
        return found[0], found[1]


class SomePairs(Sums):
    """Σ f_i g_j for some features j of another set for each feature i: `candidates` [F,c], -1 for none."""

    def __init__(self, candidates: np.ndarray, other: str):
        self._candidates, self._other = candidates, other
        self.state = {"product": np.zeros(candidates.shape)}

    def add(self, batch: Batch) -> None:
        if not batch.compared.any():
            return
        f, g = compared(batch, self._other)
        size, product = max(1, SCRATCH // g.n_features), self.state["product"]
        rows = None if isinstance(g, Dense) else g.matrix(np.float32).T.tocsr()
        for a in range(0, f.n_rows, size):
            here = f.where((f.row >= a) & (f.row < a + size))
            if not len(here.row):
                continue
            dense = g.dense()[a : a + size] if rows is None else rows[a : a + size].toarray()
            each = dense[(here.row - a)[:, None], self._candidates[here.feature]].astype(np.float64)
            each *= here.value[:, None]
            present = np.flatnonzero(np.diff(here.starts))
            product[present] += np.add.reduceat(each, here.starts[present], axis=0)


def compared(batch: Batch, other: str) -> tuple[Firings, Firings | Dense]:
    """The firings of the set and of another ("": the same), on the tokens on which they are compared."""
    f, g = batch.firings, batch.others[other] if other else batch.firings
    kept = f.on_rows(batch.compared)
    return kept, g.on_rows(batch.compared) if other else kept


def add_products(table: np.ndarray, f: Firings | Dense, g: Firings | Dense) -> None:
    """Adds Σ f_i g_j over the rows of a batch to `table` [F,G], in the way that costs least."""
    if isinstance(f, Dense):
        if isinstance(g, Firings):
            add_products(table.T, g, f)
        else:
            table += f.dense(np.float64).T @ g.dense(np.float64)
        return
    sparse = PER_PAIR * float(f.of_row @ g.of_row)
    half = PER_ROW_OF_DENSE * len(f.row) * g.n_features
    dense = PER_DENSE * f.n_rows * f.n_features * g.n_features
    if sparse <= min(half, dense):
        found = f.matrix() @ g.matrix().T.tocsr()
        table[np.repeat(np.arange(len(table)), np.diff(found.indptr)), found.indices] += found.data
    elif half <= dense:
        add_rows(table, f, g.dense(np.float64))
    else:
        table += f.dense(np.float64).T @ g.dense(np.float64)


def add_rows(table: np.ndarray, f: Firings | Dense, x: np.ndarray) -> None:
    """Adds fᵀ x to `table` [F,r], for numbers x [B,r] of the tokens of a batch."""
    if isinstance(f, Dense):
        table += f.f.T.astype(x.dtype) @ x
        return
    present = np.flatnonzero(np.diff(f.starts))
    table[present] += f.matrix(x.dtype.type)[present] @ x


def mean_and_deviation(total: np.ndarray, square: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation over n tokens, 0 where it is no more than rounding."""
    mean = total / n
    variance = square / n - mean**2
    return mean, np.sqrt(np.where(variance > 1e-9 * square / n, variance, 0))
