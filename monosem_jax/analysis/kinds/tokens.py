"""Token-in-context features: which features fire on one token, and on which part of its occurrences."""

from __future__ import annotations

import numpy as np

from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.token_in_context import LabelledTokens, token_in_context


def tokens_in_context(study: Study) -> None:
    """The features of every set that fire on one token, a row per set in the table."""
    text = LabelledTokens(study.heldout.tokens, study.labels_of(study.heldout), study.labels, study.heldout.strings)
    rows = {}
    for subject in study.subjects:
        found = token_in_context(subject.features, subject.heldout, text, batch=study.batch, seed=study.seed)
        study.evidence[subject.name].token_in_context |= found
        told = [t.label_auc for t in found.values() if t.label_auc is not None]
        rows[subject.name] = {
            "features": len(found),
            "median_share_of_occurrences": _median([t.share_of_occurrences for t in found.values()]),
            "median_label_auc": _median(told),
            "label_auc_above_0.8": sum(auc > 0.8 for auc in told),
        }
    study.tables["tokens_in_context"] = rows
    study.summary["tokens_in_context"] = rows[study.features.name]["features"]


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None
