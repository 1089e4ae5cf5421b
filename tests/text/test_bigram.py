from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from monosem_jax.text.bigram import bigram_loss

TRAIN = np.asarray([[0, 1, 2, 1, 2], [0, 1, 3, 1, 2]])
VOCAB = 5


def probability(train, vocab: int, x: int, y: int) -> float:
    """p(y|x) of the docstring, from dictionaries."""
    pairs = Counter((int(a), int(b)) for context in train for a, b in itertools.pairwise(context))
    firsts, seconds, followers = Counter(), Counter(), Counter()
    for (a, b), n in pairs.items():
        firsts[a] += n
        seconds[b] += n
        followers[a] += 1
    once, twice = sum(n == 1 for n in pairs.values()), sum(n == 2 for n in pairs.values())
    discount = once / (once + 2 * twice) if once else 0.5
    unigram = (seconds[y] + 0.5) / (sum(seconds.values()) + 0.5 * vocab)
    if not firsts[x]:
        return unigram
    return max(pairs[x, y] - discount, 0) / firsts[x] + discount * followers[x] / firsts[x] * unigram


def found(train, vocab: int, x: int, y: int) -> float:
    return math.exp(-bigram_loss(np.asarray(train), np.asarray([[x, y]]), vocab))


def random_contexts(seed: int, shape, vocab: int) -> np.ndarray:
    """Contexts in which low tokens are frequent."""
    return np.minimum(np.random.default_rng(seed).geometric(0.3, size=shape) - 1, vocab - 1)


@pytest.mark.parametrize(
    ("x", "y", "by_hand"),
    [
        # Pairs: 01 twice, 12 three times, 21 once, 13 once, 31 once, so D = 3 / (3 + 2) = 0.6.
        # Second tokens: 1 four times, 2 three times, 3 once, with half a count more each out of 10.5.
        (1, 2, (3 - 0.6) / 4 + 0.6 * 2 / 4 * 3.5 / 10.5),
        (1, 3, (1 - 0.6) / 4 + 0.6 * 2 / 4 * 1.5 / 10.5),
        (1, 0, 0.6 * 2 / 4 * 0.5 / 10.5),
        (0, 1, (2 - 0.6) / 2 + 0.6 * 1 / 2 * 4.5 / 10.5),
        (4, 1, 4.5 / 10.5),
    ],
)
def test_probabilities_equal_those_worked_out_by_hand(x, y, by_hand):
    assert found(TRAIN, VOCAB, x, y) == pytest.approx(by_hand, rel=1e-12)
    assert probability(TRAIN, VOCAB, x, y) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_loss_equals_the_reference_on_random_text(seed):
    train, heldout = random_contexts(seed, (6, 15), 9), random_contexts(seed + 10, (4, 15), 12)
    pairs = [(int(x), int(y)) for c in heldout for x, y in itertools.pairwise(c)]
    expected = -sum(math.log(probability(train, 12, x, y)) for x, y in pairs) / len(pairs)
    assert bigram_loss(train, heldout, 12) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("x", range(VOCAB))
def test_probabilities_sum_to_one_over_the_vocabulary(x):
    """Also after a token that the text never has first."""
    assert sum(found(TRAIN, VOCAB, x, y) for y in range(VOCAB)) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("train", [[[0, 1, 2, 3]], [[0, 1, 0, 1, 0]]])
def test_probabilities_sum_to_one_where_no_pair_is_seen_twice_or_none_once(train):
    """Then the discount is 1, or 0.5 by default."""
    for x in range(VOCAB):
        assert sum(found(train, VOCAB, x, y) for y in range(VOCAB)) == pytest.approx(1, rel=1e-12)


def test_pairs_do_not_reach_over_the_ends_of_contexts():
    """3 ends a context, so nothing is known of what follows it."""
    assert found([[0, 3], [1, 2]], VOCAB, 3, 1) == pytest.approx(0.5 / 4.5, rel=1e-12)


def test_dtypes_that_cannot_hold_a_pair_do_not_overflow():
    train = np.asarray([[50_000, 60_000, 50_000, 60_000, 7]], np.uint16)
    expected = probability(train.astype(int), 65_000, 50_000, 60_000)
    value = math.exp(-bigram_loss(train, np.asarray([[50_000, 60_000]], np.uint16), 65_000))
    assert value == pytest.approx(expected, rel=1e-12)
