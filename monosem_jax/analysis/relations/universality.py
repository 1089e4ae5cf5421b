"""Universality: which features of the first dictionary the others have too, and how stable they are over seeds."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from monosem_jax.analysis.joint.pair_sums import Pair
from monosem_jax.analysis.relations.base import Compared, Relation, Relations
from monosem_jax.analysis.universality.directions import cosines, covariance
from monosem_jax.analysis.universality.distribution import distribution
from monosem_jax.analysis.universality.effects import attributions, row_correlations, weights_of
from monosem_jax.analysis.universality.matches import (
    STABLE,
    Matches,
    candidates,
    exchanged,
    largest,
    matches_of,
    stability,
)
from monosem_jax.runtime.config import check_bounds, field
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import stream

ALIKE = 0.9  # directions with a larger cosine count as the same


@dataclasses.dataclass(frozen=True)
class UniversalityConfig:
    """How much is measured of matched features beside their activations."""

    attribution_contexts: int = field(1024, at_least=0)
    """Contexts for attribution vectors; 0: none."""
    attribution_features: int = field(256, at_least=0)
    """Features of the first dictionary whose attribution vectors are compared with those of all features; 0: none."""
    covariance_contexts: int = field(256, at_least=1)
    """Contexts for the covariance of the activations, in whose metric directions are compared."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_bounds(self, "config.relations.universality.")


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
    """The sums of all pairs that are compared."""
    return [Pair(a, b) for a, b in _pairs(study)]


def find(study: Relations, config: UniversalityConfig) -> None:
    """Puts the table `universality`, a row for each ordered pair of sets, the arrays `matches` (A|B|feature, …) and
    `stability`, and the summary's medians."""
    matched: dict[tuple[int, int], Matches] = {}
    for a, b in _pairs(study):
        try:
            matched |= _matches(study, a, b)
        except BadInput as e:
            study.gap("universality", str(e))
    effects = _Effects(study, config)
    rows = {key: _row(study, key, found, effects) for key, found in matched.items()}
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
    found = {}
    for i, j in ((a, b), (b, a)):
        found[i, j] = candidates(
            study.sets[i].features,
            study.sets[j].features,
            study.heldout.tokens,
            batch=study.batch,
            mesh=study.mesh,
            seed=study.seed,
            pairs=study.most_bytes // 8,
        )
    return found


def _kind(a: Compared, b: Compared) -> str:
    """What a row of the table is about."""
    roles = {a.role, b.role}
    if roles == {"dictionary"}:
        return "dictionaries" if a.model != b.model else "dictionaries of one model"
    return " and ".join(sorted(roles)) if len(roles) > 1 else f"{a.role} of two models"


def _row(study: Relations, key: tuple[int, int], found: Matches, effects: _Effects) -> dict[str, Any]:
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


class _Effects:
    """What is measured of matched features beside activations. Logit weights of a set are computed once."""

    def __init__(self, study: Relations, config: UniversalityConfig):
        self._study, self._config = study, config
        self._weights: dict[int, np.ndarray] = {}
        self._covariance: dict[tuple[str, str], np.ndarray] = {}
        self._failed: set[str] = set()

    def of(self, key: tuple[int, int], found: Matches) -> dict[str, Any]:
        """Rows for the table: logit weights, attribution vectors, directions, as far as they can be measured."""
        row: dict[str, Any] = {}
        for name, part in (("logit weights", self._logits), ("attributions", self._attributions)):
            try:
                row |= part(key, found)
            except BadInput as e:
                if str(e) not in self._failed:
                    self._failed.add(str(e))
                    self._study.gap(f"universality: {name}", str(e))
        if self._study.sets[key[0]].same_space(self._study.sets[key[1]]):
            row |= self._directions(key, found)
        return row

    def _of(self, i: int) -> np.ndarray:
        if i not in self._weights:
            self._weights[i] = weights_of(self._study.sets[i].features, self._study.usual_tokens)
        return self._weights[i]

    def _logits(self, key: tuple[int, int], found: Matches) -> dict[str, Any]:
        va, vb = (self._of(i) for i in key)
        r = row_correlations(va, vb[np.maximum(found.feature, 0)])
        r = np.where(found.alive, r, np.nan)
        close = found.correlation > STABLE
        return {
            "logit_median": _median(r),
            "logit_median_of_close": _median(r[close]),
            "logit_agreement": _correlation(r, found.correlation),
        }

    def _attributions(self, key: tuple[int, int], found: Matches) -> dict[str, Any]:
        config, study = self._config, self._study
        if not config.attribution_contexts:
            return {}
        a, b = (study.sets[i].features for i in key)
        alive = np.flatnonzero(found.alive)
        order = stream("universality.attributions", study.seed).permutation(alive)
        sample = np.sort(order[: config.attribution_features])
        got = attributions(
            a,
            b,
            study.heldout.tokens[: config.attribution_contexts],
            study.usual_tokens,
            found.feature,
            sample,
            weights=(self._of(key[0]), self._of(key[1])),
            batch=study.batch,
            mesh=study.mesh,
        )
        best, r = largest(got.table)
        there = best >= 0
        of_sample = found.feature[sample]
        return {
            "attribution_tokens": got.tokens,
            "attribution_median_of_matched": _median(got.matched),
            "attribution_median": _median(r),
            "attribution_sample": int(there.sum()),
            "attribution_same_match": float(np.mean(best[there] == of_sample[there])) if there.any() else None,
            "attribution_agreement": _correlation(r, found.correlation[sample]),
            "attribution_agreement_of_matched": _correlation(got.matched, found.correlation),
        }

    def _directions(self, key: tuple[int, int], found: Matches) -> dict[str, Any]:
        a, b = (self._study.sets[i] for i in key)
        place = (a.model, a.features.effect_site[0])
        if place not in self._covariance:
            tokens = self._study.heldout.tokens[: self._config.covariance_contexts]
            self._covariance[place] = covariance(a.features, tokens, batch=self._study.batch)
        got = cosines(a.features, b.features, found.feature, self._covariance[place])
        known = np.isfinite(got.matched)
        return {
            "mmcs": float(np.nanmean(got.largest)) if np.isfinite(got.largest).any() else None,
            "cosine_median": _median(got.matched),
            "cosine_alike": float(np.mean(got.matched[known] > ALIKE)) if known.any() else None,
            "cosine_in_data_median": _median(got.data),
            "cosine_in_data_alike": float(np.mean(got.data[known] > ALIKE)) if known.any() else None,
            "encoder_cosine_median": _median(got.encoder),
        }


def _median(x: np.ndarray) -> float | None:
    known = x[np.isfinite(x)]
    return float(np.median(known)) if len(known) else None


def _correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """The Pearson correlation over features that have both numbers."""
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3 or not (np.ptp(x[both]) > 0 and np.ptp(y[both]) > 0):
        return None
    return float(np.corrcoef(x[both], y[both])[0, 1])


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
