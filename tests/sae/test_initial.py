"""Where the parameters of every architecture start."""

import jax
import numpy as np
import pytest

from monosem_jax.runtime.config import from_dict
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures as sae_lib

M, F = 9, 40
PARTS = {"transcoder": (4, 5), "crosscoder": (4, 5)}
ROW_NORMS = {"april_2024": 0.1, "crosscoder": 0.1}
OTHERS = ["april_2024", "topk", "batchtopk", "jumprelu", "gated", "matryoshka", "crosscoder"]


def start(name: str, **values) -> dict[str, np.ndarray]:
    config = from_dict(sae_lib.SaeConfig, {"architecture": name, "n_features": F, **values})
    config.check()
    sae = sae_lib.build(config, M, np.float32, parts=PARTS.get(name, (M,)))
    return {key: np.asarray(p) for key, p in sae.initial(jax.random.key(0)).items()}


@pytest.mark.parametrize(("name", "tied"), [*((name, 1.0) for name in OTHERS), ("relu", 0.1), ("topk", 0.1)])
def test_the_encoder_starts_as_a_part_of_the_transpose_of_the_decoder(name, tied):
    params = start(name) if tied == 1 else start(name, tied_norm=tied)
    np.testing.assert_allclose(np.linalg.norm(params["W_dec"], axis=1), ROW_NORMS.get(name, 1), rtol=1e-5)
    np.testing.assert_allclose(params["W_enc"], tied * params["W_dec"].T, rtol=1e-6)
    assert not params["b_enc"].any() and not params["b_dec"].any()


@pytest.mark.parametrize(("name", "values"), [("relu", {}), ("transcoder", {}), ("jumprelu", {"tied_norm": 0.0})])
def test_or_apart_from_it_within_the_bounds_of_a_linear_layer(name, values):
    params = start(name, **values)
    w_enc, w_dec = params["W_enc"], params["W_dec"]
    bound = len(w_enc) ** -0.5
    assert 0.8 * bound < np.abs(w_enc).max() <= bound * (1 + 1e-6)
    rows = w_dec[:, : len(w_enc)].T
    assert abs(np.corrcoef(rows.ravel(), w_enc[: len(rows)].ravel())[0, 1]) < 0.4


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("relu", -0.1, r"sae\.tied_norm is -0\.1: expected 0 or more"),
        ("topk", float("nan"), r"sae\.tied_norm is nan: expected 0 or more"),
        ("transcoder", 1.0, r"sae\.tied_norm is 1\.0: a transcoder's encoder reads another site, expected 0"),
    ],
)
def test_impossible_values_are_named(name, value, message):
    with pytest.raises(BadInput, match=message):
        start(name, tied_norm=value)
