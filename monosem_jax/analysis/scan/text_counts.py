"""What the tokens say by themselves: how often each occurs, the tokens of labels, a uniform sample."""

from __future__ import annotations

import dataclasses

import numpy as np

from monosem_jax.analysis.scan.bottom import Bottom
from monosem_jax.analysis.scan.hashes import Keys


@dataclasses.dataclass(frozen=True)
class TextCounts:
    """Counts over the tokens of a text, BOS left out: of all, of each of the vocabulary [V], of each label [L], and
    the numbers of R tokens drawn uniformly [R]."""

    tokens: int
    occurrences: np.ndarray
    label_tokens: np.ndarray
    random: np.ndarray


def count_text(
    tokens: np.ndarray, labels: np.ndarray, *, bos: int, vocab_size: int, n_labels: int, n_random: int, seed: int
) -> TextCounts:
    """Reads contexts [C,T] with the labels [C,T], a few at a time."""
    occurrences, of_label = np.zeros(vocab_size, np.int64), np.zeros(n_labels, np.int64)
    keys, sample = Keys("random", seed), Bottom(1, max(n_random, 1))
    block = max(1, (1 << 18) // tokens.shape[1])
    for c in range(0, len(tokens), block):
        t, y = tokens[c : c + block].reshape(-1), labels[c : c + block].reshape(-1)
        at = np.flatnonzero(t != bos)
        occurrences += np.bincount(t[at], minlength=vocab_size)
        of_label += np.bincount(y[at][y[at] >= 0], minlength=n_labels)[:n_labels]
        number = at + c * tokens.shape[1]
        sample.offer(np.zeros(len(at), np.int64), keys.of_tokens(number), number, np.zeros(len(at), np.float32))
    found = sample.state["place"][0][:n_random]
    return TextCounts(int(occurrences.sum()), occurrences, of_label, found[found >= 0])
