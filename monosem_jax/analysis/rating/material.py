"""Material for human rating (paper, "Manual Human Analysis") in which nobody can tell features from neurons.

`rating.json` has the rubric and items in random order under ids that tell nothing: examples of 11 equal intervals of
(0, maximum], activations as shares of the maximum, the largest logit weights as shares of the largest. Which feature an
item is stands in `rating_key.json`, which raters do not open. Every interval is rated against the rater's hypothesis of
the whole item.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.examples import ExampleText
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.rating.rubric import RUBRIC
from monosem_jax.analysis.scan.result import SetScan
from monosem_jax.analysis.windows import windows
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import write_json
from monosem_jax.runtime.rng import entropy, stream

MATERIAL, KEY = "rating.json", "rating_key.json"
FORMAT = 1
N_INTERVALS, PER_INTERVAL, N_LOGITS = 11, 5, 10
AROUND = (20, 12)  # tokens before and after the one that was drawn


LogitWeights = Callable[[Sequence[int]], np.ndarray]  # features [n] → their weights [n,V]; NaN: a token left out


@pinned()
def write_material(
    folder: pathlib.Path,
    sets: Sequence[FeatureSet],
    scans: Sequence[SetScan],
    text: ExampleText,
    logits: Mapping[str, LogitWeights],
    *,
    n_per_set: int,
    seed: int,
) -> list[str]:
    """Writes rating.json and rating_key.json for `n_per_set` features of every set, drawn from those that fire, and
    returns the ids in order. A set with fewer gives all of them. `logits` are by the name of a set; a set without has
    items without logits, which would tell it apart from others: then no item has them.

    Raises BadInput where nothing fires, and on a scan without N_INTERVALS intervals.
    """
    with_logits = all(s.name in logits for s in sets)
    chosen = []
    for number, (features, scan) in enumerate(zip(sets, scans, strict=True)):
        if N_INTERVALS not in scan.intervals:
            raise BadInput(f"the scan of {scan.name} has intervals {sorted(scan.intervals)}: expected {N_INTERVALS}")
        alive = stream("rating.features", seed, number).permutation(np.flatnonzero(scan.fired > 0))[:n_per_set]
        if not len(alive):
            continue
        weights = logits[features.name](alive.tolist()) if with_logits else None
        activations = _activations(features, text, scan, alive)
        for j, feature in enumerate(alive.tolist()):
            item = _item(scan, text, activations[j], feature, None if weights is None else weights[j])
            identity = entropy("rating.id", seed, number, feature) % (1 << 48)
            chosen.append((f"{identity:012x}", item, {"set": features.name, "feature": feature}))
    if not chosen:
        raise BadInput("nothing to rate: no feature of any set fires")
    chosen.sort(key=lambda one: one[0])  # ids are hashes: a random order
    rubric = [dataclasses.asdict(q) for q in RUBRIC]
    items = [{"id": i, **item} for i, item, _ in chosen]
    write_json(folder / MATERIAL, {"format": FORMAT, "rubric": rubric, "items": items})
    write_json(folder / KEY, {"format": FORMAT, "items": {i: key for i, _, key in chosen}})
    return [i for i, _, _ in chosen]


def _activations(features: FeatureSet, text: ExampleText, scan: SetScan, chosen: np.ndarray) -> np.ndarray:
    """[n,N_INTERVALS,PER_INTERVAL,w] the activations around the examples of the chosen features, 0 where there is no
    example."""
    reservoir = scan.intervals[N_INTERVALS]
    context, position = (a[chosen, :, :PER_INTERVAL] for a in (reservoir.context, reservoir.position))
    feature = np.broadcast_to(chosen[:, None, None], context.shape)
    f = windows(features, text.tokens, context, position, feature, *AROUND, batch=16)
    return f.reshape(*context.shape, f.shape[-1])


def _item(
    scan: SetScan, text: ExampleText, activations: np.ndarray, feature: int, weights: np.ndarray | None
) -> dict[str, Any]:
    """What raters see of a feature; `activations` [N_INTERVALS,PER_INTERVAL,w]."""
    reservoir, maximum = scan.intervals[N_INTERVALS], float(scan.maximum[feature])
    intervals = []
    for n in range(N_INTERVALS - 1, -1, -1):
        examples = []
        for k, f in enumerate(activations[n]):
            context, position = int(reservoir.context[feature, n, k]), int(reservoir.position[feature, n, k])
            if context >= 0:
                e = text.example(context, position, f, AROUND)
                shares = [round(max(a, 0.0) / maximum, 4) for a in e.activations]
                examples.append({"tokens": list(e.tokens), "activations": shares, "peak": e.peak})
        intervals.append({"interval": n, "examples": examples})
    return {"intervals": intervals, "logits": [] if weights is None else _logits(weights, text.strings)}


def _logits(weights: np.ndarray, strings: Sequence[str]) -> list[list[Any]]:
    order = np.argsort(-np.nan_to_num(weights, nan=-np.inf), kind="stable")[:N_LOGITS]
    largest = float(weights[order[0]])
    return [[strings[int(t)], round(float(weights[t]) / largest, 3) if largest > 0 else 0.0] for t in order]
