"""What matched features do: correlations of logit weights and attribution vectors, cosines of directions."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from monosem_jax.analysis.relations.base import Relations
from monosem_jax.analysis.universality.directions import cosines, covariance
from monosem_jax.analysis.universality.effects import attributions, row_correlations, weights_of
from monosem_jax.analysis.universality.matches import STABLE, Matches, largest
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


class MatchedEffects:
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
