"""The Feature Monosemanticity Score (arXiv 2506.19382): is a concept in one feature, and in no other?

Scored on held-out rows, where the authors' code fits and scores on the same; see `LabelledRows` for what rows are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monosem_jax.analysis.probing.labelled_rows import Concept, LabelledRows, Picks
from monosem_jax.analysis.probing.sparse_rows import SparseRows
from monosem_jax.analysis.probing.trees import grow, root_gains
from monosem_jax.analysis.records_tables import FmsRow
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.rng import stream

PS = (1, 5)  # how many of the best features are taken away for FMS@p
CANDIDATES = 128  # features that a tree can choose from: those that split the training rows best by themselves
CUT_DEPTH = 3  # of trees without the best features
LEAST_ROWS = 3  # training rows in which a feature must not be 0 to be a candidate
COLUMNS = 4096  # features that are sorted at a time


@pinned()
def score(name: str, training: LabelledRows, heldout: LabelledRows, concept: Concept, seed: int = 0) -> FmsRow:
    """FMS@1 and FMS@5 of a concept in the set `name`, and the same with shuffled classes.

    accs_0 is the held-out accuracy of the root alone, accs_cum_i that of the tree cut off at depth i, and accs_p that
    of a tree of depth CUT_DEPTH grown without the p features that were roots before. FMS_local@p is
    2 (accs_0 − accs_p), FMS_global is 1 − the mean over depths of (accs_cum_i − accs_0), and FMS@p is
    accs_0 (FMS_local@p + FMS_global) / 2. Trees choose from CANDIDATES features only.
    """
    rows, picks = training.of(concept)
    test_rows, test = heldout.of(concept)
    real = _Fit.of(rows, picks, picks.truth, test_rows, test, test.truth)
    rng = stream(f"fms.shuffled.{concept.kind}.{concept.name}", seed)
    control = _Fit.of(rows, picks, rng.permutation(picks.truth), test_rows, test, rng.permutation(test.truth))
    return FmsRow(
        concept=concept.name,
        kind=concept.kind,
        set=name,
        training_rows=len(picks.rows),
        heldout_rows=len(test.rows),
        feature=real.roots[0],
        root_accuracy=real.root,
        depth_accuracy=tuple(real.by_depth),
        removed=tuple(real.roots),
        removed_accuracy=tuple(real.without),
        fms_1=fms(real.root, real.by_depth, real.without[0]),
        fms_5=fms(real.root, real.by_depth, real.without[-1]),
        root_accuracy_shuffled=control.root,
        fms_1_shuffled=fms(control.root, control.by_depth, control.without[0]),
        fms_5_shuffled=fms(control.root, control.by_depth, control.without[-1]),
    )


def fms(root: float, by_depth: Sequence[float], without: float) -> float:
    """accs_0 (FMS_local@p + FMS_global) / 2."""
    local = 2 * (root - without)
    whole = 1 - float(np.mean(np.asarray(by_depth) - root))
    return root * (local + whole) / 2


class _Fit:
    """Trees of training rows, measured on held-out rows: the accuracy of the root, at each depth, and without the
    features `roots`, of which the first is the root."""

    def __init__(self, x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, columns: np.ndarray):
        tree = grow(x, y)
        self.by_depth = [_share(tree.predict(test_x, d), test_y) for d in range(1, tree.height + 1)]
        constant = _share(tree.predict(test_x, 0), test_y)  # where no feature varies
        self.root = self.by_depth[0] if self.by_depth else constant
        self.by_depth = self.by_depth or [constant]
        self.roots: list[int] = []
        self.without: list[float] = []
        left, small = np.arange(len(columns)), tree
        for _ in range(max(PS)):
            best = int(small.feature[0])
            if best >= 0:
                self.roots.append(int(columns[left[best]]))
                left = np.delete(left, best)
            small = grow(x[:, left], y, CUT_DEPTH)
            self.without.append(_share(small.predict(test_x[:, left]), test_y))
        self.roots = self.roots or [-1]

    @classmethod
    def of(
        cls, rows: SparseRows, picks: Picks, y: np.ndarray, test_rows: SparseRows, test: Picks, test_y: np.ndarray
    ) -> _Fit:
        """With the candidates of the training rows."""
        columns = candidates(rows, picks.rows, y)
        x, test_x = rows.dense(picks.rows, columns), test_rows.dense(test.rows, columns)
        return cls(x.astype(np.float64), y, test_x.astype(np.float64), test_y, columns)


def candidates(rows: SparseRows, chosen: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The CANDIDATES features whose best split of the rows `chosen` leaves the least impurity, in order."""
    alive = np.flatnonzero(rows.counts(chosen) >= LEAST_ROWS)
    parts = [alive[i : i + COLUMNS] for i in range(0, len(alive), COLUMNS)]
    gains = np.concatenate([np.zeros(0), *(root_gains(rows.dense(chosen, part), y) for part in parts)])
    return alive[np.sort(np.argsort(-gains, kind="stable")[:CANDIDATES])]


def mean_of(rows: Sequence[FmsRow], name: str, field: str) -> float | None:
    """The mean of a field of the rows of a set; None when there are none."""
    found = [getattr(row, field) for row in rows if row.set == name]
    return float(np.mean(found)) if found else None


def _share(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean(a == b))
