"""Figures of a crosscoder of two models against float64 in NumPy, and against what was planted in it by hand."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.analysis.model_diff.recovered import recovered
from monosem_jax.analysis.model_diff.sides import Sides, sides
from monosem_jax.analysis.model_diff.table import difference
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures
from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.published import PublishedSAE
from tests.analysis.model_diff.rows import Array
from tests.conftest import TINY, build_lively

N, PARTS = 6, (5, 7)
DEAD = 4


def crosscoder() -> PublishedSAE:
    """Features 0 and 1 are of both models, 2 of the first and 3 of the second, 4 never fires."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(N, sum(PARTS)))
    w[2, PARTS[0] :], w[3, : PARTS[0]] = 0, 0
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    params = {"W_enc": w.T + 0.1 * rng.normal(size=w.T.shape), "W_dec": w, "b_enc": -0.2 * np.ones(N), "b_dec": w[0]}
    params["b_enc"][DEAD] = -100
    params = {name: np.asarray(p, np.float32) for name, p in params.items()}
    config = CrosscoderConfig(n_features=N)
    return PublishedSAE(architectures.build(config, sum(PARTS), jnp.float32, PARTS), params)


def data() -> np.ndarray:
    return (np.random.default_rng(1).normal(size=(201, sum(PARTS))) * np.repeat([1, 3], PARTS)).astype(np.float32)


def brute_force(sae: PublishedSAE, x: np.ndarray) -> dict[str, np.ndarray]:
    p, x = {k: np.asarray(v, np.float64) for k, v in sae.params.items()}, x.astype(np.float64)
    cuts = (slice(0, PARTS[0]), slice(PARTS[0], None))

    def encoded(x):
        return np.maximum(x @ p["W_enc"] + p["b_enc"], 0)

    f = encoded(x)
    error, found = x - f @ p["W_dec"] - p["b_dec"], {"fired": (f > 0).sum(axis=0)}
    found |= {"norms": np.zeros((N, 2)), "refitted": np.zeros((N, 2)), "alone": np.full((N, 2), np.nan)}
    for s, cut in enumerate(cuts):
        rms = np.sqrt(np.mean(x[:, cut] ** 2))
        other = np.where(np.isin(np.arange(x.shape[1]), np.arange(x.shape[1])[cut]), x, x.mean(axis=0))
        for i in range(N):
            w = p["W_dec"][i, cut] / rms
            found["norms"][i, s] = np.linalg.norm(w)
            if i == DEAD:
                continue
            fits = []
            for half in (slice(0, None, 2), slice(1, None, 2)):
                left = error[half, cut] / rms + f[half, i : i + 1] * w  # the error without the feature
                fits.append(np.linalg.lstsq(f[half, i : i + 1], left, rcond=None)[0][0])
            found["refitted"][i, s] = np.sqrt(max(fits[0] @ fits[1], 0))
            found["alone"][i, s] = np.corrcoef(f[:, i], encoded(other)[:, i])[0, 1]
    correlation = np.corrcoef(np.delete(f, DEAD, axis=1), rowvar=False)
    correlation = np.insert(np.insert(correlation, DEAD, -1, axis=0), DEAD, -1, axis=1)
    found["partner"] = np.full(N, np.nan)
    found["partner"][2] = correlation[2, [0, 1, 3, 5]].max()
    found["partner"][3] = correlation[3, [0, 1, 2, 5]].max()
    return found


def test_every_figure_is_that_of_numpy_whatever_the_block():
    expected = brute_force(crosscoder(), data())
    for block in (201, 64):
        seen = []
        found = sides(crosscoder(), Array(data()), block=block, advance=seen.append)
        assert sum(seen) == found.rows == 201
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(found, name), value, rtol=2e-4, atol=1e-5, err_msg=name)
    assert found.relative[2] == 0 and found.relative[3] == 1 and 0.2 < found.relative[0] < 0.8


def test_a_shrunk_part_is_found_by_least_squares_and_chance_is_not():
    """Feature 0's part in the second model is lost, though its rows have it; feature 2 is of the first alone."""
    rng, sae = np.random.default_rng(2), crosscoder()
    w = np.asarray(sae.params["W_dec"], np.float64)
    f = (rng.random((4000, N)) < 0.05) * rng.uniform(1, 2, (4000, N))
    f[:, [1, 3, DEAD, 5]] = 0
    x = (f @ w + 0.05 * rng.normal(size=(4000, sum(PARTS)))).astype(np.float32)
    lost = w.astype(np.float32)
    lost[0, PARTS[0] :] = 0
    params = {**sae.params, "W_dec": lost, "W_enc": np.linalg.pinv(w).astype(np.float32), "b_dec": 0 * lost[0]}
    params["b_enc"] = np.full(N, -0.3, np.float32)
    found = sides(dataclasses.replace(sae, params=params), Array(x))
    assert found.relative[0] == found.relative[2] == 0
    assert 0.25 < found.relative_refitted[0] < 0.9 and found.relative_refitted[2] < 0.1
    table = difference(found, np.linspace(0, 1, N))
    assert table["exclusive"] == {"features": 2, "shrunk": 1, "decoupled": 0, "confirmed": 1, "undecided": 0}
    assert table["best_correlation"]["a"] == pytest.approx(0.2) and table["best_correlation"]["confirmed"] == 0.4


def test_the_table_counts_features_that_fire():
    norms = np.array([[1, 0], [0, 1], [1, 1], [3, 1], [1, 0], [0, 0]], float)
    partner = np.array([0.9, 0.1, np.nan, np.nan, 0.9, np.nan])
    found = difference(Sides(100, np.array([20, 20, 1, 1, 0, 1]), norms, norms, norms, partner))
    assert (found["features"], found["firing"]) == (6, 4) and sum(found["histogram"]["counts"]) == 4
    assert found["by_threshold"][1] == {"threshold": 0.1, "a": 1, "both": 2, "b": 1}
    assert found["by_threshold"][3] == {"threshold": 0.3, "a": 2, "both": 1, "b": 1}
    assert found["exclusive"] == {"features": 2, "shrunk": 0, "decoupled": 1, "confirmed": 1, "undecided": 0}
    # Those that fire too rarely, or have no vector that two halves of the rows agree on, are not confirmed.
    refitted = norms * np.array([0, 1, 1, 1, 1, 1])[:, None]
    found = difference(Sides(100, np.array([20, 19, 1, 1, 0, 1]), norms, refitted, norms, partner))
    assert found["exclusive"] == {"features": 2, "shrunk": 0, "decoupled": 0, "confirmed": 0, "undecided": 2}
    with pytest.raises(BadInput, match="difference: correlation"):
        difference(Sides(10, np.ones(6, int), norms, norms, norms, partner), np.zeros(5))


def test_each_model_is_run_with_its_half():
    tapped = [TappedModel(*build_lively(TINY, seed), "mlp_hidden.0", 0) for seed in (0, 1)]
    tokens = np.random.default_rng(3).integers(1, TINY.vocab_size, (5, 9)).astype(np.int32)
    tokens[:, 0] = 0
    m = TINY.d_mlp
    eye = np.eye(2 * m, dtype=np.float32)  # keeps the first model as it is, and half of the second
    params = {
        "W_enc": eye,
        "W_dec": eye * np.repeat([1, 0.5], m).astype("f4"),
        "b_enc": 0 * eye[0],
        "b_dec": 0 * eye[0],
    }
    config = CrosscoderConfig(n_features=2 * m)
    sae = PublishedSAE(architectures.build(config, 2 * m, jnp.float32, (m, m)), params)
    first, second = recovered((tapped[0], tapped[1]), sae, tokens, batch=2)
    assert first["loss_recovered_zero"] == pytest.approx(1, abs=1e-5)
    carry, x = tapped[1].cut(tokens)
    for key, kept in (("ce_intact", 1), ("ce_reconstructed", 0.5), ("ce_zero_ablation", 0)):
        replaced = x * np.where(tokens == 0, 1, kept)[..., None]
        expected = float(tapped[1].losses_with(carry, replaced, tokens, "mlp_hidden.0").mean())
        assert second[key] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(BadInput, match=r"the sites have widths \(32, 32\): expected those of the parts, \(5, 7\)"):
        recovered((tapped[0], tapped[1]), crosscoder(), tokens)


def test_what_is_no_crosscoder_of_two_models_is_refused_in_a_line():
    one = architectures.build(ReluConfig(n_features=N), 12, jnp.float32)
    with pytest.raises(BadInput, match=r"the dictionary has parts \(12,\): expected a crosscoder of two models"):
        sides(PublishedSAE(one, crosscoder().params), Array(data()))
    with pytest.raises(BadInput, match=r"201 rows of width 11: expected 2 or more of width 12"):
        sides(crosscoder(), Array(data()[:, 1:]))
    silent = data() * np.repeat([0, 1], PARTS).astype("f4")
    with pytest.raises(BadInput, match="all activations of one model are zero"):
        sides(crosscoder(), Array(silent))
