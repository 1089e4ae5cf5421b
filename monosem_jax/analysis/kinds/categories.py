"""Labels of documents: the best feature and the best neuron for each."""

from __future__ import annotations

from monosem_jax.analysis.kinds.base import Study
from monosem_jax.analysis.subjects import category_table


def categories(study: Study) -> None:
    """The table of categories; records of the features that are best for one say so."""
    found = category_table(study.features, study.neurons)
    study.tables["categories"] = found
    of = study.evidence[study.features.name].categories
    for category in found:  # of several categories, the one with the best correlation
        of.setdefault(category.feature, category)
    study.summary["categories"] = len(found)
    study.summary["categories_feature_better"] = sum(c.feature_correlation > c.neuron_correlation for c in found)
