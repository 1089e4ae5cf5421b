"""Published dictionaries, for raw activations and with unit rows, compute the same as trained ones on scaled rows."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.objective import row_losses
from tests import family
from tests.engine import close
from tests.sae.problems import CASES, F, given_of, rows_of, sae_of, scale_of, state_of

THRESHOLD = 0.3


@functools.cache
def published(name: str):
    """(the module, parameters for raw rows) as loading a run makes them."""
    sae, given = sae_of(name), given_of(name)
    stats = {"threshold": np.float32(THRESHOLD)} if CASES[name].activates == "batchtopk" else {}
    return sae, sae.unscale(sae.to_inference(given.params, stats), scale_of(name))


def rows(name: str) -> np.ndarray:
    """[2,B,W]; one row is zero."""
    found = rows_of(name, 5, 2)
    found[1, 3] = 0
    return found


def expected(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(f, ŷ) of scaled rows by the trained parameters, each in its own units."""
    case, x = CASES[name], CASES[name].split(rows(name).reshape(-1, sum(CASES[name].parts)), scale_of(name))[0]
    return family.published(case, given_of(name).params, x, THRESHOLD)


def out_scale(name: str) -> np.ndarray:
    """By which each column of what is reconstructed is multiplied in training."""
    case = CASES[name]
    columns = case.columns(scale_of(name))
    return columns[case.parts[0] :] if case.architecture == "transcoder" else columns


@pytest.mark.parametrize("name", CASES)
def test_raw_rows_are_reconstructed_as_scaled_ones_are_in_training(name):
    sae, params = published(name)
    f, y_hat = sae.apply({"params": params}, rows(name), method=sae.forward)
    want_f, want_y = expected(name)
    close(y_hat, (want_y / out_scale(name)).reshape(y_hat.shape), name="ŷ")
    # A feature comes out as the length of what it adds to the reconstruction.
    length = np.linalg.norm(np.asarray(given_of(name).params["W_dec"], np.float64) / out_scale(name), axis=1)
    close(f, (want_f * length).reshape(f.shape), name="f")
    assert np.any(f) and (name == "topk of all" or np.count_nonzero(f) < 0.7 * f.size)


@pytest.mark.parametrize("name", CASES)
def test_published_vectors_have_unit_norm(name):
    norms = np.linalg.norm(published(name)[1]["W_dec"], axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_feature_is_active_where_what_is_before_it_exceeds_its_threshold(name):
    """But for TopK, which has fewer. What is before it is its activation there."""
    sae, params = published(name)
    x, case = rows(name)[..., : sae.width_in], CASES[name]
    f = np.asarray(sae.apply({"params": params}, x, method=sae.encode))
    threshold = np.asarray(sae.apply({"params": params}, method=sae.threshold))
    h = (x - (0 if case.architecture in family.UNCENTRED else params["b_dec"])) @ params["W_enc"]
    z = np.asarray(np.exp(params.get("r_mag", 0)) * h + params["b_enc"])
    assert threshold.shape == (F,) and (case.activates in ("relu", "topk", "abs_topk") or threshold.max() > 0.1)
    if case.activates == "abs_topk":
        z = np.abs(z)
    active = f != 0
    by_k = case.activates in ("topk", "abs_topk")
    np.testing.assert_array_equal(active, (z > threshold) & (active if by_k else True))
    close(np.abs(f[active]), z[active])


@pytest.mark.parametrize("name", CASES)
def test_published_parameters_are_numpy_arrays_of_fp32_where_the_others_are(name):
    for key, value in published(name)[1].items():
        assert isinstance(value, np.ndarray) and value.dtype == np.float32, key


@pytest.mark.parametrize("name", CASES)
def test_one_feature_is_published_alone_as_among_the_others(name):
    """As `SaeRun.feature` does."""
    sae, whole = published(name)
    stats, axes = {"threshold": np.float32(THRESHOLD)}, sae_lib.FEATURE_AXIS
    own = {key: np.take(p, 5, axes[key]) for key, p in given_of(name).params.items() if key in axes}
    alone = sae.unscale(sae.to_inference(own, stats), scale_of(name))
    assert alone.keys() == whole.keys() - {"b_dec", "W_skip"}
    for key, value in alone.items():
        np.testing.assert_allclose(value, np.take(whole[key], 5, axes[key]), rtol=1e-6, err_msg=key)


@pytest.mark.parametrize("name", ["topk", "batchtopk", "jumprelu", "gated", "matryoshka", "transcoder"])
def test_resampling_draws_by_how_badly_the_published_form_reconstructs_a_row(name):
    given = given_of(name)
    given.threshold = THRESHOLD
    losses, terms = row_losses(sae_of(name), state_of(name, given), jnp.asarray(given.rows))
    x, y = CASES[name].split(given.rows, given.hyper["input_scale"])
    want = ((family.published(CASES[name], given.params, x, THRESHOLD)[1] - y) ** 2).mean(axis=1)
    close(losses, want)
    close(terms["mse"], want)


def test_a_row_of_zeros_stays_one():
    """Free rows may become zero; nothing is divided by their norm."""
    for name in ("april_2024", "crosscoder"):
        sae, params = sae_of(name), given_of(name).params
        params["W_dec"][2] = 0
        folded = sae.unscale(sae.to_inference(params, {}), scale_of(name))
        assert not np.any(folded["W_dec"][2]) and all(np.isfinite(p).all() for p in folded.values())
        np.testing.assert_allclose(np.linalg.norm(np.delete(folded["W_dec"], 2, 0), axis=1), 1, rtol=1e-6)


def test_a_skip_transcoder_decodes_with_the_activations_only():
    sae, params = published("transcoder")
    f = np.zeros((2, F), np.float32)
    with pytest.raises(BadInput, match="a skip transcoder decodes from features and activations"):
        sae.apply({"params": params}, f, method=sae.decode)
    x = rows("transcoder")[0, :2, : sae.width_in]
    close(sae.apply({"params": params}, f, x, method=sae.decode), x @ params["W_skip"] + params["b_dec"])


@pytest.mark.parametrize("name", ["jumprelu", "batchtopk", "gated", "transcoder", "crosscoder"])
def test_published_parameters_are_the_same_compiled_and_not(name):
    sae, folded = published(name)
    given = given_of(name)
    stats = {"threshold": jnp.float32(THRESHOLD)}
    compiled = jax.jit(lambda p: sae.unscale(sae.to_inference(p, stats), scale_of(name)))(given.params)
    assert compiled.keys() == folded.keys()
    for key in folded:
        close(compiled[key], folded[key], 1e-6, key)
