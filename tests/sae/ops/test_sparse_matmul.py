"""Sparse products that visit single activations: bits, codes, products, and the case of too many activations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from monosem_jax.runtime.mesh import device_put_sharded, tree_shardings
from monosem_jax.sae.objective import dictionary_objective
from monosem_jax.sae.ops import sparse_matmul as sparse
from monosem_jax.sae.params import RULES
from tests import engine, reference
from tests.conftest import mesh_of
from tests.engine import close, relu_sae, state_at

ROWS, WIDTH, FEATURES = 64, 128, 2048
ROOM = sparse.capacity((ROWS, FEATURES))  # pieces
L1 = 0.03


def values(f: np.ndarray, seed: int = 0) -> np.ndarray:
    """Activations before the ReLU, positive where f is; the others are negative or exactly zero."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.1, 2.0, f.shape).astype(np.float32)
    return np.where(f, size, -size * (rng.random(f.shape) < 0.9))


def nothing() -> np.ndarray:
    return np.zeros((ROWS, FEATURES), bool)


def random(share: float) -> np.ndarray:
    return np.random.default_rng(1).random((ROWS, FEATURES)) < share


def uneven() -> np.ndarray:
    """Rows with none, 1, 2, … 46 and 80 positive features, which is up to three pieces, in no order."""
    f = nothing()
    rng = np.random.default_rng(2)
    for row, n in enumerate(rng.permutation(ROWS) - ROWS + 48):
        f[row, rng.permutation(FEATURES)[: 80 if n == 47 else max(n, 0)]] = True
    return f


def edges() -> np.ndarray:
    """The first and last features of words, and of the whole, in the first and last rows of groups of 32."""
    f = nothing()
    f[np.ix_([0, 31, 32, ROWS - 1], [0, 31, 32, 63, 64, FEATURES - 33, FEATURES - 32, FEATURES - 1])] = True
    f[5, :32] = f[6, 1:33] = f[7, 0] = f[8, FEATURES - 1] = True
    return f


def whole_row(row: int) -> np.ndarray:
    f = nothing()
    f[row] = True
    return f


def pieces(n: int) -> np.ndarray:
    """A full row, and as many rows with one positive feature as make n pieces in all."""
    f = whole_row(40)
    f[np.delete(np.arange(ROWS), 40)[: n - FEATURES // 32], 17] = True
    return f


FITTING = {
    "none": nothing(), "a few": random(0.0005), "one in a hundred": random(0.01), "uneven": uneven(), "edges": edges(),
    "all of the first row": whole_row(0), "all of the last row": whole_row(ROWS - 1),
    "as many pieces as there is room for": pieces(ROOM),
}  # fmt: skip
TOO_MANY = {"one piece too many": pieces(ROOM + 1), "half": random(0.5), "all": ~nothing()}


@jax.jit
def codes_of(pre, bias):
    words = sparse.positive(pre + bias)
    at = sparse.by_row(words)
    return sparse.count(words), at.pieces, sparse.find(pre, bias, at)


@jax.jit
def products(pre, bias, x, d_out, w_dec):
    """(decoded, sum, gradients) as `relu.gradients` has them, with NaN where it would take whole products."""
    at = sparse.by_row(sparse.positive(pre + bias))
    few = at.pieces <= sparse.capacity(pre.shape)
    nan = jnp.full_like(w_dec, jnp.nan)
    codes, out = sparse.decoded(few, pre, bias, at, w_dec, lambda: (jnp.full_like(x, jnp.nan), jnp.nan))
    dense = lambda d: (nan.T, nan[:, 0], nan)  # noqa: E731
    return out, sparse.chosen_backward(few, codes, x, w_dec, L1, dense)(d_out)


def split(f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(before the bias, the bias): numbers of which sums are exact."""
    bias = np.random.default_rng(3).integers(-8, 9, FEATURES).astype(np.float32)
    return (np.round(values(f) * 64) / 64 - bias).astype(np.float32), bias


@pytest.mark.parametrize("name", [*FITTING, *TOO_MANY])
def test_bits_count_the_rows_of_each_feature_and_the_pieces_of_each_row(name):
    f = {**FITTING, **TOO_MANY}[name]
    fired, n, _ = codes_of(*split(f))
    np.testing.assert_array_equal(fired, f.sum(axis=0))
    assert n == np.ceil(f.sum(axis=1) / sparse.PIECE).sum()
    assert (n <= ROOM) == (name in FITTING)


@pytest.mark.parametrize("name", FITTING)
def test_codes_are_the_activations_exactly(name):
    pre, bias = split(FITTING[name])
    _, n, c = codes_of(pre, bias)
    assert c.n_pieces == n and (np.asarray(c.row)[: int(n)] < ROWS).all()
    again, seen = np.zeros((ROWS, FEATURES), np.float32), np.zeros((ROWS, FEATURES), int)
    real, row = np.asarray(c.real), np.broadcast_to(np.asarray(c.row)[:, None], c.real.shape)
    np.add.at(again, (row[real], np.asarray(c.feature)[real]), np.asarray(c.value)[real])
    np.add.at(seen, (row[real], np.asarray(c.feature)[real]), 1)
    np.testing.assert_array_equal(again, np.maximum(pre + bias, 0))
    np.testing.assert_array_equal(seen, FITTING[name])
    assert not real[int(n) :].any() and not np.asarray(c.value)[~real].any()


@pytest.mark.parametrize("name", FITTING)
def test_products_with_codes_are_those_with_whole_arrays(name):
    pre, bias = split(FITTING[name])
    rng = np.random.default_rng(4)
    x, d_out = (rng.normal(size=(ROWS, WIDTH)).astype(np.float32) for _ in range(2))
    w_dec = rng.normal(size=(FEATURES, WIDTH)).astype(np.float32)
    (part, total), (enc, grad, dec) = products(pre, bias, x, d_out, w_dec)
    f = np.maximum(pre.astype(np.float64) + bias, 0)
    d_pre = (d_out.astype(np.float64) @ w_dec.T + L1) * (f > 0)
    for found, expected in [
        (part, f @ w_dec), (total, f.sum()), (enc, x.T.astype(np.float64) @ d_pre), (grad, d_pre.sum(axis=0)),
        (dec, f.T @ d_out),
    ]:  # fmt: skip
        close(found, expected, 1e-5)


@pytest.mark.parametrize("name", TOO_MANY)
def test_whole_arrays_are_multiplied_where_there_is_no_room(name):
    pre, bias = split(TOO_MANY[name])
    x = np.ones((ROWS, WIDTH), np.float32)
    out, grads = products(pre, bias, x, x, np.ones((FEATURES, WIDTH), np.float32))
    assert all(np.isnan(a).all() for a in jax.tree.leaves((out, grads)))


@pytest.mark.parametrize("n", [1, 31, 33, 40])
def test_bits_are_right_for_any_number_of_rows(n):
    f = values(random(0.3)[:n, :64])
    np.testing.assert_array_equal(sparse.count(sparse.positive(f)), (f > 0).sum(axis=0))


@pytest.mark.parametrize(
    ("shape", "width", "worth"),
    [
        ((64, 2048), 128, True), ((64, 2080), 128, True), ((64, 2016), 128, False), ((64, 2049), 128, False),
        ((64, 2048), 127, False), ((48, 2048), 128, False), ((32, 2048), 128, True),
    ],
)  # fmt: skip
def test_small_dictionaries_and_shapes_that_words_do_not_divide_are_multiplied_whole(shape, width, worth):
    assert sparse.worthwhile(shape, width) == worth


def sharded(data: int, model: int, p, x, sparse: str):
    """(gradients, metrics, last_fired) of the objective on a mesh."""
    mesh = mesh_of(data, model)
    state = state_at(4, np.zeros(p["b_enc"].size, bool), l1=L1, scale=1).replace(params=p)
    state = jax.device_put(state, tree_shardings(state, RULES, mesh))
    sae = relu_sae(WIDTH, p["b_enc"].size)
    objective = jax.jit(dictionary_objective(sae, mesh, sparse=sparse))
    found = jax.block_until_ready(objective(state, device_put_sharded(x, mesh, PartitionSpec("data"))))
    return found.grads, found.stats["last_fired"], engine.in_batch(found)


def test_devices_choose_each_for_itself_and_none_waits_for_ever():
    """On 2 x 4 devices only the features of one model shard are positive on nearly all rows of one data shard."""
    p = reference.random_dictionary(0, WIDTH, 4 * FEATURES)
    x = np.random.default_rng(1).normal(size=(2 * 32, WIDTH)).astype(np.float32)
    p["b_enc"] -= 1.5
    p["b_dec"][0], p["W_enc"][0], x[:, 0] = 0, 0, np.repeat([0, 1], 32)
    p["W_enc"][0, FEATURES : 2 * FEATURES] = 5
    p = jax.tree.map(jnp.asarray, p)
    positive = reference.encode(p, x) > 0
    shares = positive.reshape(2, 32, 4, FEATURES).mean(axis=(1, 3))
    assert shares[1, 1] > 0.9 and np.delete(shares.ravel(), 5).max() < 0.01
    grads, last_fired, metrics = sharded(2, 4, p, x, "auto")
    for name, expected in reference.gradients(p, x, L1).items():
        close(grads[name], expected, name=name)
    close(metrics["loss"], reference.row_losses(p, x, L1).sum())
    np.testing.assert_array_equal(np.asarray(last_fired) == 5, positive.any(axis=0))
