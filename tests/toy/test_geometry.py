"""Measures of geometry on arrangements that are known."""

import dataclasses

import numpy as np
import pytest

from monosem_jax.toy import geometry
from monosem_jax.toy.superposition import ToyConfig, Toys, train_toys


def polygon(n: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)])


TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).T / 3**0.5
DIGON = np.array([[1.0, -1.0]])


def antiprism() -> np.ndarray:
    z, turn = 0.5**0.5, np.pi / 4
    low, high = (np.stack([np.cos(a), np.sin(a)]) for a in (np.arange(4) * np.pi / 2, np.arange(4) * np.pi / 2 + turn))
    both = np.concatenate([np.concatenate([low, high], 1), np.repeat([[z, -z]], 4, axis=1).reshape(2, 4).reshape(1, 8)])
    return both / np.linalg.norm(both, axis=0)


def side_by_side(*parts: np.ndarray) -> np.ndarray:
    """A tegum product: every part in dimensions of its own."""
    W = np.zeros((sum(p.shape[0] for p in parts), sum(p.shape[1] for p in parts)))
    row = column = 0
    for p in parts:
        W[row : row + p.shape[0], column : column + p.shape[1]] = p
        row, column = row + p.shape[0], column + p.shape[1]
    return W


KNOWN = {
    "dedicated": (np.eye(1), 1.0),
    "digon": (DIGON, 1 / 2),
    "triangle": (polygon(3), 2 / 3),
    "tetrahedron": (TETRAHEDRON, 3 / 4),
    "pentagon": (polygon(5), 2 / 5),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_polytope_has_its_dimensionality_and_its_name(name):
    W, level = KNOWN[name]
    rotated = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0][:, : W.shape[0]] @ W
    np.testing.assert_allclose(geometry.dimensionality(rotated), level, atol=1e-12)
    assert [found.name for found in geometry.polytopes(rotated)] == [name]
    assert geometry.level_counts(geometry.dimensionality(rotated))[name] == W.shape[1]


def test_polytopes_beside_each_other_are_told_apart_and_a_dropped_feature_is_in_none():
    W = np.concatenate([side_by_side(polygon(5), DIGON, np.eye(1), TETRAHEDRON), np.zeros((7, 1))], axis=1)
    found = geometry.polytopes(W)
    assert [f.name for f in found] == ["pentagon", "digon", "dedicated", "tetrahedron"]
    assert [f.features for f in found] == [(0, 1, 2, 3, 4), (5, 6), (7,), (8, 9, 10, 11)]
    counts = geometry.level_counts(geometry.dimensionality(W))
    assert counts["absent"] == 1 and counts["between"] == 0 and sum(counts.values()) == 13
    dimensions = geometry.dimensionality(W).sum()
    assert dimensions == pytest.approx(7)  # all that there are
    assert geometry.dimensions_per_feature(W) == pytest.approx(7 / 12)
    assert geometry.Polytope(tuple(range(7)), 3).name == "7 features in 3 dimensions"


def test_measures_are_those_of_a_loop():
    W = np.random.default_rng(1).normal(size=(2, 3, 7))
    W[0, :, 2] = 0
    for i in range(2):
        for k in range(7):
            length = np.linalg.norm(W[i, :, k])
            unit = W[i, :, k] / length if length else W[i, :, k]
            others = sum((unit @ W[i, :, j]) ** 2 for j in range(7) if j != k)
            assert geometry.norms(W)[i, k] == pytest.approx(length)
            assert geometry.superposition(W)[i, k] == pytest.approx(others)
            expected = length**2 / (others + length**2) if length else 0
            assert geometry.dimensionality(W)[i, k] == pytest.approx(expected)
    np.testing.assert_allclose(geometry.dimensions_per_feature(W), [3 / np.sum(w**2) for w in W])


def test_the_square_antiprism_is_near_its_level():
    assert geometry.level_counts(geometry.dimensionality(antiprism()))["square antiprism"] == 8


def test_cosines_of_pairs_are_of_represented_features_alone():
    W = np.array([[1.0, -1.0, 0.0, 0.1], [0.0, 0.0, 1.0, 0.0]])
    same, different = geometry.pair_cosines(W)
    np.testing.assert_allclose(same, [-1])
    np.testing.assert_allclose(different, [0, 0])


def history(dimensionality: np.ndarray, losses: np.ndarray) -> Toys:
    toys = train_toys(ToyConfig(2, 1, steps=1, batch_size=4, snapshots=1), [0.5])
    n = len(losses)
    return dataclasses.replace(
        toys, steps=10 * np.arange(1, n + 1), losses=losses[None], dimensionality=dimensionality[None]
    )


def test_jumps_are_found_where_a_dimensionality_changes():
    d = np.full((40, 2), 0.5)
    d[:20, 1] = 0.0
    loss = np.where(np.arange(40) < 20, 1.0, 0.6)
    found = geometry.energy_jumps(history(d, loss), 0)
    assert found.steps == (190, 200, 210, 220)
    assert found.drop_at_jumps == pytest.approx(0.4) and found.drop_elsewhere == 0
    still = geometry.energy_jumps(history(np.full((40, 2), 0.5), loss), 0)
    assert still.steps == () and np.isnan(still.drop_at_jumps)


def test_the_loss_of_a_trained_model_falls_at_jumps():
    config = ToyConfig(10, 4, steps=1500, batch_size=512, learning_rate=1e-3, final_fraction=1.0, snapshots=60)
    toys = train_toys(config, [0.3] * 4 + [0.08] * 4, 1.0, np.arange(8))
    found = [geometry.energy_jumps(toys, i) for i in range(8)]
    drops = [f.drop_at_jumps for f in found if f.steps]
    assert len(drops) >= 2 and np.median(drops) > 3 * np.median([f.drop_elsewhere for f in found])
