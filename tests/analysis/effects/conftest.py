"""A lively transformer with a dictionary whose features are dense, rare and dead."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.analysis import feature_sets
from monosem_jax.models.tapped import TappedModel
from monosem_jax.sae import architectures
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.published import PublishedSAE

F, DEAD, BOS = 9, 4, 0


def random_dictionary(width: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Published parameters with unit rows; feature DEAD never fires."""
    rng = np.random.default_rng(seed)
    d = rng.normal(size=(F, width)).astype(np.float32)
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    b_enc = np.linspace(-0.5, 0.1, F).astype(np.float32)
    b_enc[DEAD] = -1e4
    return {"W_enc": d.T + 0.1 * rng.normal(size=(width, F)).astype(np.float32), "b_enc": b_enc, "W_dec": d,
            "b_dec": 0.1 * rng.normal(size=width).astype(np.float32)}  # fmt: skip


@pytest.fixture(scope="package")
def of(tiny) -> feature_sets.FeatureSet:
    model, params = tiny
    tapped = TappedModel(model, params, "mlp_hidden.0", BOS)
    width = model.config.d_mlp
    sae = PublishedSAE(architectures.build(ReluConfig(n_features=F), width, jnp.float32, ()), random_dictionary(width))
    return feature_sets.dictionary("features", tapped, sae)


@pytest.fixture(scope="package")
def tokens() -> np.ndarray:
    """[7,12] contexts that begin with BOS; one has a second BOS."""
    t = np.random.default_rng(1).integers(1, 40, (7, 12)).astype(np.int32)
    t[:, 0] = t[3, 6] = BOS
    return t
