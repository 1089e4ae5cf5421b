"""Likelihood ratios of pairs of tokens, fitted on the labelled training text."""

from __future__ import annotations

import dataclasses

import numpy as np

from monosem_jax.analysis.proxies.sample import FitSample
from monosem_jax.analysis.proxies.strings import SIGN, best_ending_here
from monosem_jax.analysis.proxies.text import TextBlock
from monosem_jax.runtime.errors import BadInput

LEAST_TOKENS = 2_000  # tokens of a label below which its pairs of tokens say too little
PRIOR_TOKENS = 5.0  # with how many counts a token's share in all text of a kind stands in for its share after a token
STRONGEST = 4.0  # nats that one token can say for or against a label
# How much more a string must say than its label's log odds: the largest of many strings is above them by chance too.
# With 9 nats 62 % (legal) and 97 % (nutrition) of the marked tokens of the embedded corpus' validation text lie in
# documents of the label; with 0 they are 36 % and 61 %.
MARGIN = 9.0


@dataclasses.dataclass(frozen=True)
class TokenRatio:
    """log P(s|label) − log P(s|other labels) + log odds of the label − MARGIN: the largest over strings that end at the
    token.

    P is a bigram model: the share of a token after another one, smoothed by its share alone (PRIOR_TOKENS). `pairs` [n]
    sorted are previous · V + token with the log ratios `gain` [n]; a pair that was seen less than twice has that of its
    token alone. `count` [n]: how often each pair occurs in documents of the label. The value grows with the length of
    the text of that kind, so features are compared with its sign.
    """

    name: str
    label: str
    pairs: np.ndarray
    gain: np.ndarray
    count: np.ndarray
    alone: np.ndarray
    odds: float
    sampled: tuple[int, int]
    token_text: tuple[str, ...]
    form: str = SIGN

    @classmethod
    def of(cls, name: str, label: str, sample: FitSample) -> TokenRatio:
        """Fitted on a sample; raises BadInput when the label has too few tokens there or is the only one."""
        if label not in sample.labels:
            raise BadInput(f"no training document has the label {label}, from which this proxy is fitted")
        v, tokens = len(sample.bytes), sample.tokens.astype(np.int64)
        before = np.concatenate([np.full((len(tokens), 1), sample.bytes.bos), tokens[:, :-1]], axis=1)
        known = (tokens != sample.bytes.bos) & (tokens < v) & (before < v)
        kind = sample.label == sample.labels.index(label)
        sizes = int((known & kind).sum()), int((known & ~kind).sum())
        if min(sizes) < LEAST_TOKENS:
            raise BadInput(
                f"{sizes[0]:,} tokens of training text are in documents labelled {label} and {sizes[1]:,} in others: "
                f"at least {LEAST_TOKENS:,} of each are needed"
            )
        both = before * v + tokens
        seen, often = np.unique(both[known], return_counts=True)
        pairs = seen[often > 1]  # one occurrence says nothing that the token alone does not
        logs, singles = zip(*(_shares(pairs, before, tokens, known & k, v) for k in (kind, ~kind)), strict=True)
        gain = np.clip(logs[0] - logs[1], -STRONGEST, STRONGEST)
        alone = np.clip(singles[0] - singles[1], -STRONGEST, STRONGEST)
        at = np.searchsorted(pairs, both[known & kind])
        found = at[np.append(pairs, -1)[at] == both[known & kind]]
        count = np.bincount(found, minlength=len(pairs))
        odds = float(np.log(sizes[0] / sizes[1]))
        return cls(name, label, pairs, gain, count, alone, odds, sizes, tuple(sample.bytes.text))

    @property
    def about(self) -> str:
        return (
            f"log-likelihood ratio of pairs of tokens, fitted on {self.sampled[0]:,} tokens of training documents "
            f"labelled {self.label} against {self.sampled[1]:,} of others, at most {STRONGEST:g} nats a token, plus "
            f"the log odds of the label ({self.odds:.2f}), minus {MARGIN:g}; the largest over strings that end there"
        )

    def values(self, block: TextBlock) -> np.ndarray:
        """[n,T] in nats."""
        v = len(self.alone)
        tokens = np.minimum(block.tokens, v - 1)
        before = np.concatenate([tokens[:, :1], tokens[:, :-1]], axis=1)
        wanted = before * v + tokens
        at = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        gain = (
            np.where(self.pairs[at] == wanted, self.gain[at], self.alone[tokens])
            if len(self.pairs)
            else self.alone[tokens]
        )
        found = best_ending_here(np.where(block.real, gain, 0), block.real) + self.odds - MARGIN
        return np.where(block.real, found, 0)

    def strongest(self, n: int) -> list[tuple[str, float]]:
        """Pairs of tokens by how much they say for the label together: nats each, those first that say most in all."""
        v = len(self.alone)
        order = np.argsort(-self.gain * self.count, kind="stable")[:n]
        return [
            (self.token_text[self.pairs[i] // v] + self.token_text[self.pairs[i] % v], float(self.gain[i]))
            for i in order
        ]


def _shares(
    pairs: np.ndarray, before: np.ndarray, tokens: np.ndarray, chosen: np.ndarray, v: int
) -> tuple[np.ndarray, np.ndarray]:
    """(log P(token|previous) of each of `pairs`, log P(token) [V]) in the chosen tokens."""
    t, b = tokens[chosen], before[chosen]
    count = np.bincount(t, minlength=v)
    single = (count + 0.5) / (count.sum() + 0.5 * v)
    seen, n = np.unique(b * v + t, return_counts=True)
    at = np.minimum(np.searchsorted(seen, pairs), len(seen) - 1)
    together = np.where(seen[at] == pairs, n[at], 0)
    follows = np.bincount(b, minlength=v)[pairs // v]
    return np.log((together + PRIOR_TOKENS * single[pairs % v]) / (follows + PRIOR_TOKENS)), np.log(single)
