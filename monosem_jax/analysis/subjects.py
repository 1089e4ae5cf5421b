"""Feature sets with their scans: what every kind of evidence is asked of, side by side."""

from __future__ import annotations

import dataclasses

import numpy as np

from monosem_jax.analysis.feature_sets import FeatureSet
from monosem_jax.analysis.records import Category
from monosem_jax.analysis.scan.result import SetScan


@dataclasses.dataclass(frozen=True)
class Subject:
    """A feature set, its scan of a sample of training text, on which features are chosen, and its scan of held-out
    text, on which they are measured."""

    features: FeatureSet
    training: SetScan
    heldout: SetScan

    @property
    def name(self) -> str:
        return self.features.name


def category_table(features: Subject, neurons: Subject) -> list[Category]:
    """Per label of documents the best feature and the best neuron, chosen on training text, measured on held-out text.

    Sorted by falling correlation of the feature. A label that no token or every token of either text has is left out.
    """
    rows = []
    for i, label in enumerate(features.heldout.labels):
        scans = (features.training, neurons.training, features.heldout, neurons.heldout)
        if not label or any(np.isnan(scan.label_correlation[i]).any() for scan in scans):
            continue
        feature = int(np.argmax(features.training.label_correlation[i]))
        neuron = int(np.argmax(neurons.training.label_correlation[i]))
        rows.append(
            Category(
                label=label,
                tokens=int(features.heldout.label_tokens[i]),
                feature=feature,
                feature_correlation=float(features.heldout.label_correlation[i, feature]),
                neuron=neuron,
                neuron_correlation=float(neurons.heldout.label_correlation[i, neuron]),
            )
        )
    return sorted(rows, key=lambda c: -c.feature_correlation)
