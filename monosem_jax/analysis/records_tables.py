"""Types of the tables of an analysis: one row per proxy, category or concept, the sets of features side by side."""

from __future__ import annotations

import dataclasses

from monosem_jax.analysis.records import ProxyScore


@dataclasses.dataclass(frozen=True)
class ChosenFeature:
    """The feature of a set that was chosen on training text (`training_pearson`), measured on held-out text."""

    set: str
    feature: int
    training_pearson: float
    score: ProxyScore


@dataclasses.dataclass(frozen=True)
class ProxyRow:
    """A proxy against sets of features. `best` has for each set the feature whose correlation with the proxy is largest
    on training text; `largest_neuron` is the neuron with the largest coefficient (by size) in the direction of the
    first set's best feature. `positive` of the `tokens` held-out tokens are of the proxy. `about`: what it is made of.
    """

    proxy: str
    form: str
    about: str
    positive: int
    tokens: int
    best: tuple[ChosenFeature, ...]
    largest_neuron: ChosenFeature | None


@dataclasses.dataclass(frozen=True)
class TableGap:
    """What a table does not say, and why."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class ProxyTable:
    """All proxies, in their order, and those of which nothing can be said."""

    rows: tuple[ProxyRow, ...]
    gaps: tuple[TableGap, ...]


@dataclasses.dataclass(frozen=True)
class ProbeRow:
    """k-sparse probes of one concept with the features of one set.

    `kind`: "label" (rows are means over the tokens of a document within a context) or "proxy" (rows are tokens).
    `features` are those with the largest difference of means on training rows, best first; `accuracy[i]` is that of a
    logistic regression on the first `ks[i]` of them, on `heldout_rows` rows of which half have the concept.
    """

    concept: str
    kind: str
    set: str
    training_rows: int
    heldout_rows: int
    features: tuple[int, ...]
    ks: tuple[int, ...]
    accuracy: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class FmsRow:
    """The Feature Monosemanticity Score of one concept in one set; accuracies are on held-out rows, half of which have
    the concept.

    `feature` is the root of the tree (-1: no feature varies), `root_accuracy` its accuracy alone, `depth_accuracy` that
    of the tree cut off at depth 1, 2, …; `removed_accuracy[i]` that of a tree of depth 3 without the first i + 1 of
    `removed`. `…_shuffled`: with the classes of the rows shuffled.
    """

    concept: str
    kind: str
    set: str
    training_rows: int
    heldout_rows: int
    feature: int
    root_accuracy: float
    depth_accuracy: tuple[float, ...]
    removed: tuple[int, ...]
    removed_accuracy: tuple[float, ...]
    fms_1: float
    fms_5: float
    root_accuracy_shuffled: float
    fms_1_shuffled: float
    fms_5_shuffled: float
