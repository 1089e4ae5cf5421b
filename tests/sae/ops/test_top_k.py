"""Selections compared with sorting: the k largest of rows, the n largest of a batch, with features on a mesh."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from monosem_jax.runtime.mesh import Axes
from monosem_jax.sae.ops import top_k as select
from tests.cases import cases
from tests.conftest import mesh_of
from tests.family import batch_top, row_top

SHAPES = {"1x1": (1, 1), "8x1": (8, 1), "1x8": (1, 8), "2x4": (2, 4)}
B, F = 8, 16


@functools.cache
def over(shape: tuple[int, int], k: int = 0):
    """`row_mask` of k, or else (z, n) -> (batch_mask, least of it), of whole arrays over a mesh."""
    mesh, z = mesh_of(*shape), PartitionSpec("data", "model")

    def local(z, n):
        if k:
            return select.row_mask(z, k, Axes(*shape))
        mask = select.batch_mask(z, n, Axes(*shape))
        return mask, select.least(z, mask, Axes(*shape))

    return jax.jit(jax.shard_map(
        local, mesh=mesh, in_specs=(z, PartitionSpec()), out_specs=z if k else (z, PartitionSpec()), check_vma=False
    ))  # fmt: skip


def normal(rng, shape):
    return rng.normal(size=shape)


def tied(rng, shape):
    return rng.integers(-3, 4, shape)


def few_positive(rng, shape):
    return np.where(rng.random(shape) < 0.1, 1, -1) * rng.random(shape)


def none_positive(rng, shape):
    return -rng.integers(0, 2, shape) * 1.0


def close_together(rng, shape):
    """Next to each other among the numbers of fp32."""
    return 1 + rng.integers(0, 600, shape) * 2.0**-23


def far_apart(rng, shape):
    return rng.choice([1, -1], shape) * 10.0 ** rng.uniform(-30, 30, shape)


def on_two_scales(rng, shape):
    return np.where(rng.random(shape) < 0.5, 1e-20, 1e20) * rng.random(shape)


def with_one_huge(rng, shape):
    z = np.abs(rng.normal(size=shape))
    z.flat[rng.integers(z.size)] = 1e30
    return z


def all_equal(rng, shape):
    return np.full(shape, rng.random())


KINDS = (
    normal, tied, few_positive, none_positive, close_together, far_apart, on_two_scales, with_one_huge, all_equal,
)  # fmt: skip
BY_KIND = cases("kind", KINDS)


def samples(kind, n: int, shape: tuple[int, int] = (B, F)):
    for seed in range(n):
        rng = np.random.default_rng(seed)
        yield np.asarray(kind(rng, shape), np.float32), rng


@BY_KIND
@pytest.mark.parametrize(("n", "k"), [(32, 3), (32, 7), (32, 8), (32, 32), (30, 3), (12, 3)])
def test_the_largest_of_a_row_come_first_and_of_equals_the_first(monkeypatch, kind, n, k):
    """By groups of 4 from 16 on, where there are more than k of them."""
    monkeypatch.setattr(select, "GROUP", 4)
    monkeypatch.setattr(select, "GROUPED", 16)
    for z, _ in samples(kind, 5, (B, n)):
        values, at = select.top_k(jnp.asarray(z), k)
        expected = np.argsort(-z, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(at, expected)
        np.testing.assert_array_equal(values, np.take_along_axis(z, expected, 1))
    found = str(jax.make_jaxpr(lambda z: select.top_k(z, k))(z)).count(" top_k[")
    assert found == (2 if (n, k) in ((32, 3), (32, 7)) else 1)


def test_groups_are_looked_at_first_from_8192_features_on():
    for n, passes in ((8192, 2), (8064, 1), (8200, 1)):
        text = str(jax.make_jaxpr(lambda z: select.top_k(z, 32))(jnp.zeros((2, n))))
        assert text.count(" top_k[") == passes
    for z, _ in samples(tied, 2, (4, 8192)):
        expected = np.argsort(-z, axis=1, kind="stable")[:, :50]
        np.testing.assert_array_equal(select.top_k(jnp.asarray(z), 50)[1], expected)


@BY_KIND
@pytest.mark.parametrize("k", [1, 5, 16])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_row_has_its_k_largest_positive_numbers_on_any_mesh(shape, k, kind):
    for z, _ in samples(kind, 6):
        found = np.asarray(over(shape, k)(z, 0))
        np.testing.assert_array_equal(found, row_top(z, k))


def test_rows_along_any_axes_keep_their_largest_by_magnitude():
    z = np.random.default_rng(0).normal(size=(2, 3, F)).astype(np.float32)
    flat = z.reshape(6, F)
    expected = np.where(row_top(np.abs(flat), 3), flat, 0).reshape(z.shape)
    assert (expected < 0).any() and (expected > 0).any()
    np.testing.assert_array_equal(select.per_row(z, 3), expected)
    np.testing.assert_array_equal(select.per_row(z[0, 0], 3), expected[0, 0])


@BY_KIND
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_batch_has_its_n_largest_positive_numbers_on_any_mesh(shape, kind):
    """And all that equal the n-th; the least of them is known everywhere."""
    for z, rng in samples(kind, 60 if shape == (1, 1) else 6):
        for n in (1, int(rng.integers(2, z.size)), z.size - 1, z.size, 3 * z.size):
            expected = batch_top(z, n)
            mask, least = over(shape)(z, n)
            np.testing.assert_array_equal(mask, expected, err_msg=f"{n} of {z}")
            assert float(least) == (z[expected].min() if expected.any() else np.inf)


def test_exactly_as_many_are_kept_as_are_asked_for():
    z = np.random.default_rng(1).permutation(np.arange(1, B * F + 1)).reshape(B, F).astype(np.float32)
    for n in range(1, B * F + 1):
        assert np.asarray(over((1, 1))(z, n)[0]).sum() == n


@pytest.mark.parametrize("kind", [normal, with_one_huge], ids=lambda k: k.__name__)
def test_a_large_batch_is_no_other(kind):
    (z, _), *_ = samples(kind, 1, (256, 1024))
    for n in (7, 256 * 32, 100_000):
        np.testing.assert_array_equal(over((1, 1))(z, n)[0], batch_top(z, n))
