"""Ratings of the material, read back strictly, and what they say: features against neurons."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.rating.material import KEY, MATERIAL
from monosem_jax.analysis.rating.rubric import GOOD, RUBRIC
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json
from monosem_jax.runtime.rng import stream

BOOTSTRAPS = 2000


@dataclasses.dataclass(frozen=True)
class Rating:
    """The points of one interval of one item: the sum of the answers about it and about the whole item."""

    item: str
    interval: int
    points: int


@dataclasses.dataclass(frozen=True)
class Ratings:
    """What was rated, the interpretations by item, and the items and intervals of rated items that were not."""

    points: tuple[Rating, ...]
    interpretations: Mapping[str, str]
    missing: tuple[str, ...]


def read_ratings(file: pathlib.Path, folder: pathlib.Path) -> Ratings:
    """Reads a ratings file: {"ratings": [{"id": …, "interpretation": …, "confidence": 2, "logits": 3, "intervals":
    {"10": {"consistency": 5, "specificity": 3}, …}}, …]}, against the rating.json in `folder`.

    Items and intervals may be left out, and are listed. Raises BadInput on an id or interval that does not exist, an id
    given twice, an answer that is missing, unknown or outside its range, and a file without ratings.
    """
    material = read_json(folder / MATERIAL, dict, ("items",))
    known = {item["id"]: [i["interval"] for i in item["intervals"] if i["examples"]] for item in material["items"]}
    points: list[Rating] = []
    words: dict[str, str] = {}
    for given in read_json(file, dict, ("ratings",))["ratings"]:
        item = given.get("id") if isinstance(given, dict) else given
        if not isinstance(item, str) or item not in known:
            raise BadInput(f"{file}: item {item!r} is not in {folder / MATERIAL}")
        if item in words:
            raise BadInput(f"{file}: item {item} is rated twice")
        per_interval = given.get("intervals")
        whole = _answers(
            f"{file}: item {item}", {k: v for k, v in given.items() if k not in ("id", "intervals")}, False
        )
        words[item] = given["interpretation"]
        for name, answers in _checked_intervals(f"{file}: item {item}", per_interval, known[item]).items():
            points.append(Rating(item, name, whole + _answers(f"{file}: item {item}, interval {name}", answers, True)))
    if not points:
        raise BadInput(f"{file} rates no interval of any item")
    rated = {(r.item, r.interval) for r in points}
    missing = [item for item in known if item not in words]
    missing += [f"{i}, interval {n}" for i in words for n in known[i] if (i, n) not in rated]
    return Ratings(tuple(points), words, tuple(missing))


def _checked_intervals(where: str, given: Any, known: Sequence[int]) -> dict[int, Any]:
    if not isinstance(given, dict):
        raise BadInput(f"{where} has no intervals: expected ratings by their numbers")
    names = {str(n): n for n in known}
    if unknown := [name for name in given if name not in names]:
        raise BadInput(f"{where}: interval {unknown[0]} has no examples: expected {', '.join(names)}")
    return {names[name]: answers for name, answers in given.items()}


def _answers(where: str, given: Any, each_interval: bool) -> int:
    """The sum of the points of one group of answers."""
    if not isinstance(given, dict):
        raise BadInput(f"{where} is {given!r}: expected answers by their keys")
    questions = {q.key: q for q in RUBRIC if q.each_interval == each_interval}
    if unknown := [key for key in given if key not in questions]:
        raise BadInput(f"{where} has {unknown[0]!r}: expected {', '.join(questions)}")
    total = 0
    for q in questions.values():
        value = given.get(q.key)
        if not q.points:
            if not isinstance(value, str) or not value.strip():
                raise BadInput(f"{where}: {q.key} is {value!r}: expected a sentence")
            continue
        asked = not q.only_below or given[q.only_below] < questions[q.only_below].points
        if not asked and value is None:
            continue
        if not asked:
            raise BadInput(f"{where}: {q.key} is {value!r}: it is not asked where {q.only_below} has all its points")
        if type(value) is not int or not 0 <= value <= q.points:
            raise BadInput(f"{where}: {q.key} is {value!r}: expected a whole number from 0 to {q.points}")
        total += value
    return total


@dataclasses.dataclass(frozen=True)
class SetRating:
    """The rated intervals of a set: how many of how many items, the median of their points with its 95 % bootstrap
    interval (over items), and the share of intervals with more than GOOD points."""

    set: str
    items: int
    intervals: int
    median: float
    low: float
    high: float
    good: float


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference of the medians of two sets with its 95 % bootstrap interval."""

    sets: tuple[str, str]
    value: float
    low: float
    high: float


def summarise(
    ratings: Sequence[Ratings], folder: pathlib.Path, *, seed: int = 0
) -> tuple[list[SetRating], list[Difference]]:
    """The ratings of one or more raters by set, in the order of the names, and each set against each later one. Whole
    items are resampled, since the intervals of one are not independent."""
    key = read_json(folder / KEY, dict, ("items",))["items"]
    by_set: dict[str, dict[str, list[int]]] = {}
    for r in (one for each in ratings for one in each.points):
        if r.item not in key:
            raise BadInput(f"{folder / KEY} has no item {r.item}: it belongs to other material")
        by_set.setdefault(key[r.item]["set"], {}).setdefault(r.item, []).append(r.points)
    found, drawn = [], {}
    for name in sorted(by_set):
        lists = [np.asarray(p, np.float64) for p in by_set[name].values()]
        every = np.concatenate(lists)
        drawn[name] = _medians(lists, stream("rating.bootstrap", seed, *name.encode()))
        low, high = (float(x) for x in np.quantile(drawn[name], [0.025, 0.975]))
        good = float(np.mean(every > GOOD))
        found.append(SetRating(name, len(lists), len(every), float(np.median(every)), low, high, good))
    differences = []
    for i, a in enumerate(found):
        for b in found[i + 1 :]:
            low, high = (float(x) for x in np.quantile(drawn[a.set] - drawn[b.set], [0.025, 0.975]))
            differences.append(Difference((a.set, b.set), a.median - b.median, low, high))
    return found, differences


def _medians(lists: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """[BOOTSTRAPS] medians over resampled items."""
    picks = rng.integers(0, len(lists), (BOOTSTRAPS, len(lists)))
    return np.asarray([np.median(np.concatenate([lists[i] for i in row])) for row in picks])
