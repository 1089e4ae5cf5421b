"""Windows of tokens around the places where a feature is looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from monosem_jax.text.directory import Source

RADIUS = 4  # tokens on each side: windows of 9 tokens (paper, "Visualization")
WIDTH = 2 * RADIUS + 1
LEVELS = 10  # activations are shown and predicted as 0 to 9
KINDS = ("top", "interval", "random", "token", "quiet")


class Text(Protocol):
    """The text that a scan has read: `tokens` [C,T], the number of each token's document [C,T], what every token of the
    vocabulary looks like, and the source of every document."""

    @property
    def tokens(self) -> np.ndarray: ...
    @property
    def documents(self) -> np.ndarray: ...
    @property
    def strings(self) -> Sequence[str]: ...
    @property
    def sources(self) -> Sequence[Source]: ...


@dataclasses.dataclass(frozen=True)
class Excerpts:
    """What a judge sees of n windows when it predicts: `tokens` [n,w], and the label of each window's document ("" if
    it has none)."""

    tokens: np.ndarray
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclasses.dataclass(frozen=True)
class Windows:
    """n windows with what is known about one feature in them.

    `tokens`, `activations` [n,w]; `context`, `start`, `peak` [n]: window i are the tokens from `start` of `context`,
    and it was chosen for the token `peak` of it; `kind` [n] is an index into KINDS; `interval` [n] the interval of an
    example of kind "interval", else -1.
    """

    tokens: np.ndarray
    activations: np.ndarray
    context: np.ndarray
    start: np.ndarray
    peak: np.ndarray
    kind: np.ndarray
    interval: np.ndarray
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def seen(self) -> Excerpts:
        """The windows without their activations."""
        return Excerpts(self.tokens, self.labels)

    def __getitem__(self, chosen: np.ndarray) -> Windows:
        """The windows of these numbers."""
        rows = np.arange(len(self))[chosen]
        arrays = {f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self) if f.name != "labels"}
        return Windows(labels=tuple(self.labels[i] for i in rows), **arrays)


def joined(*parts: Windows) -> Windows:
    """All windows, in order."""
    arrays = {f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in dataclasses.fields(Windows)[:-1]}
    return Windows(labels=tuple(label for p in parts for label in p.labels), **arrays)


def together(*parts: Excerpts) -> Excerpts:
    """All excerpts, in order."""
    return Excerpts(np.concatenate([p.tokens for p in parts]), tuple(label for p in parts for label in p.labels))


def window_start(position: np.ndarray | int, length: int) -> np.ndarray:
    """Where the window around a position of a context of `length` tokens begins. Near the ends of a context windows are
    shifted, not cut; they leave out position 0, which is BOS in every context of ours, where there is room."""
    first = 1 if length > WIDTH else 0
    return np.clip(np.asarray(position) - RADIUS, first, max(length - WIDTH, first))


def quantised(activations: np.ndarray, maximum: float) -> np.ndarray:
    """Activations as whole numbers from 0 to 9: ⌊10 · a / maximum⌋, at most 9 (OpenAI's automated-interpretability
    normalises in the same way)."""
    if maximum <= 0:
        return np.zeros(np.shape(activations), np.int64)
    share = np.maximum(np.asarray(activations, np.float64), 0) / maximum
    return np.minimum(np.floor(LEVELS * share), LEVELS - 1).astype(np.int64)
