"""Automated interpretability of whole sets: the same code for features, neurons, control and random directions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.autointerp.agreement import interval_of
from monosem_jax.analysis.autointerp.logit_task import LogitWeights, logit_scores
from monosem_jax.analysis.autointerp.protocol import KINDS, Judge, SlowJudge
from monosem_jax.analysis.autointerp.samples import LEAST, Dropped, Samples, draw_samples
from monosem_jax.analysis.autointerp.scoring import Judged, judged
from monosem_jax.analysis.autointerp.windows import Text
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.records import Score
from monosem_jax.analysis.scan.result import SetScan
from monosem_jax.runtime.arguments import whole_number
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import stream

N_FEATURES = 200


@dataclasses.dataclass(frozen=True)
class Summary:
    """One kind of score over the features of a set: mean and median with their 95 % bootstrap intervals, of the scores
    and of those with shuffled explanations (null: none), `n` features scored, `failed` ones without a score. `group`:
    "all", "single_token" (features whose top examples all peak on one token) or "others"."""

    kind: str
    group: str
    n: int
    failed: int
    mean: float | None
    mean_interval: tuple[float, float] | None
    median: float | None
    median_interval: tuple[float, float] | None
    shuffled_mean: float | None
    shuffled_median: float | None


@dataclasses.dataclass(frozen=True)
class SetScores:
    """A judge on a sample of a set's features.

    `never_fire` and `too_few` count the features of the whole set that never fire, and that fire on fewer tokens than
    examples are needed: they cannot be drawn. `dropped` are those that were drawn and have too few examples that do not
    overlap.
    """

    name: str
    judge: str
    features: tuple[Judged, ...]
    dropped: tuple[Dropped, ...]
    never_fire: int
    too_few: int
    single_token_share: float | None
    summaries: tuple[Summary, ...]

    def summary(self, kind: str, group: str = "all") -> Summary:
        """The summary of one kind of score; raises BadInput where there is none."""
        for s in self.summaries:
            if (s.kind, s.group) == (kind, group):
                return s
        raise BadInput(f"{self.judge} has no {kind} scores of {group} features of {self.name}")


def choose_features(scan: SetScan, n: int, seed: int) -> list[int]:
    """`n` features, or all if there are fewer, drawn uniformly from those with enough firings for the examples."""
    able = np.flatnonzero(scan.fired >= LEAST)
    return sorted(stream("autointerp.features", seed).permutation(able)[:n].tolist())


def score_sets(
    sets: Sequence[FeatureSet],
    scans: Sequence[SetScan],
    text: Text,
    judges: Callable[[FeatureSet], Sequence[Judge[Any]]],
    *,
    n_features: int = N_FEATURES,
    seed: int = 0,
    batch: int = 32,
    logits: Mapping[str, LogitWeights] | None = None,
    common: np.ndarray | None = None,
    kinds: Sequence[str] = KINDS,
) -> list[SetScores]:
    """The scores of every judge on a sample of every set, set by set.

    Args:
      text: what the scans have read.
      judges: the judges for a set; those that explain by forward passes belong to one set.
      batch: contexts that are encoded together.
      logits: by the name of a set its logit weights, for the logit task; `common` [n] are the tokens that are not rare.
      kinds: of "simulation", "detection" and "fuzzing" those that are asked for.
    """
    n_features = whole_number(f"n_features is {n_features!r}", n_features, 1)
    out = []
    for features, scan in zip(sets, scans, strict=True):
        chosen = choose_features(scan, n_features, seed)
        samples, dropped = draw_samples(features, scan, text, chosen, seed=seed, batch=batch)
        for judge in judges(features):
            own = _part(samples, judge, seed)
            found, explanations = judged(judge, own, seed, kinds)
            if logits is not None and features.name in logits and common is not None:
                scores = logit_scores(judge, own, explanations, logits[features.name], common, seed)
                found = [dataclasses.replace(j, scores=(*j.scores, s)) for j, s in zip(found, scores, strict=True)]
            out.append(_set_scores(features.name, judge.name, scan, found, dropped, seed))
    return out


def _part(samples: Sequence[Samples], judge: Judge[Any], seed: int) -> Sequence[Samples]:
    """The samples that a judge is asked about: a slow one, with `n_features`, only gets that many."""
    n = judge.n_features if isinstance(judge, SlowJudge) else 0
    if not 0 < n < len(samples):
        return samples
    drawn = stream("autointerp.part", seed).permutation(len(samples))[:n]
    return [samples[i] for i in sorted(drawn.tolist())]


def _set_scores(
    name: str, judge: str, scan: SetScan, found: Sequence[Judged], dropped: Sequence[Dropped], seed: int
) -> SetScores:
    groups = {
        "all": list(found),
        "single_token": [j for j in found if j.single_token],
        "others": [j for j in found if not j.single_token],
    }
    kinds = dict.fromkeys(s.kind for j in found for s in j.scores)
    return SetScores(
        name=name,
        judge=judge,
        features=tuple(found),
        dropped=tuple(dropped),
        never_fire=int(np.sum(scan.fired == 0)),
        too_few=int(np.sum((scan.fired > 0) & (scan.fired < LEAST))),
        single_token_share=len(groups["single_token"]) / len(found) if found else None,
        summaries=tuple(
            summarised(kind, group, [s for j in members for s in j.scores if s.kind == kind], seed)
            for kind in kinds
            for group, members in groups.items()
        ),
    )


def summarised(kind: str, group: str, scores: Sequence[Score], seed: int) -> Summary:
    """Scores of one kind as a summary; of no scores nothing is said."""
    values = np.asarray([s.value for s in scores if s.value is not None], np.float64)
    shuffled = np.asarray([s.shuffled for s in scores if s.value is not None and s.shuffled is not None], np.float64)
    some = len(values) > 0
    return Summary(
        kind=kind,
        group=group,
        n=len(values),
        failed=len(scores) - len(values),
        mean=float(values.mean()) if some else None,
        mean_interval=interval_of(values, "mean", seed=seed) if some else None,
        median=float(np.median(values)) if some else None,
        median_interval=interval_of(values, "median", seed=seed) if some else None,
        shuffled_mean=float(shuffled.mean()) if len(shuffled) else None,
        shuffled_median=float(np.median(shuffled)) if len(shuffled) else None,
    )
