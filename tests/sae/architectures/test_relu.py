from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.params import unit_rows
from tests import reference
from tests.engine import close, relu_sae

SHAPES = [(8, 32), (32, 8), (24, 24)]
L1 = 0.03


def rows(seed: int, n: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.2, 1.0, size=(n, width)).astype(np.float32)


@functools.cache
def initial(width: int, n_features: int, seed: int = 0):
    sae = relu_sae(width, n_features)
    return sae.initial(jax.random.key(seed))


def encode(params, x, dtype=jnp.float32):
    sae = relu_sae(params["W_enc"].shape[0], len(params["b_enc"]), dtype)
    return sae.apply({"params": params}, jnp.asarray(x), method=sae.encode)


def decode(params, f, dtype=jnp.float32):
    sae = relu_sae(params["W_enc"].shape[0], len(params["b_enc"]), dtype)
    return sae.apply({"params": params}, jnp.asarray(f), method=sae.decode)


def row_losses(params, x, dtype=jnp.float32):
    sae = relu_sae(params["W_enc"].shape[0], len(params["b_enc"]), dtype)
    return sae.apply({"params": params}, jnp.asarray(x), {"l1_coefficient": L1}, method=sae.row_losses)


def test_encoder_starts_uniform_within_one_over_root_width():
    w = np.asarray(initial(64, 2000)["W_enc"], np.float64)
    bound = 1 / math.sqrt(64)
    assert 0.999 * bound < np.abs(w).max() <= bound * (1 + 1e-6)
    assert w.var() == pytest.approx(bound**2 / 3, rel=0.02)
    assert abs(w.mean()) < 0.01 * bound


def test_decoder_starts_with_unit_rows():
    w = np.asarray(initial(64, 200)["W_dec"], np.float64)
    np.testing.assert_allclose((w**2).sum(axis=1), 1.0, atol=1e-6)


def test_encoder_and_decoder_start_untied():
    p = reference.doubles(initial(64, 500))
    cosine = (p["W_enc"].T * p["W_dec"]).sum(axis=1) / np.sqrt((p["W_enc"] ** 2).sum(axis=0))
    assert abs(cosine.mean()) < 0.03
    assert cosine.std() == pytest.approx(1 / 8, rel=0.15)


def test_biases_start_at_zero():
    p = initial(8, 16)
    assert not np.any(p["b_enc"]) and not np.any(p["b_dec"])


def test_another_key_gives_other_weights():
    assert not np.array_equal(initial(8, 16, seed=0)["W_enc"], initial(8, 16, seed=1)["W_enc"])


@pytest.mark.parametrize(("width", "n_features"), SHAPES)
def test_encode_equals_the_formula(width, n_features):
    p, x = reference.random_dictionary(1, width, n_features), rows(2, 50, width)
    close(encode(p, x), reference.encode(p, x))


@pytest.mark.parametrize(("width", "n_features"), SHAPES)
def test_decode_equals_the_formula(width, n_features):
    p = reference.random_dictionary(1, width, n_features)
    f = np.abs(rows(2, 50, n_features))
    close(decode(p, f), reference.decode(p, f))


@pytest.mark.parametrize(("width", "n_features"), SHAPES)
def test_row_losses_equal_the_formula(width, n_features):
    p, x = reference.random_dictionary(3, width, n_features), rows(4, 50, width)
    losses, terms = row_losses(p, x)
    close(losses, reference.row_losses(p, x, L1))
    close(terms["mse"], reference.row_losses(p, x, 0.0))
    close(terms["l1"], reference.encode(p, x).sum(axis=1))
    close(terms["f"], reference.encode(p, x))


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec", "b_dec"])
def test_reference_gradient_equals_finite_differences(name):
    p, x = reference.doubles(reference.random_dictionary(7, 5, 7)), rows(8, 9, 5).astype(np.float64)
    expected = reference.gradients(p, x, L1)[name]
    for at in np.ndindex(expected.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = {k: v.copy() for k, v in p.items()}
            moved[name][at] += step
            ends.append(reference.loss(moved, x, L1))
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(expected[at], rel=1e-6, abs=1e-9)


def test_encoding_one_row_equals_encoding_it_in_a_batch():
    p, x = reference.random_dictionary(9, 16, 64), rows(10, 20, 16)
    together = encode(p, x)
    for i in range(len(x)):
        close(encode(p, x[i : i + 1])[0], together[i], rtol=1e-6)


def test_a_row_is_encoded_without_regard_to_the_other_rows():
    p, x = reference.random_dictionary(9, 16, 64), rows(10, 20, 16)
    other = rows(11, 20, 16)
    other[7] = x[7]
    np.testing.assert_array_equal(encode(p, x)[7], encode(p, other)[7])


def test_leading_axes_are_batch_axes():
    p, x = reference.random_dictionary(9, 16, 64), rows(10, 20, 16)
    np.testing.assert_allclose(encode(p, x.reshape(4, 5, 16)).reshape(20, 64), encode(p, x), rtol=1e-6, atol=1e-6)


def test_zero_rows_have_finite_losses():
    p, x = reference.random_dictionary(12, 8, 32), np.zeros((4, 8), np.float32)
    close(row_losses(p, x)[0], reference.row_losses(p, x, L1))


def test_unit_rows_leaves_a_zero_row_zero():
    found = np.asarray(unit_rows(jnp.asarray([[3.0, 4.0], [0.0, 0.0]])))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("scale", [0.01, 3.7])
def test_folding_the_scale_in_gives_features_in_raw_units(scale):
    p, x = reference.random_dictionary(15, 8, 32), rows(16, 20, 8)
    close(scale * encode(relu_sae(1, 1).unscale(p, scale), x), encode(p, scale * x))


@pytest.mark.parametrize("scale", [0.01, 3.7])
def test_folding_the_scale_in_gives_the_same_reconstruction_in_raw_units(scale):
    p, x = reference.random_dictionary(15, 8, 32), rows(16, 20, 8)
    folded = relu_sae(1, 1).unscale(p, scale)
    close(scale * decode(folded, encode(folded, x)), decode(p, encode(p, scale * x)))


def test_bfloat16_operands_leave_outputs_and_losses_in_float32():
    p, x = reference.random_dictionary(17, 32, 64), rows(18, 20, 32)
    f = encode(p, x, jnp.bfloat16)
    losses, terms = row_losses(p, x, jnp.bfloat16)
    found = [f, decode(p, f, jnp.bfloat16), losses, *terms.values()]
    assert {a.dtype for a in found} == {jnp.dtype(jnp.float32)}


def test_bfloat16_operands_are_close_to_float32():
    p, x = reference.random_dictionary(17, 32, 64), rows(18, 20, 32)
    f = reference.encode(p, x)
    close(encode(p, x, jnp.bfloat16), f, rtol=0.02)
    close(decode(p, f, jnp.bfloat16), reference.decode(p, f), rtol=0.02)
    close(row_losses(p, x, jnp.bfloat16)[0], reference.row_losses(p, x, L1), rtol=0.02)


def test_bfloat16_operands_are_rounded():
    p, x = reference.random_dictionary(17, 32, 64), rows(18, 20, 32)
    assert not np.allclose(encode(p, x, jnp.bfloat16), encode(p, x), rtol=1e-4, atol=1e-4)


def test_products_of_bfloat16_operands_are_summed_in_float32():
    """257 is no bfloat16 number."""
    ones = {"W_enc": np.ones((1, 257)), "b_enc": np.zeros(257), "W_dec": np.ones((257, 1)), "b_dec": np.zeros(1)}
    assert decode(ones, np.ones((1, 257), np.float32), jnp.bfloat16)[0, 0] == 257


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"n_features": 0}, "n_features"),
        ({"l1_coefficient": -0.1}, "l1_coefficient is -0.1"),
        ({"input_scale": "x"}, "scale"),
        ({"l1_coefficient": math.nan}, "l1_coefficient is nan"),
        ({"l1_coefficient": math.inf}, "l1_coefficient is inf"),
        ({"l1_warmup": -1.0}, "l1_warmup is -1"),
        ({"l1_warmup": math.nan}, "l1_warmup is nan"),
        ({"sparse": "always"}, "sparse is 'always': expected auto, never or gather"),
    ],
)
def test_config_check_names_the_impossible_value(values, name):
    with pytest.raises(BadInput, match=name):
        ReluConfig(**values).check()
