"""Which contexts and positions are harvested: draws are fair, and do not depend on earlier calls."""

import tracemalloc

import numpy as np
import pytest

import monosem_jax.activations.sampling
from monosem_jax.activations.sampling import SAMPLING_CONTEXTS, ContextSampler, sample_positions
from monosem_jax.runtime.errors import BadInput

LENGTH, BOS, K, SEED = 16, 0, 6, 3
FEW = 2502  # contexts, of which the last two have too few tokens


def make_tokens(n: int = FEW) -> np.ndarray:
    """Context i begins with BOS and i + 1, and has BOS here and there; the last two have K - 1 other tokens."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 50, (n, LENGTH)).astype(np.uint16)
    tokens[:, 6:][rng.random((n, LENGTH - 6)) < 0.2] = BOS
    tokens[:, 0], tokens[:, 1] = BOS, np.arange(1, n + 1)
    tokens[-2:, K:] = BOS
    tokens[:-2, 6] = 7  # the others have at least K
    return tokens


TOKENS = make_tokens()
USABLE = FEW - 2


def make(tokens: np.ndarray = TOKENS, k: int = K, seed: int = SEED) -> ContextSampler:
    return ContextSampler(tokens, BOS, k, seed)


def numbers(contexts: ContextSampler, which: np.ndarray) -> np.ndarray:
    """Which contexts of TOKENS they are."""
    found = contexts.tokens(which)
    assert found.dtype == np.int32 and np.array_equal(found, TOKENS[found[:, 1] - 1])
    return found[:, 1] - 1


def one_pass(p: int, **changes) -> np.ndarray:
    return numbers(make(**changes), np.arange(p * USABLE, (p + 1) * USABLE))


@pytest.mark.parametrize("p", [0, 1, 5])
def test_each_pass_holds_every_context_with_enough_tokens_once(p):
    assert len(make()) == USABLE
    assert np.array_equal(np.sort(one_pass(p)), np.arange(USABLE))


def test_a_context_is_usable_with_k_tokens_besides_bos_and_not_with_fewer():
    enough = (TOKENS != BOS).sum(axis=1)
    for k in (5, 6, 9, 13):
        assert len(make(k=k)) == np.count_nonzero(enough >= k)


def test_passes_and_seeds_have_orders_of_their_own():
    orders = [one_pass(0), one_pass(1), one_pass(2), one_pass(0, seed=4)]
    for i, a in enumerate(orders):
        for b in [np.arange(USABLE), *orders[:i]]:
            assert np.mean(a == b) < 0.01


def test_the_order_of_a_pass_is_even():
    assert abs(np.abs(np.diff(one_pass(0))).mean() / (USABLE / 3) - 1) < 0.05  # of a random permutation, a third


def test_positions_are_drawn_without_replacement_and_never_bos():
    which = np.arange(2 * USABLE)
    positions = make().positions(which)
    assert positions.shape == (2 * USABLE, K)
    assert (np.diff(np.sort(positions, axis=1), axis=1) > 0).all()
    assert (np.take_along_axis(make().tokens(which), positions, axis=1) != BOS).all()


def test_positions_are_drawn_evenly_from_those_that_are_not_bos():
    which = np.arange(4 * USABLE)
    eligible = make().tokens(which) != BOS
    expected = np.where(eligible, K / eligible.sum(axis=1, keepdims=True), 0.0).sum(axis=0)
    positions = make().positions(which)
    np.testing.assert_allclose(np.bincount(positions.ravel(), minlength=LENGTH), expected, rtol=0.04)
    first = np.bincount(positions[:, 0], minlength=LENGTH)  # in random order too
    np.testing.assert_allclose(first, expected / K, rtol=0.12)


def test_a_context_with_just_k_tokens_gives_them_all():
    tokens = np.full((3, LENGTH), BOS, np.uint16)
    tokens[:, [2, 3, 5, 7, 11, 13]] = 9
    assert (np.sort(make(tokens).positions(np.arange(3)), axis=1) == [2, 3, 5, 7, 11, 13]).all()


def test_positions_are_drawn_anew_in_each_pass_and_for_each_seed():
    def drawn(p: int, seed: int) -> np.ndarray:
        which = np.arange(p * USABLE, (p + 1) * USABLE)
        contexts = make(seed=seed)
        positions = np.empty((USABLE, K), int)
        positions[numbers(contexts, which)] = contexts.positions(which)
        return positions

    first = drawn(0, SEED)
    for other in (drawn(1, SEED), drawn(0, SEED + 1)):
        assert np.mean(first == other) < 0.15  # by chance one in ten to thirteen


def test_two_contexts_or_two_seeds_have_no_draw_in_common():
    tokens = np.tile(TOKENS[:1], (4000, 1))
    draws, others = (make(tokens, seed=seed).positions(np.arange(4000)) for seed in (3, 4))
    assert len(np.unique(draws, axis=0)) > 3900
    assert np.mean((draws == others).all(axis=1)) < 0.01


def test_a_context_and_its_positions_are_the_same_whatever_was_asked_before():
    n = 3 * USABLE
    expected = make().tokens(np.arange(n)), make().positions(np.arange(n))
    used, rng = make(), np.random.default_rng(1)
    for _ in range(40):
        size = int(rng.integers(1, 200))
        start = int(rng.integers(0, n - size))
        which = np.arange(start, start + size) if rng.random() < 0.5 else rng.integers(0, n, size)
        if rng.random() < 0.7:
            assert np.array_equal(used.tokens(which), expected[0][which])
        if rng.random() < 0.7:
            assert np.array_equal(used.positions(which), expected[1][which])


def test_a_piecewise_look_finds_the_same_contexts(monkeypatch):
    tokens = TOKENS.copy()
    tokens[::7, 2:] = BOS  # unusable ones all over
    whole = make(tokens)
    monkeypatch.setattr(monosem_jax.activations.sampling, "_SCAN", 100)
    pieces = make(tokens)
    assert len(whole) == len(pieces) < USABLE
    assert np.array_equal(whole.tokens(np.arange(5000)), pieces.tokens(np.arange(5000)))


def test_one_usable_context_comes_again_and_again_with_new_positions():
    contexts = make(TOKENS[:1])
    assert (contexts.tokens(np.arange(5000)) == TOKENS[0]).all()
    assert len(np.unique(contexts.positions(np.arange(5000)), axis=0)) > 100


@pytest.mark.parametrize("tokens, k", [(TOKENS, LENGTH), (TOKENS[-2:], K), (TOKENS[:0], 1)])
def test_a_text_without_a_usable_context_is_refused(tokens, k):
    with pytest.raises(BadInput, match=f"rows_per_context is {k}: no context of 16 has that many tokens besides BOS"):
        make(tokens, k=k)


def test_memory_does_not_hold_the_tokens(tmp_path):
    n, length = 150_000, 64
    file = np.lib.format.open_memmap(tmp_path / "t.npy", mode="w+", dtype=np.uint16, shape=(n, length))
    file[:] = 5
    tokens = np.load(tmp_path / "t.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        contexts = ContextSampler(tokens, BOS, 8, SEED)
        for start in range(0, 6 * n, 8_000):
            contexts.tokens(np.arange(start, start + 64))
            contexts.positions(np.arange(start, start + 64))
        now, peak = (m - before for m in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    assert now < 12 * n + 1e6  # three numbers of 4 bytes a context; as tokens they take 128
    assert peak < now + 65_536 * length * 1.5


def test_a_draw_depends_on_the_row_and_its_place_alone():
    rng = np.random.default_rng(0)
    eligible = rng.random((SAMPLING_CONTEXTS, LENGTH)) < 0.9
    eligible[:, :K] = True
    other = eligible.copy()
    other[500:, K:] = False
    drawn = sample_positions(eligible, K, np.random.default_rng(0))
    assert np.array_equal(drawn[:500], sample_positions(eligible[:500], K, np.random.default_rng(0)))
    assert np.array_equal(drawn[:500], sample_positions(other, K, np.random.default_rng(0))[:500])
