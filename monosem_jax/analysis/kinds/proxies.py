"""Features against proxies of what a text is, token by token."""

from __future__ import annotations

import functools

from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.proxies import evidence
from monosem_jax.analysis.records_parse import plain


def compare_with_proxies(study: Study) -> None:
    """The table of proxies, and the scores of every feature for its record."""
    gaps = {gap.proxy: gap for values in (study.training_proxies, study.heldout_proxies) for gap in values.gaps}
    chosen_on, measured_on = ([getattr(s, text) for s in study.subjects] for text in ("training", "heldout"))
    directions = study.features.features.effect_directions
    table = evidence.proxy_table(study.proxies.chosen, tuple(gaps.values()), chosen_on, measured_on, directions)
    study.tables["proxies"] = plain(table)
    for gap in table.gaps:
        study.gap(f"proxy {gap.name}", gap.reason)
    kept = [p for p in study.proxies.chosen if p.name not in gaps]
    for subject in study.subjects:
        study.evidence[subject.name].proxies = functools.partial(evidence.scores_of, subject.heldout, kept)
    study.summary["proxies"] = found = evidence.summary(table)
    tops = [row["specificity_top"] for row in found.values() if row["specificity_top"] is not None]
    study.summary["mean_specificity_top"] = sum(tops) / len(tops) if tops else None
