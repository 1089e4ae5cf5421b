"""A dictionary trained and used under the user's settings of JAX has the numbers that it has without."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from monosem_jax.activations.store.foreign import NpyRows
from monosem_jax.analysis.metrics import evaluate_rows
from monosem_jax.load import load_sae
from monosem_jax.runtime.config import from_dict
from monosem_jax.runtime.mesh import make_mesh
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.stages.train_sae import SaeRunConfig, train_sae

SETTINGS = {
    "jax_enable_x64": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_transfer_guard": "disallow_explicit",
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_default_matmul_precision": "bfloat16",
    "jax_debug_nans": True,
    "jax_auto_pcast": False,
}
X = np.random.default_rng(0).normal(size=(600, 24))


def config(rows: pathlib.Path) -> SaeRunConfig:
    train = {"steps": 8, "batch_size": 64, "checkpoint_every": 4, "log_every": 4, "steps_per_dispatch": 4}
    resample = {"steps": [4], "window": 2, "n_inputs": 128}
    values = {"source": str(rows), "sae": {"n_features": 16}, "train": {**train, "mesh": "data=2,model=4"}}
    return from_dict(SaeRunConfig, {**values, "resample": resample})


def numbers(path: pathlib.Path, rows: pathlib.Path) -> dict[str, Any]:
    """All that a run and its methods give."""
    run = load_sae(path)
    f = run.encode(X[:5])
    found = {
        **run.params, "f": f, "decoded": run.decode(f), "of a list": run.encode(X[:1].tolist()),
        "vector": run.feature(3)["W_dec"], "placed": np.asarray(run.params_on(make_mesh("data=2,model=4"))["W_enc"]),
    }  # fmt: skip
    summary = {k: v for k, v in (run.summary or {}).items() if "second" not in k}
    metrics, density = evaluate_rows(PublishedSAE(run.sae, run.params), NpyRows(str(rows)))
    return {**found, "density": density, "logged": run.metrics, "summary": summary, "metrics": metrics}


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("rows") / "x.npy"
    np.save(path, X.astype(np.float32))
    return path


@pytest.fixture(scope="module")
def expected(rows) -> dict[str, Any]:
    train_sae(rows.parent / "run", config(rows))
    return numbers(rows.parent / "run", rows)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_numbers_are_the_same(tmp_path, rows, expected, name):
    before = getattr(jax.config, name)
    jax.config.update(name, SETTINGS[name])
    try:
        train_sae(tmp_path / "run", config(rows))
        found = numbers(tmp_path / "run", rows)
        assert getattr(jax.config, name) == SETTINGS[name]
    finally:
        jax.config.update(name, getattr(before, "value", before))
    for key, value in expected.items():
        if hasattr(value, "dtype"):
            assert found[key].dtype == value.dtype, key
        np.testing.assert_equal(found[key], value, err_msg=key)
