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
