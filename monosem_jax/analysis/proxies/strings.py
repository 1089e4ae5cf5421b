"""Log-likelihood ratios of strings, and their maximum over the strings that end at a token (paper, "Proxy")."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from monosem_jax.analysis.proxies.text import TextBlock

POSITIVE_PART, SIGN = "positive part", "sign"  # the forms in which the paper compares a proxy with a feature
IMPOSSIBLE = 1e-10  # the paper's probability of a character that does not belong


class Proxy(Protocol):
    """Says of each token of a text whether it is of one kind.

    `form`: how it is compared with a feature: by its value where that is positive (POSITIVE_PART), or by whether it is
    (SIGN). `about` is what it is made of, in one sentence.
    """

    @property
    def name(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def about(self) -> str: ...
    def values(self, block: TextBlock) -> np.ndarray:
        """[n,T] of a block: above 0 where the proxy holds; what it is at BOS does not matter."""
        ...

    def strongest(self, n: int) -> list[tuple[str, float]]:
        """What it goes by: (text, weight), up to n, strongest first; nothing for a rule that `about` tells whole."""
        ...


def best_ending_here(gain: np.ndarray, real: np.ndarray, shortest: int = 1) -> np.ndarray:
    """[n,T] the largest sum of `gain` [n,T] over runs of tokens that end at each token, within one part.

    `real` [n,T] is False at BOS, where parts begin. Runs have at least `shortest` tokens (1 or 2); where there is no
    run of two, min(gain, 0). float64; 0 at BOS.
    """
    best = np.zeros(gain.shape)
    before = np.full(len(gain), -np.inf)  # the best run that ends one token earlier
    for t in range(gain.shape[1]):
        longer = gain[:, t] + before
        alone = gain[:, t] if shortest == 1 else np.where(np.isinf(before), np.minimum(gain[:, t], 0), -np.inf)
        best[:, t] = np.where(real[:, t], np.maximum(alone, longer), 0)
        before = np.where(real[:, t], np.maximum(gain[:, t], longer), -np.inf)
    return best


@dataclasses.dataclass(frozen=True)
class Alphabet:
    """log P(s|kind) − log P(s): each character of `letters` has the probability `each`, any other IMPOSSIBLE, and P(s)
    is the product of the probabilities of s's tokens. Its largest value over strings of at least `shortest` tokens.

    `letters` are one alphabet or several: a string is of one of them. `gain` [A,V]: what each token adds.
    """

    name: str
    form: str
    letters: tuple[str, ...]
    each: float
    shortest: int
    gain: np.ndarray
    token_text: tuple[str, ...]

    @classmethod
    def of(
        cls,
        name: str,
        form: str,
        letters: tuple[str, ...],
        each: float,
        shortest: int,
        token_text: list[str],
        log_probability: np.ndarray,
    ) -> Alphabet:
        """`token_text` is the text of each token of the vocabulary, `log_probability` [V] that of its occurrence."""
        inside = np.asarray([[sum(c in kind for c in text) for text in token_text] for kind in letters])
        outside = np.asarray([len(text) for text in token_text]) - inside
        likelihood = inside * np.log(each) + outside * np.log(IMPOSSIBLE)
        return cls(name, form, letters, each, shortest, likelihood - log_probability, tuple(token_text))

    @property
    def about(self) -> str:
        n, size = f"{1 / self.each:g}", len(self.letters[0])
        cases = f" ({' or '.join(self.letters)})" if len(self.letters) > 1 else ""
        return (
            f"log-likelihood ratio of the string: 1/{n} for each of its {size} letters{cases}, "
            f"{IMPOSSIBLE:g} for any other character, against the product of its tokens' probabilities; the largest "
            f"over strings of at least {self.shortest} token{'s' if self.shortest > 1 else ''} that end at the token"
        )

    def values(self, block: TextBlock) -> np.ndarray:
        """[n,T] in nats."""
        tokens = np.minimum(block.tokens, self.gain.shape[1] - 1)
        found = [best_ending_here(np.where(block.real, g[tokens], 0), block.real, self.shortest) for g in self.gain]
        return np.max(found, axis=0)

    def strongest(self, n: int) -> list[tuple[str, float]]:
        """Tokens by what they add."""
        gain = self.gain.max(axis=0)
        shown = [i for i in np.argsort(-gain, kind="stable") if self.token_text[i]][:n]
        return [(self.token_text[i], float(gain[i])) for i in shown]
