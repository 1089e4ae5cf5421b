"""What accumulators are given: a run of contexts with everything that is known about its tokens."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from monosem_jax.analysis.scan.firings import Dense, Firings


@dataclasses.dataclass(frozen=True)
class Batch:
    """Contexts from the number `first` on: `tokens`, `labels` [n,T], what fires, and the values of proxies [P,n·T].

    Firings at BOS are left out; `real` [n·T] is False there. `compared` [n·T]: the tokens on which features are
    compared with each other; if there are any, `others` has the activations of the other sets. `signed`: whether
    features fire below zero too.
    """

    first: int
    tokens: np.ndarray
    labels: np.ndarray
    real: np.ndarray
    compared: np.ndarray
    firings: Firings
    proxies: np.ndarray | None
    others: Mapping[str, Firings | Dense]
    signed: bool = False

    @property
    def fires(self) -> Firings:
        """The entries that count as firing: those above zero, or all of a set whose features also fire below zero."""
        return self.firings if self.signed else self.firings.positive

    @property
    def first_token(self) -> int:
        """The number of the first token in the text: context · T + position."""
        return self.first * self.tokens.shape[1]

    @functools.cached_property
    def token(self) -> np.ndarray:
        """[n·T] the tokens in one row."""
        return self.tokens.reshape(-1)

    @functools.cached_property
    def label(self) -> np.ndarray:
        """[n·T] the labels in one row."""
        return self.labels.reshape(-1)


class Accumulator(Protocol):
    """Sums, maxima or samples over the batches of a pass. The `state` can be saved between any two batches, and those
    of several processes can be merged in any order."""

    state: dict[str, np.ndarray]

    def add(self, batch: Batch) -> None: ...
    def merge(self, other: Mapping[str, np.ndarray]) -> None: ...


class Sums:
    """An accumulator whose arrays add up."""

    state: dict[str, np.ndarray]

    def merge(self, other: Mapping[str, np.ndarray]) -> None:
        """Adds the sums of another process."""
        for name, x in self.state.items():
            x += other[name]
