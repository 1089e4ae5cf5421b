"""Proxies that mark characters of a text: regular expressions, classes of characters, functions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from monosem_jax.analysis.proxies.characters import Ranges, described, table
from monosem_jax.analysis.proxies.strings import SIGN
from monosem_jax.analysis.proxies.text import TextBlock
from monosem_jax.runtime.errors import BadInput

LEAST_SHARE = 0.5  # share of a token's characters that must be marked
Spans = list[tuple[int, int]]  # first character and the one behind the last


class Marker(Protocol):
    """Marks characters of one run of text after the other."""

    def marks(self, texts: Sequence[str]) -> list[Spans]:
        """The spans of each text."""
        ...


@dataclasses.dataclass(frozen=True)
class Marked:
    """1 where at least half of a token's characters lie in the spans that a marker finds in the run of text, else 0."""

    name: str
    about: str
    marker: Marker
    form: str = SIGN

    def values(self, block: TextBlock) -> np.ndarray:
        """[n,T] 1 or 0."""
        edges = np.zeros(len(block.codes) + 1, np.int32)
        for part, spans in zip(block.parts, self.marker.marks([p.text for p in block.parts]), strict=True):
            for a, b in spans:
                edges[part.start + a] += 1
                edges[part.start + b] -= 1
        return _marked(block, np.cumsum(edges[:-1]) > 0)

    def strongest(self, n: int) -> list[tuple[str, float]]:
        """Nothing: the rule says it all."""
        return []


def _marked(block: TextBlock, characters: np.ndarray) -> np.ndarray:
    """[n,T] 1 where at least half of a token's characters [N] are marked, else 0."""
    count, length = block.per_token(characters), block.lengths
    return ((count >= LEAST_SHARE * length) & (length > 0) & block.real).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class TrustedPattern:
    """A regular expression of ours, which takes time in proportion to the text. It counts only in runs of text in which
    `where` matches too."""

    pattern: re.Pattern[str]
    where: re.Pattern[str] | None = None

    def marks(self, texts: Sequence[str]) -> list[Spans]:
        """The matches in each text."""
        return [
            [m.span() for m in self.pattern.finditer(text)] if self.where is None or self.where.search(text) else []
            for text in texts
        ]


@dataclasses.dataclass(frozen=True)
class CharacterClass:
    """1 where at least half of a token's characters are of a class, else 0."""

    name: str
    ranges: Ranges
    form: str = SIGN

    @property
    def about(self) -> str:
        return f"at least half of the token's characters in {described(self.ranges)}"

    def values(self, block: TextBlock) -> np.ndarray:
        """[n,T] 1 or 0."""
        return _marked(block, table(self.ranges)[block.codes])

    def strongest(self, n: int) -> list[tuple[str, float]]:
        """Nothing: the characters say it all."""
        return []


@dataclasses.dataclass(frozen=True)
class Function:
    """A function of the user: from a run of text to spans (first character, one behind the last), or to one number per
    character (positive: of the kind), of which a token gets the mean."""

    name: str
    function: Callable[[str], Any]
    form: str = SIGN

    @property
    def about(self) -> str:
        return (
            f"the function {getattr(self.function, '__name__', type(self.function).__name__)}, called on runs of text"
        )

    def values(self, block: TextBlock) -> np.ndarray:
        """[n,T]; raises BadInput with the function's own error, or when it returns something else."""
        number = np.zeros(len(block.codes))
        spans_only = True
        for part in block.parts:
            found, is_spans = self._per_character(part.text)
            number[part.start : part.stop] = found
            spans_only &= is_spans
        if spans_only:
            return _marked(block, number > 0)
        return np.where(block.real, block.per_token(number) / np.maximum(block.lengths, 1), 0)

    def _per_character(self, text: str) -> tuple[np.ndarray, bool]:
        try:
            found = np.asarray(list(self.function(text)), np.float64)
        except Exception as e:
            raise BadInput(f"it raised {type(e).__name__}: {str(e)[:120]} on {text[:40]!r}") from None
        if found.shape == (len(text),) and np.isfinite(found).all():
            return found, False
        if found.size and (found.ndim != 2 or found.shape[1] != 2 or not np.isfinite(found).all()):
            raise BadInput(
                f"it returned an array of shape {found.shape} for {len(text)} characters: expected one finite number "
                "per character, or pairs (first character, one behind the last)"
            )
        number = np.zeros(len(text))
        for a, b in found.reshape(-1, 2).astype(int):
            number[max(a, 0) : max(b, 0)] = 1
        return number, True

    def strongest(self, n: int) -> list[tuple[str, float]]:
        """Nothing: a function shows itself."""
        return []
