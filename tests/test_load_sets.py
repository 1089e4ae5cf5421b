"""`feature_set`, `neurons` and `control`: from a run directory to what analyses take."""

import dataclasses
import shutil

import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.architectures.transcoder import TranscoderConfig
from monosem_jax.sae.resample import ResampleConfig
from tests import planted
from tests.test_load import HARVEST, D, F, M, root, sae_config  # noqa: F401

SAES = {
    "transcoder": TranscoderConfig(n_features=F, k=4, k_aux=4, dead_rows=200),
    "crosscoder": CrosscoderConfig(n_features=F),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    path = tmp_path_factory.mktemp("planted")
    planted.write_runs(path, contexts=40)
    return path


def test_an_imported_dictionary_and_its_neurons_encode_like_the_model(runs):
    tokens = planted.documents(6)[0]
    features, units = mj.feature_set(runs / "sae"), mj.neurons(str(runs / "sae"))
    assert (features.name, units.name, len(features), len(units)) == ("features", "neurons", planted.F, planted.M)
    expected = planted.planted()
    np.testing.assert_array_equal(features.activations(tokens), expected.features.activations(tokens))
    np.testing.assert_array_equal(units.activations(tokens), expected.neurons.activations(tokens))
    np.testing.assert_array_equal(mj.neurons(runs / "transformer").activations(tokens), units.activations(tokens))
    opened = mj.load_sae(runs / "sae")
    np.testing.assert_array_equal(mj.feature_set(opened).directions, features.directions)
    assert mj.feature_set(opened, name="ours").name == "ours"
    assert len(mj.neurons(opened.transformer, "resid_mid.0")) == planted.D


@pytest.mark.parametrize("kind", ["transcoder", "crosscoder"])
def test_dictionaries_of_several_sites(root, tmp_path, kind):  # noqa: F811
    site, own = "mlp_in.0+mlp_out.0", dataclasses.replace(HARVEST, site="mlp_in.0+mlp_out.0")
    mj.harvest(tmp_path / "store", mj.HarvestRunConfig(0, str(root / "transformer"), own))
    config = sae_config(tmp_path / "store", resample=ResampleConfig(steps=()))
    mj.train_sae(tmp_path / "sae", dataclasses.replace(config, sae=SAES[kind]))
    features, units = mj.feature_set(tmp_path / "sae"), mj.neurons(tmp_path / "sae")
    assert features.directions.shape == (F, D if kind == "transcoder" else 2 * D)
    assert features.effect_site[0] == "mlp_out.0" and features.effect_directions.shape == (F, D)
    run = mj.load_sae(tmp_path / "sae")
    tokens = np.asarray(run.transformer.text.tokens("heldout")[:4], np.int32)
    rows = np.asarray(run.transformer.tapped(site).rows(tokens))
    real = (tokens != run.transformer.text.bos)[..., None]
    expected = run.encode(rows[..., :D] if kind == "transcoder" else rows) * real
    np.testing.assert_allclose(features.activations(tokens), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(units.activations(tokens), rows[..., D:] * real, rtol=1e-4, atol=1e-6)


def test_a_control_is_a_dictionary_of_a_shuffled_transformer(root, tmp_path):  # noqa: F811
    mj.shuffle_transformer(tmp_path / "shuffled", mj.ShuffleConfig(0, str(root / "transformer")))
    mj.harvest(tmp_path / "store", mj.HarvestRunConfig(0, str(tmp_path / "shuffled"), HARVEST))
    mj.train_sae(tmp_path / "sae", sae_config(tmp_path / "store"))
    found = mj.control(tmp_path / "sae")
    assert (found.name, len(found), found.directions.shape) == ("control", F, (F, M))
    np.testing.assert_array_equal(found.directions, mj.load_sae(tmp_path / "sae").params["W_dec"])
    with pytest.raises(BadInput, match="which was trained: expected one of a transformer that"):
        mj.control(root / "sae")


def test_what_has_no_features_of_text_is_refused(root, runs, tmp_path):  # noqa: F811
    for call, path, message in (
        (mj.feature_set, root / "transformer", "is the run directory of train_transformer: expected one of"),
        (mj.feature_set, root / "array", "was made without a transformer"),
        (mj.neurons, root / "store", "is the run directory of harvest"),
        (mj.control, root / "array", "was made without a transformer"),
        (mj.feature_set, tmp_path, "is not a run directory"),
    ):
        with pytest.raises(BadInput, match=message):
            call(path)
    with pytest.raises(BadInput, match="does not exist: expected one of"):
        mj.neurons(runs / "transformer", "mlp_hidden.3")
    shutil.copytree(runs / "sae", tmp_path / "sae")
    shutil.copytree(runs / "transformer", tmp_path / "transformer")
    shutil.rmtree(tmp_path / "sae" / "checkpoints")
    with pytest.raises(BadInput, match="holds no checkpoint"):
        mj.feature_set(tmp_path / "sae")
