"""Text in a script, by Bayes: P(script|s) P(s) / P(script) against P(s)."""

from __future__ import annotations

import dataclasses

import numpy as np

from monosem_jax.analysis.proxies.characters import Ranges, described, table
from monosem_jax.analysis.proxies.sample import FitSample
from monosem_jax.analysis.proxies.strings import IMPOSSIBLE, POSITIVE_PART
from monosem_jax.analysis.proxies.text import TextBlock
from monosem_jax.runtime.errors import BadInput

SPACE = 0x20
LEAST_SHARE = 0.5  # of a piece's occurrences that must be in the script


@dataclasses.dataclass(frozen=True)
class PartRule:
    """What the whole run of text must look like, for languages that share letters: the characters `signs` are more
    than `share` of the characters `among` (`above`), or they are not. `words` says that to people."""

    signs: Ranges
    among: Ranges
    share: float
    above: bool
    words: str

    def holds(self, block: TextBlock) -> np.ndarray:
        """[n,T] whether the part of each token is so."""
        signs, among = (block.per_part(table(r)[block.codes]) for r in (self.signs, self.among))
        return ((signs > self.share * among) == self.above)[block.part]


@dataclasses.dataclass(frozen=True)
class Script:
    """log P(script|s) − log P(script), the largest over strings s that end at the token.

    P(script|s) is 1 if all characters of s are of the script, else IMPOSSIBLE; of a single token that ends within a
    character, the share of its occurrences in a sample that are in that script (`piece_share` [V]), where that is at
    least a half: the paper's ratio is above 0 already where the script is a little more probable than on average, and
    bytes that are mostly of other scripts would count as this one. Punctuation and white space, which scripts share, do
    not belong, but for the one space that tokenizers join to the front of a word. `probability` is P(script): the share
    of the sample's tokens. Strings longer than the shortest one of whole characters are never more probable.
    """

    name: str
    ranges: Ranges
    rule: PartRule | None
    probability: float
    piece_share: np.ndarray
    sampled: int
    form: str = POSITIVE_PART

    @classmethod
    def of(cls, name: str, ranges: Ranges, rule: PartRule | None, sample: FitSample) -> Script:
        """With the probabilities of a sample; raises BadInput when no token of the sample is in the script."""
        pieces, used, inside = np.zeros((3, len(sample.bytes)))
        for block in sample.blocks:
            within = _within(block, ranges, rule, block.start)
            known = block.real & (block.tokens < len(pieces))
            piece = known & ~block.ends
            np.add.at(pieces, block.tokens[piece], 1)
            np.add.at(used, block.tokens[piece & within], 1)
            np.add.at(inside, block.tokens[known & within], 1)
        if not inside.any():
            raise BadInput(f"no token of this script among {sample.size:,} tokens of training text")
        share = used / np.maximum(pieces, 1)
        return cls(name, ranges, rule, float(inside.sum() / sample.size), share, sample.size)

    @property
    def about(self) -> str:
        rule = f", in a run of text in which {self.rule.words}" if self.rule else ""
        return (
            f"all characters of the string in {described(self.ranges)}{rule}; by Bayes with P({self.name}) = "
            f"{self.probability:.3g} of {self.sampled:,} tokens of training text; pieces of characters by the share of "
            f"their occurrences in the script, if it is at least {LEAST_SHARE:g}"
        )

    def values(self, block: TextBlock) -> np.ndarray:
        """[n,T] in nats."""
        start, whole = _whole_string(block)
        likelihood = np.where(whole & _within(block, self.ranges, self.rule, start), 1.0, IMPOSSIBLE)
        share = self.piece_share[np.minimum(block.tokens, len(self.piece_share) - 1)]
        if self.rule is not None:
            share = np.where(self.rule.holds(block), share, 0)
        likelihood = np.where(~block.ends & (share >= LEAST_SHARE), share, likelihood)
        return np.where(block.real, np.log(likelihood) - np.log(self.probability), 0)

    def strongest(self, n: int) -> list[tuple[str, float]]:
        """Nothing: the characters say it all."""
        return []


def _whole_string(block: TextBlock) -> tuple[np.ndarray, np.ndarray]:
    """(where the shortest string of whole characters that ends at each token starts [n,T], whether there is one)."""
    places = np.broadcast_to(np.arange(block.tokens.shape[1]), block.tokens.shape)
    first = np.maximum.accumulate(np.where(block.begins, places, 0), axis=1)
    return np.take_along_axis(block.start, first, axis=1), block.ends


def _within(block: TextBlock, ranges: Ranges, rule: PartRule | None, start: np.ndarray) -> np.ndarray:
    """[n,T] whether the characters from `start` [n,T] to each token's last are of the script, joined spaces aside."""
    inside = table(ranges)[block.codes]
    joined = np.zeros(len(block.codes), bool)
    first = block.start[(block.lengths > 1) & block.begins]
    joined[first[block.codes[first] == SPACE]] = True
    good, kind = (np.concatenate([[0], np.cumsum(a)]) for a in (inside | joined, inside))
    found = (good[block.stop] - good[start] == block.stop - start) & (kind[block.stop] > kind[start])
    found &= block.real
    return found if rule is None else found & rule.holds(block)
