"""Universality: which features of the first dictionary the others have too, and how stable they are over seeds."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from monosem_jax.analysis.joint.pair_sums import Pair
from monosem_jax.analysis.relations.base import Compared, Relation, Relations
from monosem_jax.analysis.relations.matched_effects import MatchedEffects, UniversalityConfig
from monosem_jax.analysis.universality.distribution import distribution
from monosem_jax.analysis.universality.matches import (
    STABLE,
    Matches,
    exchanged,
    matches_of,
    stability,
    within,
)
from monosem_jax.runtime.errors import BadInput


def _pairs(study: Relations) -> list[tuple[int, int]]:
    """The pairs of sets: the first dictionary with each other one, with neurons and controls, and the baselines."""
    others, controls = study.dictionaries[1:], study.of_role("control")
    found = [(0, i) for i in (*others, *controls)]
    neurons = study.sets[0].neurons
    if neurons is not None:
        found.append((0, neurons))
        theirs = [study.sets[i].neurons for i in others]
        found += [(neurons, i) for i in dict.fromkeys(theirs) if i is not None and i != neurons]
    return found + list(itertools.pairwise(controls))


def needs(study: Relations, config: UniversalityConfig) -> list[Pair]:
    """The sums of all pairs that are compared, and of the first dictionary, neurons and control with themselves."""
    return [Pair(a, b) for a, b in [*_pairs(study), *((i, i) for i in _repeated(study))]]


def _repeated(study: Relations) -> list[int]:
    """The sets of which is asked how much they repeat themselves."""
    neurons = [i for i in (study.sets[0].neurons,) if i is not None]
    return [0, *neurons, *study.of_role("control")[:1]]


def find(study: Relations, config: UniversalityConfig) -> None:
    """Puts the table `universality`, a row for each ordered pair of sets, the arrays `matches` (A|B|feature, …) and
    `stability`, and the summary's medians."""
    matched: dict[tuple[int, int], Matches] = {}
    for a, b in _pairs(study):
        try:
            matched |= _matches(study, a, b)
        except BadInput as e:
            study.gap("universality", str(e))
    effects = MatchedEffects(study, config)
    own = {study.sets[i].name: _median_within(study, i) for i in _repeated(study)}
    rows = {key: _row(study, key, found, effects) for key, found in matched.items()}
    for row in rows.values():
        row["own_median"] = own.get(row["a"])
    study.tables["universality"] = list(rows.values())
    arrays: dict[str, np.ndarray] = {}
    for (i, j), m in matched.items():
        name = f"{study.sets[i].name}|{study.sets[j].name}"
        kinds = ("feature", "correlation", "one_to_one", "one_to_one_correlation")
        arrays |= {f"{name}|{kind}": x for kind in kinds if (x := getattr(m, kind)) is not None}
    study.arrays["matches"] = arrays
    _summarise(study, rows)
    _stability(study, matched)


def _matches(study: Relations, a: int, b: int) -> dict[tuple[int, int], Matches]:
    """The matches in both directions; the assignment one to one is the same for both."""
    if study.fits(Pair(a, b)):
        sums = study.pair(a, b)
        there = matches_of(sums)
        assert there.one_to_one is not None
        back = matches_of(sums.transposed(), exchanged(there.one_to_one, study.sets[b].n_features))
        return {(a, b): there, (b, a): back}
    return {(i, j): study.by_candidates(i, j) for i, j in ((a, b), (b, a))}


def _median_within(study: Relations, i: int) -> float | None:
    """The median best correlation of a feature with another one of its own set."""
    return distribution(within(study.pair(i, i))).median if study.fits(Pair(i, i)) else None


def _kind(a: Compared, b: Compared) -> str:
    """What a row of the table is about."""
    roles = {a.role, b.role}
    if roles == {"dictionary"}:
        return "dictionaries" if a.model != b.model else "dictionaries of one model"
    return " and ".join(sorted(roles)) if len(roles) > 1 else f"{a.role} of two models"


def _row(study: Relations, key: tuple[int, int], found: Matches, effects: MatchedEffects) -> dict[str, Any]:
    a, b = (study.sets[i] for i in key)
    row: dict[str, Any] = {
        "a": a.name,
        "b": b.name,
        "role_a": a.role,
        "role_b": b.role,
        "kind": _kind(a, b),
        "tokens": found.tokens,
        "exact": found.exact,
        "error": found.error,
        **dataclasses.asdict(distribution(found.correlation, seed=study.seed)),
        "different_matches": len(np.unique(found.feature[found.alive])),
    }
    if found.one_to_one is not None and found.one_to_one_correlation is not None:
        alone = distribution(found.one_to_one_correlation, seed=study.seed)
        both = found.one_to_one >= 0
        row |= {
            "one_to_one_median": alone.median,
            "one_to_one_interval": alone.interval,
            "one_to_one_matched": alone.alive,
            "one_to_one_same": float(np.mean(found.one_to_one[both] == found.feature[both])),
        }
    return row | effects.of(key, found)


def _summarise(study: Relations, rows: dict[tuple[int, int], dict[str, Any]]) -> None:
    """The medians of the first dictionary: against the first one of another model, or else the first other one."""
    first = study.sets[0]
    others = [i for i in study.dictionaries[1:] if (0, i) in rows]
    others.sort(key=lambda i: study.sets[i].model == first.model)
    other = others[0] if others else None
    theirs = study.sets[other].neurons if other is not None else None
    controls = study.of_role("control")

    def median(a: int | None, b: int | None) -> float | None:
        return rows[a, b]["median"] if a is not None and b is not None and (a, b) in rows else None

    study.summary |= {
        "universality_of": None if other is None else [first.name, study.sets[other].name],
        "universality_median": median(0, other),
        "universality_interval": None if other is None else rows[0, other]["interval"],
        "universality_median_neurons": median(first.neurons, theirs),
        "universality_median_to_neurons": median(0, first.neurons),
        "universality_median_control": median(0, controls[0]) if controls else None,
    }


def _stability(study: Relations, matched: dict[tuple[int, int], Matches]) -> None:
    """The stability of the first dictionary's features over the other seeds."""
    seeds = [i for i in study.seeds if (0, i) in matched]
    if not seeds:
        study.gap("stability", "no run has the first one's recipe, size and transformer, and another seed")
        study.summary |= {"stability": None, "stable_features": None}
        return
    found = stability([matched[0, i].correlation for i in seeds])
    alive = np.isfinite(found)
    study.arrays["stability"] = {"stability": found.astype(np.float32)}
    study.tables["stability"] = {
        "of": study.sets[0].name,
        "seeds": [study.sets[i].name for i in seeds],
        "above": STABLE,
        "stable": float(np.mean(found[alive] > STABLE)),
        **dataclasses.asdict(distribution(found, seed=study.seed)),
    }
    study.summary |= {
        "stability": float(np.median(found[alive])),
        "stable_features": study.tables["stability"]["stable"],
    }


UNIVERSALITY = Relation(needs, find)
