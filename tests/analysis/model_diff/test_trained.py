"""What crosscoders say of rows whose features are known: L1 invents features of one model, BatchTopK does not."""

from __future__ import annotations

import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.analysis.model_diff.sides import sides
from monosem_jax.analysis.model_diff.table import difference
from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.train_sae import SaeRunConfig, train_sae
from monosem_jax.training.config import TrainConfig
from tests.analysis.model_diff.rows import Array, rows

KINDS = {
    "relu": CrosscoderConfig(n_features=32, l1_coefficient=0.5),
    "batchtopk": CrosscoderConfig(n_features=32, activation="batchtopk", k=2, dead_rows=20_000),
}


@pytest.mark.parametrize("exclusive", [0, 6])
def test_l1_invents_features_of_one_model_and_batchtopk_does_not(exclusive, tmp_path):
    paths = [tmp_path / f"{i}.npy" for i in range(2)]
    for path, x in zip(paths, rows(60_000, exclusive), strict=True):
        np.save(path, x)
    train = TrainConfig(steps=1500, batch_size=512, learning_rate=3e-3, steps_per_dispatch=100)
    found = {}
    for name, sae in KINDS.items():
        source = ",".join(map(str, paths))
        config = SaeRunConfig(source=source, sae=sae, train=train, resample=ResampleConfig(steps=()))
        assert train_sae(tmp_path / name, config)["variance_explained"] > 0.9
        run = mj.load_sae(tmp_path / name)
        test = Array(np.concatenate(rows(20_000, exclusive, seed=1), axis=1))
        found[name] = difference(sides(PublishedSAE(run.sae, run.params), test))
    invented = found["relu"]["exclusive"]["features"] - 2 * exclusive
    assert invented >= 8 and found["relu"]["exclusive"]["decoupled"] >= 8, found["relu"]
    told = found["batchtopk"]["by_threshold"][1]
    assert abs(told["a"] - exclusive) <= 1 and abs(told["b"] - exclusive) <= 1, told
    for table in found.values():  # what is confirmed is what was planted
        assert abs(table["exclusive"]["confirmed"] - 2 * exclusive) <= 2, table
