"""Samples are uniform; a sketch is as exact as it says; a sample of firings finds the frequent tokens."""

from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis.scan.batch import Batch
from monosem_jax.analysis.scan.bottom import EMPTY, Bottom
from monosem_jax.analysis.scan.cosines import largest_products
from monosem_jax.analysis.scan.firings import Firings
from monosem_jax.analysis.scan.hashes import Keys
from monosem_jax.analysis.scan.intervals import Intervals
from monosem_jax.analysis.scan.pairs import Sketch, SomePairs, add_products
from monosem_jax.analysis.scan.text_counts import count_text
from tests.analysis.scan.material import contexts, features, found, others, real, scanned

# Of a chi-square statistic with d degrees of freedom, d + 5 √(2d) is passed by chance less than once in 10,000.
MANY = 5.0


def chi_square_is_fine(counts: np.ndarray, expected: float) -> bool:
    d = counts.size - 1
    return abs(np.square(counts - expected).sum() / expected - d) < MANY * np.sqrt(2 * d)


def dense_batch(f: np.ndarray, first: int = 0) -> Batch:
    """Contexts of four tokens with the activations [B,F]."""
    n = len(f) // 4
    tokens, yes = np.ones((n, 4), np.int32), np.ones(len(f), bool)
    return Batch(first, tokens, tokens * 0 - 1, yes, yes, Firings.of_dense(f), None, {})


def test_reservoirs_are_uniform_over_the_firings_of_an_interval():
    """Each of 40 firings in one interval of each of 500 features, 5 of which are drawn; over 20 seeds."""
    f = np.full((40, 500), 0.5, np.float32)
    drawn = np.zeros((40, 500))
    for seed in range(20):
        made = Intervals(np.full(500, 6.0, np.float32), 5, seed)
        made.add(dense_batch(f))
        r = made.reservoirs(4)[12]
        assert (r.count[:, 0] == 40).all() and not r.count[:, 1:].any()
        place = r.context[:, 0].astype(int) * 4 + r.position[:, 0]
        for i in range(500):
            drawn[place[i], i] += 1
    assert drawn.sum() == 20 * 500 * 5
    assert chi_square_is_fine(drawn.sum(axis=1), 20 * 500 * 5 / 40)


def test_pairs_of_firings_are_drawn_together_as_often_as_any():
    """Without this, samples could be uniform one at a time and still be runs of neighbours."""
    together = np.zeros((12, 12))
    for seed in range(40):
        made = Intervals(np.full(300, 6.0, np.float32), 2, seed)
        made.add(dense_batch(np.full((12, 300), 0.5, np.float32)))
        place = made.reservoirs(4)[11]
        at = np.sort(place.context[:, 0].astype(int) * 4 + place.position[:, 0], axis=1)
        np.add.at(together, (at[:, 0], at[:, 1]), 1)
    counts = together[np.triu_indices(12, 1)]
    assert counts.sum() == 40 * 300 and chi_square_is_fine(counts, 40 * 300 / 66)


def test_random_tokens_are_uniform_over_all_but_bos():
    drawn = np.zeros(contexts().shape)
    for seed in range(400):
        got = count_text(contexts(), contexts(), bos=0, vocab_size=40, n_labels=40, n_random=10, seed=seed).random
        assert len(set(got)) == 10
        drawn.reshape(-1)[got] += 1
    assert not drawn[~real()].any() and chi_square_is_fine(drawn[real()], 4000 / real().sum())


@pytest.mark.parametrize("bits", [slice(0, 8), slice(28, 36), slice(56, 64)], ids=["low", "middle", "high"])
def test_keys_of_counted_tokens_are_uniform(bits):
    keys = np.concatenate([Keys("x", s, 4).of_firings(np.full(5000, s % 4), np.arange(5000)) for s in range(20)])
    byte = (keys >> np.uint64(bits.start)) & np.uint64(255)
    assert chi_square_is_fine(np.bincount(byte.astype(int), minlength=256), len(keys) / 256)


def test_the_smallest_keys_are_kept_whatever_the_order_and_the_cuts():
    rng = np.random.default_rng(0)
    group, key = rng.integers(0, 7, 500), rng.permutation(500).astype(np.uint64)
    place, value = np.arange(500), rng.normal(size=500).astype(np.float32)
    expected = [np.flatnonzero(group == g)[np.argsort(key[group == g])[:6]] for g in range(8)]
    for size in (1, 60, 500):
        made, order = Bottom(8, 6), rng.permutation(500)
        for i in range(0, 500, size):
            at = order[i : i + size]
            made.offer(group[at], key[at], place[at], value[at])
        for g in range(8):
            k = len(expected[g])
            np.testing.assert_array_equal(made.state["place"][g, :k], expected[g])
            np.testing.assert_array_equal(made.state["value"][g, :k], value[expected[g]])
            assert (made.state["key"][g, k:] == EMPTY).all()


def test_merged_parts_have_the_smallest_keys_of_all():
    rng = np.random.default_rng(1)
    group, key, place = rng.integers(0, 5, 300), rng.permutation(300).astype(np.uint64), np.arange(300)
    whole, a, b = (Bottom(5, 4) for _ in range(3))
    for made, at in ((whole, slice(None)), (a, slice(0, 300, 2)), (b, slice(1, 300, 2))):
        made.offer(group[at], key[at], place[at], np.zeros(300, np.float32)[at])
    a.merge(b.state)
    np.testing.assert_array_equal(a.state["place"], whole.state["place"])


@pytest.mark.parametrize("shares", [(0.02, 0.02), (0.02, 0.6), (0.9, 0.8)], ids=["sparse", "half", "dense"])
def test_products_of_all_pairs_are_the_same_in_every_way(shares):
    rng = np.random.default_rng(2)
    f, g = (
        (rng.normal(size=(64, n)) * (rng.random((64, n)) < s)).astype(np.float32)
        for n, s in zip((60, 50), shares, strict=True)
    )
    table = np.ones((60, 50))
    add_products(table, Firings.of_dense(f), Firings.of_dense(g))
    np.testing.assert_allclose(table - 1, f.astype(np.float64).T @ g, atol=1e-12)


def test_products_of_some_pairs(monkeypatch):
    monkeypatch.setattr("monosem_jax.analysis.scan.pairs.SCRATCH", 200)  # a few rows at a time
    rng = np.random.default_rng(3)
    f = (rng.normal(size=(64, 30)) * (rng.random((64, 30)) < 0.2)).astype(np.float32)
    candidates = rng.integers(-1, 30, size=(30, 7))
    made = SomePairs(candidates, "")
    made.add(dense_batch(f))
    exact = f.astype(np.float64).T @ f
    expected = np.take_along_axis(exact, np.maximum(candidates, 0), axis=1)
    np.testing.assert_allclose(made.state["product"][candidates >= 0], expected[candidates >= 0], rtol=1e-6, atol=1e-9)


def test_a_sketch_is_as_exact_as_it_says():
    rng = np.random.default_rng(4)
    f = np.maximum(rng.normal(size=(2000, 40)) @ rng.normal(size=(40, 40)) / 6 - 0.5, 0).astype(np.float32)
    f[:, 3] = 0
    f[:, 5] = 0.25
    columns, errors = 400, []
    with np.errstate(invalid="ignore"):
        exact = np.corrcoef(f.T.astype(np.float64))
    for seed in range(5):
        made = Sketch(40, 40, "", columns, seed)
        for i in range(0, 2000, 400):
            made.add(dense_batch(f[i : i + 400], first=i // 4))
        a, b = made.centred(2000)
        assert not a[[3, 5]].any()
        off = ~np.eye(40, dtype=bool) & ~np.isnan(exact)
        errors.append((a @ b.T - exact)[off])
    errors = np.concatenate(errors)
    assert 0.9 / np.sqrt(columns) < errors.std() < 1.15 / np.sqrt(columns)
    assert abs(errors.mean()) < 0.3 / np.sqrt(columns)


@pytest.mark.parametrize("name", ["features", "neurons", "other"])
def test_candidates_of_a_sketch_have_their_exact_correlations(name):
    s = scanned(pairs=0)
    got, all_pairs = s.neighbours[name], found().neighbours[name]
    assert not got.exact and got.error == pytest.approx(512**-0.5) and got.tokens == all_pairs.tokens
    for field in ("index", "nearest"):
        np.testing.assert_array_equal(getattr(got, field), getattr(all_pairs, field))
    for field in ("correlation", "nearest_correlation", "cosine", "nearest_cosine"):
        np.testing.assert_allclose(getattr(got, field), getattr(all_pairs, field), atol=1e-6)


def test_correlations_may_be_of_evenly_spaced_contexts():
    n = scanned(correlation_tokens=180).neighbours["neurons"]
    c = len(contexts())
    chosen = round(c * 180 / real().sum())
    marks = np.asarray([i for i in range(c) if (i + 1) * chosen // c > i * chosen // c])
    assert len(marks) == chosen and set(np.diff(marks)) <= {c // chosen, c // chosen + 1}
    f, g = (np.asarray(s.activations(contexts()), np.float64)[marks][real()[marks]] for s in (features(), others()[0]))
    assert n.tokens == len(f)
    for i in np.flatnonzero(n.index[:, 0] >= 0):
        expected = np.corrcoef(f[:, i], g[:, n.index[i, 0]])[0, 1]
        assert n.correlation[i, 0] == pytest.approx(expected, abs=1e-5)


def test_top_tokens_of_a_sample_are_counted_exactly():
    """With as large a sample as there are firings they are those of the table."""
    got = scanned(token_pairs=0, token_sample=600)
    assert not got.tokens_exact
    for field in ("token_id", "token_fired"):
        np.testing.assert_array_equal(getattr(got, field), getattr(found(), field))
    np.testing.assert_allclose(got.token_total, found().token_total, rtol=1e-12)


def test_a_small_sample_finds_tokens_that_fire_and_counts_them():
    got = scanned(token_pairs=0, token_sample=8)
    exact = scanned(top_tokens=40)
    known = 0
    for i in range(20):
        count = dict(zip(exact.token_id[i], exact.token_fired[i], strict=True))
        for token, fired in zip(got.token_id[i], got.token_fired[i], strict=True):
            assert token < 0 or fired == count[token] > 0
            known += token >= 0
    assert known > 40


@pytest.mark.parametrize("block", [1 << 24, 50])
def test_largest_products_are_those_of_numpy(monkeypatch, block):
    monkeypatch.setattr("monosem_jax.analysis.scan.cosines.BLOCK", block)
    rng = np.random.default_rng(5)
    a, b = (rng.normal(size=(n, 6)).astype(np.float32) for n in (23, 17))
    value, index = largest_products(a, b, 4)
    order = np.argsort(-(a @ b.T), axis=1)[:, :4]
    np.testing.assert_array_equal(index, order)
    np.testing.assert_allclose(value, np.take_along_axis(a @ b.T, order, 1), rtol=1e-5)
    value, index = largest_products(a[:3], a[:3], 4, same=True)
    assert (index[:, 2:] == -1).all() and (value[:, 2:] == -np.inf).all()
    assert all(i not in row for i, row in enumerate(index))
