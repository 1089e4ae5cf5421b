"""Logit weights of every set: what features make more and less likely next."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from monosem_jax.analysis.collect import LogitWeights
from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.logit_weights import logit_statistics, logit_table

N_LOGITS = 10  # tokens at either end, in a record


def logits(study: Study) -> None:
    """A row per set: medians of the moments over the features that fire. Records get the tokens at both ends."""
    statistics, alive = [], {}
    for subject in study.subjects:
        statistics.append(logit_statistics(subject.features, study.usual_tokens))
        alive[subject.name] = subject.heldout.fired > 0
        study.evidence[subject.name].logits = functools.partial(_weights, study, subject.features)
    study.tables["logits"] = logit_table(statistics, alive)


def _weights(study: Study, features: FeatureSet, chosen: Sequence[int]) -> list[LogitWeights]:
    found = logit_statistics(features, study.usual_tokens, chosen, k=N_LOGITS)
    ends = [found.pairs(i, study.heldout.strings) for i in range(len(chosen))]
    return [LogitWeights(tuple(top), tuple(low), found.summary(i)) for i, (top, low) in enumerate(ends)]
