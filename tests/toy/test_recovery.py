"""What is counted as recovered, twin or absorbed, on dictionaries made by hand; and what training recovers."""

import dataclasses

import numpy as np
import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures import AbsTopKConfig, AprilConfig, ReluConfig, TopKConfig, build
from monosem_jax.sae.config import ARCHITECTURES
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.toy import found
from monosem_jax.toy.dictionaries import train_on_rows
from monosem_jax.toy.found import DictionariesConfig, sparse_toy
from monosem_jax.toy.recovery import absorption, measure, true_directions
from monosem_jax.toy.superposition import ToyConfig

TOY = ToyConfig(40, 12, steps=1000, batch_size=256, learning_rate=1e-2, snapshots=2)
FEW = DictionariesConfig(steps=1200, rows=32_768, measured_rows=8192, batch_size=128, learning_rate=3e-3)


def by_hand(W_dec: np.ndarray, W_enc: np.ndarray | None = None) -> PublishedSAE:
    """A ReLU dictionary without biases."""
    W_dec = np.asarray(W_dec, np.float32)
    params = {"W_enc": W_dec.T if W_enc is None else np.asarray(W_enc, np.float32), "W_dec": W_dec}
    params |= {"b_enc": np.zeros(len(W_dec), np.float32), "b_dec": np.zeros(W_dec.shape[1], np.float32)}
    return PublishedSAE(build(ReluConfig(n_features=len(W_dec)), W_dec.shape[1], np.float32), params)


X = np.array([[1, 0, 0], [0, 0.5, 0], [0, 0, 0.8], [0.4, 0, 0.6], [0, 0.2, 0]], np.float32)


def test_what_is_recovered_precise_and_twin():
    W = np.eye(4, 3)
    found = measure(by_hand([[1, 0, 0, 0], [0.99, 0.01, 0, 0], [0, 0.8, 0.6, 0], [0, 0, 0, -1]]), W, X, X @ W.T)
    assert (found.true_features, found.n_features, found.alive, found.twins) == (3, 4, 3, 2)
    assert found.recovered == pytest.approx(1 / 3) and found.precision == pytest.approx(2 / 3) and found.copies == 2
    assert found.mean_max_cosine == pytest.approx((1 + 0.8 + 0.6) / 3, abs=1e-3)
    assert found.l0 == pytest.approx((2 + 2 + 1 + 3 + 2) / 5) and found.true_l0 == pytest.approx(6 / 5)


def test_a_perfect_dictionary_is_perfect_and_one_of_other_vectors_finds_nothing():
    W = np.eye(4, 3)
    found = measure(by_hand(np.eye(4)[:3]), W, X, X @ W.T)
    assert (found.recovered, found.precision, found.copies, found.twins) == (1, 1, 1, 0)
    assert found.variance_explained == pytest.approx(1)
    other = measure(by_hand(np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]), W, X, X @ W.T)
    assert other.recovered == 0 and other.precision == 0 and other.copies is None


def test_features_of_norm_zero_are_not_looked_for_and_one_must_be_left():
    truth, numbers = true_directions(np.array([[2.0, 0.1, 0], [0, 0, 0.7]]))
    np.testing.assert_allclose(truth, np.eye(2))
    assert list(numbers) == [0, 2]
    with pytest.raises(BadInput, match="none of 3 features has a norm of"):
        true_directions(np.full((2, 3), 0.1))


def test_a_dictionary_that_never_fires_has_no_precision():
    W = np.eye(3)
    found = measure(by_hand(np.eye(3), -np.eye(3)), W, X, X @ W.T)
    assert (found.alive, found.recovered, found.precision, found.l0) == (0, 0, None, 0)


def pairs(rng: np.random.Generator, rows: int = 4000) -> np.ndarray:
    parent = (rng.uniform(size=rows) < 0.5) * rng.uniform(0.2, 1, rows)
    child = (parent > 0) * (rng.uniform(size=rows) < 0.4) * rng.uniform(0.2, 1, rows)
    return np.stack([parent, child], axis=1).astype(np.float32)


def test_a_parent_that_leaves_its_strength_to_the_child_is_absorbed_and_an_honest_one_is_not():
    x, W = pairs(np.random.default_rng(0)), np.eye(2)
    honest = absorption(by_hand(np.eye(2)), W, x, x)
    assert (honest.pairs, honest.measured) == (1, 1)
    assert honest.absorbed == pytest.approx(0, abs=1e-6) and honest.parent_in_child == pytest.approx(0)
    assert honest.strength_with == pytest.approx(1) and honest.strength_without == pytest.approx(1)
    # The parent's feature is silent where the child is large, and the child's vector contains the parent.
    absorbing = by_hand([[1, 0], [0.6, 0.8]], np.array([[1, 0], [-10, 1]]))
    found = absorption(absorbing, W, x, x)
    assert found.absorbed == pytest.approx(1) and found.parent_in_child == pytest.approx(0.6)
    by_hand_with = np.maximum(x[:, 0] - 10 * x[:, 1], 0)[x[:, 1] > 0].sum() / x[x[:, 1] > 0, 0].sum()
    assert found.strength_with == pytest.approx(by_hand_with, abs=1e-5)


def test_pairs_that_cannot_be_measured_are_left_out():
    x, W = pairs(np.random.default_rng(0)), np.eye(2)
    assert absorption(by_hand([[0.6, 0.8], [0.6, -0.8]]), W, x, x).measured == 0
    without_child = x * [1, 0]
    found = absorption(by_hand(np.eye(2)), W, without_child, without_child)
    assert (found.pairs, found.measured, found.absorbed) == (1, 0, None)
    assert absorption(by_hand(np.eye(2)), W * [1, 0], x, x).pairs == 0


def test_every_architecture_of_plain_rows_has_settings():
    between = {"transcoder", "crosscoder"}
    assert set(found.SETTINGS) == set(ARCHITECTURES) - between
    assert all(isinstance(config, ARCHITECTURES[name]) for name, config in found.SETTINGS.items())


@pytest.fixture(scope="module")
def subject():
    return sparse_toy(TOY, FEW, seed=0)


def test_topk_finds_the_features_of_a_toy_model_and_not_those_of_another(subject):
    sae = subject.dictionary(found.SETTINGS["topk"], 80)
    mine = measure(sae, subject.W, subject.x, subject.h)
    assert mine.true_features >= 35 and mine.recovered > 0.9 and mine.mean_max_cosine > 0.97
    other = sparse_toy(TOY, FEW, seed=1)
    assert measure(sae, other.W, subject.x, subject.h).recovered < 0.2


def test_larger_dictionaries_hold_copies(subject):
    small, large = (subject.measured(found.SETTINGS["april_2024"], n) for n in (40, 320))
    assert large.copies > 3 * small.copies and large.twins > 100 and large.recovered > 0.9


def test_features_with_either_sign_find_opposites():
    W = np.eye(4, 3)
    sae = build(AbsTopKConfig(n_features=3, k=1), 4, np.float32)
    vectors = -np.eye(4, dtype=np.float32)[:3]
    params = {"W_enc": vectors.T, "W_dec": vectors, "b_dec": np.zeros(4, np.float32), "b_enc": np.zeros(3, np.float32)}
    assert measure(PublishedSAE(sae, params), W, X, X @ W.T).recovered == 1


def test_absorption_shows_where_children_have_parents_and_not_where_they_are_independent():
    toy = ToyConfig(8, 8, steps=800, batch_size=256, learning_rate=1e-2, snapshots=2)
    own, gaps = dataclasses.replace(FEW, absorb_by=("april_2024",)), []
    with_parent, independent = found.absorbed(toy, own, 0, gaps)
    assert not gaps and with_parent["measured"] == independent["measured"] == 4
    assert with_parent["absorbed"] > 0.15 and with_parent["parent_in_child"] > 0.3
    assert independent["absorbed"] < 0.08 and independent["parent_in_child"] < 0.15


def test_resampling_recovers_more_than_none(subject):
    rows = {row["resampling"]: row for row in found.resampled(subject, [])}
    none, best = rows["none"], rows["paper, Adam restarted"]
    assert none["alive"] < none["n_features"] and best["alive"] > none["alive"]
    assert best["recovered"] > none["recovered"]


def test_a_dictionary_that_fails_is_a_gap_and_the_others_are_measured(subject):
    small = dataclasses.replace(subject.config, architectures=("topk", "relu"), factor=1, steps=50)
    broken = found.Subject.__new__(found.Subject)
    vars(broken).update(vars(subject), config=small, rows=subject.rows)
    original, gaps = found.SETTINGS["topk"], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(found.SETTINGS, "topk", dataclasses.replace(original, k=999))
        rows = found.by_architecture(broken, gaps)
    assert [row["architecture"] for row in rows] == ["relu"] and "sae.k is 999" in gaps[0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((600, 3)), "all zero"),
        (np.full((600, 3), np.nan), "not finite"),
        (np.ones(600), "shape"),
        (np.ones((5, 3)), "batch_size 128 is larger"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_refused(rows, message):
    with pytest.raises(BadInput, match=message):
        train_on_rows(rows, TopKConfig(n_features=8, k=2), FEW.train())


def test_resampling_at_impossible_steps_is_refused():
    with pytest.raises(BadInput, match=r"resample\.steps"):
        train_on_rows(np.ones((600, 3)), AprilConfig(n_features=8), FEW.train(), ResampleConfig((5000.0,), 10, 100))
