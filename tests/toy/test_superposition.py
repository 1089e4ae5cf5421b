"""Toy models: loss and gradient are those of NumPy, instances are independent, and training finds the picture."""

import dataclasses

import jax
import numpy as np
import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.toy import geometry, pictures
from monosem_jax.toy.superposition import ToyConfig, ToyParams, reconstruct, toy_loss, train_toys

SMALL = ToyConfig(6, 3, steps=40, batch_size=32, learning_rate=1e-2, snapshots=4)
PICTURE = ToyConfig(5, 2, steps=1500, batch_size=256, learning_rate=1e-2, snapshots=5)


def reference(W, b, x, importance) -> tuple[float, np.ndarray, np.ndarray]:
    """(loss, its gradient by W, by b) in float64."""
    pre = x @ W.T @ W + b
    error = np.maximum(pre, 0) - x
    g = 2 * importance * error * (pre > 0) / len(x)
    h, into_h = x @ W.T, g @ W.T
    return (importance * error**2).sum() / len(x), into_h.T @ x + h.T @ g, g.sum(axis=0)


def test_loss_and_gradient_are_those_of_float64():
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(3, 6)), 0.1 * rng.normal(size=6)
    x, importance = rng.uniform(size=(50, 6)) * (rng.uniform(size=(50, 6)) < 0.4), rng.uniform(size=6)
    params = ToyParams(*(np.float32(a) for a in (W, b)))
    loss, grads = jax.value_and_grad(toy_loss)(params, np.float32(x), np.float32(importance))
    expected, by_W, by_b = reference(W, b, x, importance)
    assert loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(grads.W, by_W, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(grads.b, by_b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(reconstruct(params, np.float32(x)), np.maximum(x @ W.T @ W + b, 0), atol=1e-5)


def test_an_instance_trained_alone_is_the_same_in_company():
    p, importance, seeds = [0.5, 0.1, 0.1], np.array([[1.0] * 6, [0.8**i for i in range(6)], [1.0] * 6]), [3, 4, 5]
    together = train_toys(SMALL, p, importance, seeds)
    for i in range(3):
        alone = train_toys(SMALL, [p[i]], importance[i], [seeds[i]])
        np.testing.assert_allclose(together.W[i], alone.W[0], atol=1e-5)
        np.testing.assert_allclose(together.losses[i], alone.losses[0], rtol=1e-4)
        np.testing.assert_allclose(together.final_loss[i], alone.final_loss[0], rtol=1e-4)
    assert not np.allclose(together.W[0], together.W[1])


def test_the_history_does_not_change_the_training_and_is_that_of_the_model():
    one, many = (train_toys(dataclasses.replace(SMALL, snapshots=n), [0.3]) for n in (1, 7))
    np.testing.assert_allclose(one.W, many.W, atol=1e-6)
    assert list(one.steps) == [40] and many.losses.shape == (1, 7) and many.steps[-1] == 40
    spans = np.diff(many.steps, prepend=0)
    assert (many.losses[0] * spans).sum() / 40 == pytest.approx(one.losses[0, 0], rel=1e-4)
    np.testing.assert_allclose(many.dimensionality[:, -1], geometry.dimensionality(many.W), atol=1e-4)


def test_the_final_loss_is_that_of_new_rows():
    toys = train_toys(SMALL, [0.3])
    x, h = toys.hidden_rows(0, 100_000, seed=9)
    loss, _, _ = reference(*(np.asarray(a[0], np.float64) for a in (toys.W, toys.b)), x.astype(np.float64), 1.0)
    assert toys.final_loss[0] == pytest.approx(loss, rel=0.02)
    np.testing.assert_allclose(h, x @ toys.W[0].T, atol=1e-5)


def test_the_seed_decides_the_rows_and_the_seeds_the_initial_values():
    a, b, c = (train_toys(own, [0.3], 1.0, seed).W for own, seed in ((SMALL, 0), (SMALL, 1), (_seeded(1), 0)))
    np.testing.assert_array_equal(a, train_toys(SMALL, [0.3]).W)
    assert not np.allclose(a, b) and not np.allclose(a, c)


def _seeded(seed: int) -> ToyConfig:
    return dataclasses.replace(SMALL, seed=seed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0],), "p outside of its bounds"),
        (([1.5],), "p outside of its bounds"),
        (([np.nan],), "p outside of its bounds"),
        (([0.1], -1.0), "importance that is negative"),
        (([0.1, 0.2], 1.0, [1, 2, 3]), "of the shapes"),
        (([[0.1, 0.2]],), "of the shapes"),
        (("a",), "of dtype"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(BadInput, match=message):
        train_toys(SMALL, *arguments)


def test_settings_that_are_impossible_are_named():
    for changes, message in (
        ({"snapshots": 99}, "toy.snapshots is 99"),
        ({"occurrence": "sometimes"}, "toy.occurrence is 'sometimes'"),
        ({"occurrence": "apart", "group_size": 4}, "toy.n_features is 6"),
        ({"learning_rate": 0.0}, "toy.learning_rate is 0.0"),
    ):
        with pytest.raises(BadInput, match=message):
            train_toys(dataclasses.replace(SMALL, **changes), [0.3])
    with pytest.raises(BadInput, match="features of a group that are apart have"):
        train_toys(dataclasses.replace(SMALL, occurrence="apart"), [0.6])
    with pytest.raises(BadInput, match="not finite: lower the learning rate"):
        train_toys(SMALL, [1.0], 3.4e38)


def test_five_features_in_two_dimensions_make_the_published_polygons():
    """Dense: the two most important, orthogonal. In between: digons and one dropped. Sparse: a pentagon."""
    toys = train_toys(PICTURE, [1.0, 0.3, 0.06], 0.9 ** np.arange(5), [0, 1, 2])
    dense, between, sparse = (geometry.polytopes(w) for w in toys.W)
    assert [found.name for found in dense] == ["dedicated"] * 2 and {i for f in dense for i in f.features} == {0, 1}
    assert [found.name for found in between] == ["digon"] * 2
    for pair in between:
        i, j = pair.features
        a, b = toys.W[1][:, i], toys.W[1][:, j]
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) < -0.99
    assert [found.name for found in sparse] == ["pentagon"]
    np.testing.assert_allclose(geometry.dimensionality(toys.W[2]), 2 / 5, atol=0.05)


def test_dimensions_per_feature_stay_at_one_and_at_one_half():
    config = ToyConfig(30, 5, steps=1200, batch_size=256, learning_rate=1e-2, snapshots=3)
    toys, rows = pictures.dimensions(config, 5, densest_over=10.0)
    found = [row["d_star"] for row in rows]
    assert found[0] == pytest.approx(1, abs=0.06) and found[2] == pytest.approx(0.5, abs=0.03) and found[-1] < 0.35
    assert found == sorted(found, reverse=True)
    digons = rows[2]["levels"]
    assert digons["digon"] == 10 and digons["absent"] == 20
    assert np.median([row["represented"] for row in rows[1:]]) >= 10
    assert toys.n_instances == 5


def test_dense_features_are_dropped_as_in_a_pca_and_sparse_ones_are_not():
    config = ToyConfig(12, 3, steps=1200, batch_size=256, learning_rate=1e-2, snapshots=3)
    _, rows = pictures.graded(config, importance_over=30.0)
    dense, _, sparse = rows
    assert dense["represented"] == dense["of_the_most_important"] == 3
    assert dense["mean_superposition"] < 0.05 and dense["d_star"] == pytest.approx(1, abs=0.05)
    assert sparse["represented"] > 6 and sparse["mean_superposition"] > 0.2


def test_correlated_features_lie_orthogonal_and_exclusive_ones_opposite():
    config = ToyConfig(4, 2, steps=1000, batch_size=256, learning_rate=1e-2, snapshots=2)
    rows = {(r["occurrence"], r["p"]): r for r in pictures.correlated(config, 6)}
    together, apart = rows["together", 0.05], rows["apart", 0.2]
    assert together["same_orthogonal"] > 0.8 > rows["independent", 0.05]["same_antipodal"]
    assert together["same_antipodal"] == 0 and apart["same_antipodal"] > 0.5
    assert apart["same_antipodal"] > rows["independent", 0.2]["same_antipodal"]


def test_features_that_occur_together_make_a_local_basis():
    config = ToyConfig(8, 4, steps=1200, batch_size=256, learning_rate=1e-2, snapshots=2)
    independent, together = pictures.local_bases(config, 3)
    assert together["within_group"] < 0.02 < independent["within_group"]
    assert together["between_groups"] > 5 * together["within_group"]
