"""The baseline a transformer must beat: a bigram model with interpolated absolute discounting."""

from __future__ import annotations

import numpy as np


def bigram_loss(train: np.ndarray, heldout: np.ndarray, vocab_size: int) -> float:
    """Mean loss in nats per token on `heldout` [C,T] of a bigram model fitted to `train` [C,T].

    p(y|x) = max(c(x,y) - D, 0) / c(x) + D · n(x) / c(x) · p(y) with n(x) the number of distinct followers of x,
    D = n1 / (n1 + 2 n2) from the numbers of pairs seen once and twice (Ney, Essen & Kneser, 1994), and p(y) the
    unigram frequency with half a count added to every token.
    """

    def pairs(tokens):
        tokens = np.asarray(tokens, np.int64)
        return tokens[:, :-1].ravel(), tokens[:, 1:].ravel()

    x, y = pairs(train)
    codes, counts = np.unique(x * vocab_size + y, return_counts=True)
    total = np.bincount(x, minlength=vocab_size).astype(np.float64)
    followers = np.bincount(codes // vocab_size, minlength=vocab_size).astype(np.float64)
    unigram = np.bincount(y, minlength=vocab_size) + 0.5
    unigram = unigram / unigram.sum()
    once, twice = np.sum(counts == 1), np.sum(counts == 2)
    discount = once / (once + 2 * twice) if once else 0.5

    x, y = pairs(heldout)
    code = x * vocab_size + y
    at = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
    count = np.where(codes[at] == code, counts[at], 0)
    seen = np.maximum(total[x], 1)
    p = np.maximum(count - discount, 0) / seen + discount * followers[x] / seen * unigram[y]
    return float(-np.log(np.where(total[x] > 0, p, unigram[y])).mean())
