"""Rows like activations, and dictionaries as sparse on them as trained ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench.material import make_bench_rows, sparse_params


def test_rows_are_like_those_behind_a_relu():
    rows = np.asarray(make_bench_rows(2, 512, 64, jnp.float32)).reshape(-1, 64)
    assert rows.min() == 0 and 0.3 < np.mean(rows == 0) < 0.7
    assert np.sqrt(np.mean(rows**2)) == pytest.approx(1, abs=0.01)
    singular = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    assert singular[0] > 1.5 * singular[len(singular) // 2]  # correlated
    assert (np.asarray(make_bench_rows(1, 8, 64, jnp.float32, 1)) != rows[:8]).any()


@pytest.mark.parametrize("n_features", [512, 8192])
def test_about_as_many_features_are_active_as_asked_for(n_features):
    rows = make_bench_rows(1, 1024, 64, jnp.float32)[0]
    params = sparse_params(rows, n_features, 32.0)
    assert {name: p.shape for name, p in params.items()} == {
        "W_enc": (64, n_features), "b_enc": (n_features,), "W_dec": (n_features, 64), "b_dec": (64,)
    }  # fmt: skip
    np.testing.assert_allclose(np.linalg.norm(params["W_dec"], axis=1), 1, rtol=1e-5)
    active = np.asarray(jax.nn.relu(rows @ params["W_enc"] + params["b_enc"]) > 0)
    assert active.sum(axis=1).mean() == pytest.approx(32, rel=0.25)
    densities = active.mean(axis=0)
    assert np.quantile(densities, 0.95) > 8 * np.quantile(densities, 0.05)  # some features far more often than others
