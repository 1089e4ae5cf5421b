"""A resampling event for every architecture that has it: new parameters, moments and statistics of dead features."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from monosem_jax.runtime.mesh import device_put_sharded
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.resample import Resampler, make_resampling, replace_features
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.step import State
from tests import engine, family, reference
from tests.conftest import mesh_of
from tests.engine import close
from tests.sae.problems import CASES, DEAD, STEP, WINDOW, B, F, given_of, placed, rows_of, sae_of, state_of

AXES = {"W_enc": 1, "b_enc": 0, "W_dec": 0, "b_gate": 0, "r_mag": 0, "log_threshold": 0}
NAMES = ("topk", "abs_topk", "batchtopk", "jumprelu", "gated", "matryoshka", "p_anneal")
N = 3  # batches


def rows(name: str) -> np.ndarray:
    found = rows_of(name, STEP, N)
    found[:, 3] = 0
    return found


def before(name: str) -> State:
    return state_of(name, given_of(name), seed=4, moments=True)


def event(name: str, shape: tuple[int, int], method: str) -> State:
    mesh = mesh_of(*shape)
    resampler = Resampler(sae_of(name), mesh, sae_lib.RULES, window=WINDOW, method=method)
    batches = lambda start, n: device_put_sharded(rows(name)[start - STEP :][:n], mesh, PartitionSpec(None, "data"))  # noqa: E731
    transform = make_resampling([resampler], (STEP,), N * B, TrainConfig(batch_size=B, steps_per_dispatch=2))
    (state,) = transform.apply([placed(before(name), mesh)], STEP, batches)
    return jax.device_get(state)


def dead_of(name: str, value) -> np.ndarray:
    """The part of dead features, by feature."""
    return np.moveaxis(np.asarray(value), AXES[name], 0)[DEAD]


def assert_others_untouched(after: State, old: State) -> None:
    """And the moments of dead features zero, all of whose other numbers but W_enc and W_dec are as at the beginning."""
    assert after.params.keys() == old.params.keys()
    for found, expected, moment in (
        (after.params, old.params, False), *zip(engine.moments(after), engine.moments(old), (True, True), strict=True),
    ):  # fmt: skip
        for key in expected:
            if key not in AXES:
                np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
                continue
            alive = [np.moveaxis(np.asarray(x[key]), AXES[key], 0)[~DEAD] for x in (found, expected)]
            np.testing.assert_array_equal(*alive, err_msg=key)
            if moment:
                assert np.any(dead_of(key, expected[key])) and not np.any(dead_of(key, found[key])), key
    np.testing.assert_array_equal(after.stats["last_fired"], np.where(DEAD, STEP, old.stats["last_fired"]))
    if "threshold" in old.stats:
        assert float(after.stats["threshold"]) == float(old.stats["threshold"]) > 0
    assert int(after.step) == STEP


@pytest.mark.parametrize(
    ("name", "shape"), [("jumprelu", (2, 4)), ("gated", (1, 8)), ("batchtopk", (1, 1))], ids=str
)  # fmt: skip
def test_dead_features_get_vectors_of_rows_that_are_badly_reconstructed(name, shape):
    """And all else as at the beginning. The draws are those of the resampler's docstring, by the published form."""
    old, after = before(name), event(name, shape, "paper")
    case, given = CASES[name], given_of(name)
    x, _ = case.split(rows(name).reshape(N * B, -1), given.hyper["input_scale"])
    _, x_hat = family.published(case, given.params, x, given.threshold)
    weights = ((x_hat - x) ** 2).mean(axis=1) ** 2 * x.any(axis=1)
    offset = float(jax.random.uniform(jax.random.fold_in(old.key, STEP)))
    u = (np.arange(DEAD.sum()) + offset) / DEAD.sum()
    drawn = x[np.searchsorted(np.cumsum(weights) / weights.sum(), u, side="right")]
    directions = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    w_enc = reference.doubles(old.params)["W_enc"]
    close(dead_of("W_dec", after.params["W_dec"]), directions)
    close(dead_of("W_enc", after.params["W_enc"]), 0.2 * np.linalg.norm(w_enc[:, ~DEAD], axis=0).mean() * directions)
    for key in old.params.keys() & {"b_enc", "b_gate", "r_mag"}:
        assert np.any(dead_of(key, old.params[key])) and not np.any(dead_of(key, after.params[key])), key
    if name == "jumprelu":
        np.testing.assert_allclose(dead_of("log_threshold", after.params["log_threshold"]), np.log(0.4), rtol=1e-6)
    assert_others_untouched(after, old)


def test_features_that_are_drawn_anew_are_otherwise_as_at_the_beginning_too():
    old, after = before("gated"), event("gated", (2, 4), "kaiming")
    np.testing.assert_allclose(np.linalg.norm(after.params["W_dec"], axis=1), 1, rtol=1e-6)
    moved = np.abs(np.asarray(after.params["W_dec"]) - np.asarray(old.params["W_dec"])).max(axis=1)
    assert moved[DEAD].min() > 0.1
    for key in ("b_enc", "b_gate", "r_mag"):
        assert not np.any(dead_of(key, after.params[key])), key
    assert_others_untouched(after, old)


@pytest.mark.parametrize("name", NAMES)
def test_all_parameters_of_dead_features_are_replaced(name):
    old, sae = before(name), sae_of(name)
    new = {"W_enc": np.full((sae.width, F), 7.0, np.float32), "W_dec": np.full((F, sae.width), 8.0, np.float32)}
    after = replace_features(sae, old, DEAD, **new)
    theta = np.log(0.4)
    want = {"W_enc": 7, "W_dec": 8, "b_enc": 0, "b_gate": 0, "r_mag": 0, "log_threshold": theta}
    for key in old.params.keys() - {"b_dec"}:
        np.testing.assert_allclose(dead_of(key, after.params[key]), want[key], rtol=1e-6, err_msg=key)
    assert_others_untouched(after, old)
    assert sae.recipe.row_losses is not None
