"""Families shown with examples: the clearest splits of each step, and the families of features that follow a label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.examples import SHORT
from monosem_jax.analysis.relations.base import Relations
from monosem_jax.analysis.scan.result import SetScan
from monosem_jax.analysis.splitting.children import describe, token_divergence
from monosem_jax.analysis.splitting.cover import Cover
from monosem_jax.analysis.splitting.edges import Step
from monosem_jax.analysis.splitting.graph import SplittingGraph
from monosem_jax.analysis.windows import windows

SUBSTANTIAL = 0.1  # of the parent's firings: below it a child is no part of a split
AROUND = (8, SHORT[1])  # tokens before and after, in examples

Place = tuple[int, int]  # (which size, which feature)


def told(
    study: Relations,
    graph: SplittingGraph,
    covers: Sequence[Cover],
    scans: Sequence[SetScan],
    n: int,
    most_children: int,
    n_examples: int,
) -> list[dict[str, Any]]:
    """Families as nested rows; `level` is the place of the first feature's dictionary among the sizes.

    The `n` clearest splits of each step, then for each label the feature of the smallest dictionary whose activations
    correlate most with it, `n` of them, with all its descendants.
    """
    chosen = [
        ({"why": "clear split", "score": score}, (k, parent), 1)
        for k, (step, covered) in enumerate(zip(graph.steps, covers, strict=True))
        for parent, score in clearest(step, covered, n)
    ]
    chosen += [
        ({"why": "label", "label_of": label, "correlation": r}, (0, feature), len(graph.steps))
        for label, feature, r in of_labels(scans[0], graph.steps[0].considered_parents, n)
    ]
    teller = _Teller(study, graph, covers, scans, most_children)
    rows = [{**why, "level": place[0], "feature": teller.row(place, depth)} for why, place, depth in chosen]
    teller.add_examples(n_examples)
    return rows


def clearest(step: Step, covered: Cover, n: int) -> list[tuple[int, float]]:
    """(parent, score) of the n clearest splits: parents with two or more children that each fire on at least
    SUBSTANTIAL of the parent's tokens, in falling order of P(a child fires | parent fires) · P(parent fires | a child
    fires) · (1 − the share of the children's tokens with several of them)."""
    real = np.bincount(
        step.parent[step.best & (step.parent_to_child >= SUBSTANTIAL)], minlength=len(step.considered_parents)
    )
    score = np.nan_to_num(covered.share * covered.within * (1 - covered.together), nan=-1.0)
    score[real < 2] = -1
    order = np.argsort(-score, kind="stable")[:n]
    return [(int(i), float(score[i])) for i in order if score[i] > 0]


def of_labels(scan: SetScan, considered: np.ndarray, n: int) -> list[tuple[str, int, float]]:
    """(label, feature, correlation): the best feature of each label, for the n labels with the best ones."""
    found = []
    for label, r in zip(scan.labels, scan.label_correlation, strict=True):
        r = np.where(considered & np.isfinite(r), r, -np.inf)
        best = int(np.argmax(r))
        if label and r[best] > 0:
            found.append((label, best, float(r[best])))
    return sorted(found, key=lambda row: -row[2])[:n]


class _Teller:
    def __init__(
        self,
        study: Relations,
        graph: SplittingGraph,
        covers: Sequence[Cover],
        scans: Sequence[SetScan],
        most_children: int,
    ):
        self._study, self._graph, self._covers, self._scans = study, graph, covers, scans
        self._most = most_children
        self._rows: list[tuple[Place, dict[str, Any]]] = []

    def row(self, place: Place, depth: int) -> dict[str, Any]:
        """What a feature fires on, and its children, `depth` generations of them."""
        level, feature = place
        scan, strings = self._scans[level], self._study.heldout.strings
        about = describe(scan, feature)
        found: dict[str, Any] = {
            "set": scan.name,
            "feature": feature,
            "fired": int(scan.fired[feature]),
            "tokens": [[strings[token], round(share, 4)] for token, share in about.tokens],
            "label": about.label,
            "label_share": about.label_share,
            "label_lift": about.lift,
            "examples": [],
        }
        self._rows.append((place, found))
        if depth and level < len(self._graph.steps):
            found |= self._children(level, feature, depth)
        return found

    def _children(self, level: int, feature: int, depth: int) -> dict[str, Any]:
        step, covered = self._graph.steps[level], self._covers[level]
        edges = step.children_of(feature)
        children = []
        for e in edges[: self._most]:
            figures = ("similarity", "cosine", "child_to_parent", "matched", "parent_to_child", "mass")
            edge = {name: _number(getattr(step, name)[e]) for name in figures}
            children.append({**self.row((level + 1, int(step.child[e])), depth - 1), "edge": edge})
        shown = step.child[edges[: self._most]]
        a, b = np.triu_indices(len(shown), 1)
        scan = self._scans[level + 1]
        apart = token_divergence(scan, shown[a], scan, shown[b])
        return {
            "n_children": len(edges),
            "n_all_children": len(step.children_of(feature, best=False)),
            "token_divergence": float(np.nanmean(apart)) if np.isfinite(apart).any() else None,
            **{name: _number(getattr(covered, name)[feature]) for name in ("share", "mass", "within", "together")},
            "children": children,
        }

    def add_examples(self, n: int) -> None:
        """Puts the strongest contexts of every feature that is told into its row: one reading of them for each set."""
        heldout, (before, after) = self._study.heldout, AROUND
        for level, scan in enumerate(self._scans):
            here = [(f, row) for (at, f), row in self._rows if at == level]
            places = [
                (row, f, int(scan.top_context[f, k]), int(scan.top_position[f, k]))
                for f, row in here
                for k in range(min(n, scan.top_context.shape[1]))
                if scan.top_context[f, k] >= 0
            ]
            if not places:
                continue
            feature, context, position = (np.asarray([p[i] for p in places]) for i in (1, 2, 3))
            features = self._study.sets[self._study.sizes[level]].features
            f = windows(features, heldout.tokens, context, position, feature, before, after, batch=self._study.batch)
            for (row, _, c, p), values in zip(places, f, strict=True):
                example = heldout.example(c, p, values, AROUND)
                shown = {"tokens": list(example.tokens), "activations": list(example.activations)}
                row["examples"].append({**shown, "peak": example.peak, "label": example.label})


def _number(x: np.floating) -> float | None:
    return float(x) if np.isfinite(x) else None
