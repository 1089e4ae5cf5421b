"""Decision trees with Gini impurity for two classes, small and exact."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tree:
    """Node i sends a row to `left[i]` if its `feature[i]` is at most `threshold[i]`, else to `right[i]`.

    `feature` is -1 at leaves. `vote` is the class of most training rows of the node (False if there are as many of
    either), `depth` its depth.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    vote: np.ndarray
    depth: np.ndarray

    def predict(self, x: np.ndarray, depth: int | None = None) -> np.ndarray:
        """[n] the class of rows [n,m], when the tree is cut off at a depth (None: not)."""
        node = np.zeros(len(x), np.int64)
        for _ in range(self.height if depth is None else min(depth, self.height)):
            inner = self.feature[node] >= 0
            value = x[np.arange(len(x)), np.maximum(self.feature[node], 0)]
            child = np.where(value <= self.threshold[node], self.left[node], self.right[node])
            node = np.where(inner, child, node)
        return self.vote[node]

    @property
    def height(self) -> int:
        """The depth of its deepest leaf."""
        return int(self.depth.max())


def grow(x: np.ndarray, y: np.ndarray, most: int | None = None) -> Tree:
    """The tree of rows [n,m] with classes [n], grown until its leaves are pure or to the depth `most`.

    Each node takes the split, over all features and all thresholds halfway between neighbouring values, that leaves the
    least Gini impurity; of equal ones the first feature's, at its smallest threshold.
    """
    nodes: list[list[float]] = []

    def add(rows: np.ndarray, depth: int) -> int:
        truth = y[rows]
        number = len(nodes)
        nodes.append([-1, 0.0, -1, -1, float(2 * truth.sum() > len(truth)), depth])
        if truth.all() or not truth.any() or depth == most:
            return number
        if (split := best_split(x[rows], truth)) is not None:
            feature, threshold = split
            low = x[rows, feature] <= threshold
            nodes[number][:2] = feature, threshold
            nodes[number][2] = add(rows[low], depth + 1)
            nodes[number][3] = add(rows[~low], depth + 1)
        return number

    add(np.arange(len(x)), 0)
    feature, threshold, left, right, vote, depth = np.asarray(nodes, np.float64).T
    whole = [a.astype(np.int64) for a in (feature, left, right, depth)]
    return Tree(whole[0], threshold, whole[1], whole[2], vote > 0, whole[3])


def best_split(x: np.ndarray, y: np.ndarray) -> tuple[int, float] | None:
    """(feature, threshold) of the best split of rows [n,m]; None when no feature varies."""
    order = np.argsort(x, axis=0, kind="stable")
    values = np.take_along_axis(x, order, axis=0)
    gain = _purity(y[order], values)
    place = gain.argmax(axis=0) if len(gain) else np.zeros(0, np.int64)
    if not gain.size or not np.isfinite(best := gain[place, np.arange(x.shape[1])]).any():
        return None
    feature = int(np.argmax(best))
    at = int(place[feature])
    low, high = float(values[at, feature]), float(values[at + 1, feature])
    middle = low + (high - low) / 2
    return feature, middle if low <= middle < high else low


def root_gains(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[m] by how much the best split of each feature alone lowers the Gini impurity of rows [n,m]; 0 for one that does
    not vary."""
    order = np.argsort(x, axis=0, kind="stable")
    gain = _purity(y[order], np.take_along_axis(x, order, axis=0))
    if not gain.size:
        return np.zeros(x.shape[1])
    n, k = len(y), int(np.sum(y))
    best = gain.max(axis=0)
    return np.where(np.isfinite(best), (best - (k * k + (n - k) ** 2) / n) / n, 0)


def _purity(y: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[n-1,m] Σ over both sides of (Σ_class count²) / size for every split of sorted values [n,m], whose classes are
    `y` [n,m]: the larger, the purer. -inf between equal values."""
    n = len(y)
    ones = np.cumsum(y, axis=0, dtype=np.float64)
    left = np.arange(1, n, dtype=np.float64)[:, None]
    a = ones[:-1]
    b, right = ones[-1] - a, n - left
    found = (a * a + (left - a) ** 2) / left + (b * b + (right - b) ** 2) / right
    return np.where(values[1:] > values[:-1], found, -np.inf)
