"""What the page shows. The report knows records by their fields alone, not the package that makes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np


class ShownExample(Protocol):
    """A window of a context: `peak` is the index of its strongest token, `position` its place in the context."""

    @property
    def context(self) -> int: ...
    @property
    def position(self) -> int: ...
    @property
    def peak(self) -> int: ...
    @property
    def tokens(self) -> Sequence[str]: ...
    @property
    def activations(self) -> Sequence[float]: ...
    @property
    def origin(self) -> str: ...
    @property
    def label(self) -> str: ...


class ShownFeature(Protocol):
    """One feature: how often it fires, its label if it is the best for one, its logit weights and top contexts."""

    @property
    def feature(self) -> int: ...
    @property
    def density(self) -> float: ...
    @property
    def largest(self) -> float: ...
    @property
    def label(self) -> str | None: ...
    @property
    def label_correlation(self) -> float | None: ...
    @property
    def top_logits(self) -> Sequence[tuple[str, float]]: ...
    @property
    def bottom_logits(self) -> Sequence[tuple[str, float]]: ...
    @property
    def examples(self) -> Sequence[ShownExample]: ...


class ShownCategory(Protocol):
    """The best feature and the best neuron for a label, with their correlations on `tokens` held-out tokens of it."""

    @property
    def label(self) -> str: ...
    @property
    def tokens(self) -> int: ...
    @property
    def feature(self) -> int: ...
    @property
    def feature_correlation(self) -> float: ...
    @property
    def neuron(self) -> int: ...
    @property
    def neuron_correlation(self) -> float: ...


@dataclasses.dataclass(frozen=True)
class Records:
    """All that the page shows of one dictionary.

    `dictionary` and `transformer` are summaries of runs (a missing key is a missing row); the metrics are the lines of
    their logs. `density` [F] is over `density_tokens` held-out tokens. `evidence` is the summary of the analysis.
    """

    title: str
    dictionary: Mapping[str, Any]
    transformer: Mapping[str, Any] | None
    transformer_metrics: Sequence[Mapping[str, Any]]
    dictionary_metrics: Sequence[Mapping[str, Any]]
    resample_steps: Sequence[int]
    density: np.ndarray
    density_tokens: int
    categories: Sequence[ShownCategory]
    features: Sequence[ShownFeature]
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)
