"""k-sparse probes (SAEBench): how well k features tell a concept from everything else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monosem_jax.analysis.probing.labelled_rows import Concept, LabelledRows
from monosem_jax.analysis.records_tables import ProbeRow
from monosem_jax.runtime.ambient import pinned

KS = (1, 2, 5)  # features of a probe
C = 1.0  # weight of the loss against ½ ‖w‖², as scikit-learn's default
ITERATIONS = 100
TOLERANCE = 1e-10


@pinned()
def probe(name: str, training: LabelledRows, heldout: LabelledRows, concept: Concept) -> ProbeRow:
    """Probes of one concept with the rows of the set `name`.

    The k features are those with the largest difference, by size, between the means of the training rows with and
    without the concept; a logistic regression on them is fitted on the training rows, and its accuracy is that on the
    held-out rows. Both texts have as many rows with the concept as without.
    """
    rows, picks = training.of(concept)
    test_rows, test = heldout.of(concept)
    difference = np.abs(rows.mean(picks.positive) - rows.mean(picks.negative))
    order = np.argsort(-difference, kind="stable")[: max(KS)]
    accuracies = []
    for k in KS:
        columns = order[:k]
        w = logistic_regression(rows.dense(picks.rows, columns), picks.truth)
        accuracies.append(accuracy(w, test_rows.dense(test.rows, columns), test.truth))
    return ProbeRow(
        concept=concept.name,
        kind=concept.kind,
        set=name,
        training_rows=len(picks.rows),
        heldout_rows=len(test.rows),
        features=tuple(int(i) for i in order),
        ks=KS,
        accuracy=tuple(accuracies),
    )


def logistic_regression(x: np.ndarray, y: np.ndarray, c: float = C) -> np.ndarray:
    """[k+1] weights and, last, the intercept, that minimise ½ ‖w‖² + c Σ log loss over rows [n,k] with truth [n]; the
    intercept is free. Newton's method in float64, with halved steps where a whole one does not help."""
    x = np.concatenate([np.asarray(x, np.float64), np.ones((len(x), 1))], axis=1)
    sign = np.where(y, 1.0, -1.0)
    penalty = np.append(np.ones(x.shape[1] - 1), 0.0)
    w = np.zeros(x.shape[1])
    value = _objective(w, x, sign, penalty, c)
    for _ in range(ITERATIONS):
        p = _sigmoid(-sign * (x @ w))  # how wrong each row is
        gradient = penalty * w - c * (x.T @ (sign * p))
        hessian = np.diag(penalty + 1e-12) + c * (x.T * (p * (1 - p))) @ x
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (found := _objective(w - size * step, x, sign, penalty, c)) > value and size > 1e-10:
            size /= 2
        if found > value:
            break
        w, improved, value = w - size * step, value - found, found
        if improved <= TOLERANCE * max(value, 1.0) and np.abs(gradient).max() < 1e-6:
            break
    return w


def _objective(w: np.ndarray, x: np.ndarray, sign: np.ndarray, penalty: np.ndarray, c: float) -> float:
    return float(0.5 * np.sum(penalty * w * w) + c * np.sum(np.logaddexp(0, -sign * (x @ w))))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * z))


def accuracy(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """The share of rows on the right side."""
    return float(np.mean((np.asarray(x, np.float64) @ w[:-1] + w[-1] > 0) == y))


def mean_accuracy(rows: Sequence[ProbeRow], name: str, k: int) -> float | None:
    """The mean over the concepts of a set; None when there are none."""
    found = [row.accuracy[row.ks.index(k)] for row in rows if row.set == name]
    return float(np.mean(found)) if found else None
