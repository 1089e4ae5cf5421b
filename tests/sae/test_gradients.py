"""Hand-written gradients on one device: sums over rows, by dense products or by visiting only positive features."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.runtime.mesh import Axes
from monosem_jax.sae.architectures.relu import gradients
from monosem_jax.sae.ops import sparse_matmul as sparse
from monosem_jax.sae.ops.strategy import Dense, VisitNonzero
from tests import reference
from tests.engine import close, relu_sae

L1 = 0.03
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
WIDE = (64, 128, 2048)  # rows, width, features: enough to visit positive features alone


@functools.cache
def compiled(dtype: str, strategy=None):
    strategy = strategy or Dense(jnp.dtype(dtype))
    return jax.jit(functools.partial(gradients, axes=Axes(1, 1), strategy=strategy))


def found(p, x, *, dtype: str = "float32", l1: float = L1, **how):
    return compiled(dtype, **how)(p, x, l1)


def problem(n: int, width: int, n_features: int, share: float = 0.5, seed: int = 0):
    """(parameters, rows) of which about `share` of the activations are positive."""
    p = reference.random_dictionary(seed, width, n_features)
    x = np.random.default_rng(seed + 1).normal(0.2, 1.0, size=(n, width)).astype(np.float32)
    before = reference.doubles(p)
    pre = (x - before["b_dec"]) @ before["W_enc"]
    p["b_enc"] = (p["b_enc"] - np.quantile(pre + p["b_enc"], 1 - share)).astype(np.float32)
    return p, x


def assert_sums(p, x, rtol: float = 1e-5, l1: float = L1, **how) -> None:
    """All gradients and terms are the sums over rows that the reference gives."""
    grads, terms = found(p, x, l1=l1, **how)
    for name, expected in reference.gradients(p, x, l1).items():
        close(grads[name], len(x) * expected, rtol, name)
    f = reference.encode(p, x)
    close(terms["mse"], reference.row_losses(p, x, 0.0).sum(), rtol, "mse")
    close(terms["l1"], f.sum(), rtol, "l1")
    if rtol < 1e-4:
        np.testing.assert_array_equal(terms["fired"], (f > 0).sum(axis=0))


def with_zero_rows(p, x):
    x[::7] = 0
    return p, x


def silent(p, x):
    p["b_enc"][:] = -1e3
    return p, x


def all_active(p, x):
    p["b_enc"][:] = 1e2
    return p, x


def one_row_all_active(p, x):
    """Positive on the last row, hardly elsewhere: more features than one piece has room for."""
    p["W_enc"][0], x[:, 0] = 3.0, -1.0
    x[-1, 0] = 50.0
    return p, x


CASES = {
    "as they come": lambda p, x: (p, x), "zero rows": with_zero_rows, "no active feature": silent,
    "all active": all_active, "one row with all active": one_row_all_active,
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(40, 8, 32), (33, 24, 24), (1, 32, 8)], ids=str)
@pytest.mark.parametrize("count_bits", [False, True])
def test_gradients_and_terms_are_sums_over_the_rows(shape, case, count_bits):
    p, x = CASES[case](*problem(*shape))
    assert_sums(p, x, strategy=Dense(count_bits=count_bits))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("share", [0.002, 0.01, 0.1])
def test_gradients_by_visiting_positive_features_are_the_same_sums(case, share):
    """A tenth is more than there is room for."""
    assert sparse.worthwhile(WIDE[::2], WIDE[1])
    p, x = CASES[case](*problem(*WIDE, share))
    assert_sums(p, x, strategy=VisitNonzero())


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_mean_loss_of_rows(case):
    p, x = CASES[case](*problem(40, 8, 32))
    sae = relu_sae(8, 32)

    def loss(params):
        losses, _ = sae.apply({"params": params}, x, {"l1_coefficient": L1}, method=sae.row_losses)
        return jnp.mean(losses)

    expected, (grads, _) = jax.jit(jax.grad(loss))(p), found(p, x)
    for name in NAMES:
        close(grads[name] / len(x), expected[name], name=name)


@pytest.mark.parametrize("strategy", [Dense(), VisitNonzero()], ids=["dense", "visiting"])
def test_what_is_exactly_zero_before_the_relu_is_not_positive(strategy):
    """Small whole numbers, so that sums are exact: feature 0 is 0 on all rows, feature 1 on all but one."""
    n, width, n_features = WIDE
    rng = np.random.default_rng(2)
    p = {
        "W_enc": np.zeros((width, n_features), np.float32), "b_enc": np.zeros(n_features, np.float32),
        "W_dec": rng.integers(-2, 3, (n_features, width)).astype(np.float32), "b_dec": np.ones(width, np.float32),
    }  # fmt: skip
    p["W_enc"][:2, :3] = [[2, 1, 0], [-2, 0, 1]]
    x = rng.integers(-3, 4, (n, width)).astype(np.float32)
    x[:, 0] = x[:, 1] = 1
    x[9, :2] = 2
    grads, terms = found(p, x, strategy=strategy)
    np.testing.assert_array_equal(terms["fired"][:4], [0, 1, 1, 0])
    assert_sums(p, x, strategy=strategy)
    assert not np.any(grads["W_enc"][:, 0]) and grads["b_enc"][0] == 0 and not np.any(grads["W_dec"][0])


@pytest.mark.parametrize("strategy", [Dense(), VisitNonzero()], ids=["dense", "visiting"])
def test_the_l1_coefficient_counts_for_features_that_are_positive(strategy):
    """Of a dictionary that decodes every feature to nothing, it is all that reaches the encoder."""
    p, x = problem(*WIDE, share=0.005)
    p["W_dec"][:] = 0
    grads, terms = found(p, x, strategy=strategy, l1=0.7)
    close(grads["b_enc"], 0.7 * np.asarray(terms["fired"], np.float64))
    assert 0 < np.asarray(terms["fired"]).sum() < 0.01 * x.shape[0] * WIDE[2]


def test_gradients_of_several_rows_are_the_sum_of_those_of_each():
    p, x = problem(6, 8, 32)
    together, _ = found(p, x)
    each = [found(p, x[i : i + 1])[0] for i in range(len(x))]
    for name in NAMES:
        close(together[name], sum(np.asarray(g[name], np.float64) for g in each), name=name)


@pytest.mark.parametrize("count_bits", [False, True])
def test_bfloat16_operands_give_fp32_sums_close_to_those_of_fp32(count_bits):
    p, x = problem(256, 64, 256, 0.1)
    (grads, terms), (exact, _) = (
        found(p, x, dtype="bfloat16", strategy=Dense(jnp.dtype(jnp.bfloat16), count_bits)),
        found(p, x),
    )
    assert {g.dtype for g in (*grads.values(), *terms.values())} == {jnp.dtype(jnp.float32)}
    for name, expected in reference.gradients(p, x, L1).items():
        off = np.linalg.norm(grads[name] - len(x) * expected) / np.linalg.norm(len(x) * expected)
        assert off < 0.04 and not np.allclose(grads[name], exact[name], rtol=1e-4, atol=0), name
    close(terms["mse"], reference.row_losses(p, x, 0.0).sum(), 1e-3)
    close(terms["l1"], reference.encode(p, x).sum(), 1e-3)
    assert np.abs(terms["fired"] - (reference.encode(p, x) > 0).sum(axis=0)).max() <= 2


def test_bfloat16_rows_are_summed_in_full():
    """257 equal rows: their number is no bfloat16 number, nor is the sum of their gradients, which are 1/2 each."""
    ones = {"W_enc": np.ones((1, 1)), "b_enc": np.zeros(1), "W_dec": np.full((1, 1), 0.5), "b_dec": np.zeros(1)}
    p = {name: v.astype(np.float32) for name, v in ones.items()}
    grads, terms = found(p, np.ones((257, 1), np.float32), dtype="bfloat16", l1=1.0)
    assert terms["fired"][0] == 257 and terms["l1"] == 257 and terms["mse"] == 257 / 4
    assert grads["b_enc"][0] == 257 / 2 and grads["W_enc"][0, 0] == 257 / 2 and grads["W_dec"][0, 0] == -257
