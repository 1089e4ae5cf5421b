"""Every architecture in sweeps: a member is the dictionary trained alone, a killed sweep ends with the same bits."""

import dataclasses

import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.runtime.config import from_dict
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae import trainer as dictionaries
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages import sweep, train_sae
from monosem_jax.training.config import TrainConfig
from tests.activations.sources.tiny import assert_same_run
from tests.small_loop import Crash, crash

F, WIDTH, STEPS = 24, 12, 16
TRAIN = TrainConfig(
    steps=STEPS, batch_size=64, learning_rate=0.02, steps_per_dispatch=4, log_every=4, evaluate_every=4,
    checkpoint_every=4, mesh="data=2,model=4",
)  # fmt: skip
AUXK = {"k_aux": 4, "dead_rows": 128}
# name -> (configuration, values of what decides how many features are active, the names of the members)
FAMILY = {
    "april_2024": (sae_lib.AprilConfig(), (0.5, 1.0), ("f24_l0.5_s0", "f24_l1_s0")),
    "topk": (sae_lib.TopKConfig(**AUXK, multi=0.1), (2, 3), ("f24_k2_s0", "f24_k3_s0")),
    "batchtopk": (sae_lib.BatchTopKConfig(**AUXK), (3,), ("f24_k3_s0",)),
    "jumprelu": (
        sae_lib.JumpReluConfig(bandwidth=0.1, l0_warmup=4), (0.01, 0.1),
        ("f24_l0_coefficient0.01_s0", "f24_l0_coefficient0.1_s0"),
    ),
    "target": (
        sae_lib.JumpReluConfig(bandwidth=0.1, target_l0=1, l0_coefficient=1.0), (2.0, 5.0),
        ("f24_target_l02_s0", "f24_target_l05_s0"),
    ),
    "gated": (sae_lib.GatedConfig(), (0.05, 0.2), ("f24_l0.05_s0", "f24_l0.2_s0")),
    "abs_topk": (sae_lib.AbsTopKConfig(**AUXK), (2, 3), ("f24_k2_s0", "f24_k3_s0")),
    "p_anneal": (sae_lib.PAnnealConfig(anneal_start=4, p_updates=3), (0.05, 0.2), ("f24_l0.05_s0", "f24_l0.2_s0")),
    "matryoshka": (sae_lib.MatryoshkaConfig(**AUXK, groups=(0.25, 0.75)), (3,), ("f24_k3_s0",)),
    "transcoder": (sae_lib.TranscoderConfig(**AUXK, widths=(5, 7)), (3,), ("f24_k3_s0",)),
    "crosscoder": (sae_lib.CrosscoderConfig(widths=(5, 7)), (0.5, 1.0), ("f24_l0.5_s0", "f24_l1_s0")),
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("rows") / "x.npy"
    np.save(path, np.maximum(np.random.default_rng(0).normal(size=(2048, WIDTH)), 0).astype(np.float32))
    return str(path)


def config(name: str, source: str) -> sweep.SweepRunConfig:
    sae, values, _ = FAMILY[name]
    grid = sweep.SweepConfig((F,), sparsities=values)
    return sweep.SweepRunConfig(source=source, sae=sae, train=TRAIN, sweep=grid, resample=ResampleConfig(steps=()))


OWN_STATE = ("topk", "batchtopk", "target", "p_anneal")  # the others keep what one of these or ReLU keeps


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in OWN_STATE else pytest.mark.drill) for name in FAMILY]
)
def test_a_killed_sweep_ends_with_the_bits_of_members_trained_alone(name, source, tmp_path, monkeypatch):
    """Statistics, such as the threshold of BatchTopK and what counts as dead, go on where they were."""
    silent = dictionaries._silent

    def crashing(train):
        numbers = silent(train)
        return lambda s: (int(s.step) == 12 and crash()) or numbers(s)

    whole = config(name, source)
    assert tuple(whole.members()) == FAMILY[name][2]
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(dictionaries, "_silent", crashing)
        sweep.sweep(tmp_path / "sweep", whole)
    summary = sweep.sweep(tmp_path / "sweep", whole)
    assert summary["resumed_from_step"] == 8
    member = FAMILY[name][2][-1]
    train_sae.train_sae(tmp_path / "alone", whole.members()[member])
    assert_same_run(tmp_path / "alone", tmp_path / "sweep" / "members" / member)
    found = load_run(tmp_path / "alone")
    key = whole.sae.sparsity_key
    assert found.summary[key] == found.config["sae"][key] == FAMILY[name][1][-1] == summary["members"][-1][key]
    np.testing.assert_allclose(np.linalg.norm(found.params["W_dec"], axis=1), 1, atol=1e-5)
    if name == "batchtopk":
        assert found.threshold[0] > 0 and (found.threshold == found.threshold[0]).all()
        trained = found.state()["rest"]
        assert found.threshold[0] * trained["hyper"]["input_scale"] == pytest.approx(trained["stats"]["threshold"])


@pytest.mark.parametrize("name", ["topk", "crosscoder"])
def test_the_plan_measures_steps_of_any_architecture(name, source, tmp_path, capsys):
    sweep.dry_run(tmp_path, config(name, source))
    told = capsys.readouterr().out
    assert "rows" in told and "memory" in told and "time" in told and not any(tmp_path.iterdir())


def test_more_active_features_explain_more(source, tmp_path):
    rows = sweep.sweep(tmp_path, config("topk", source))["members"]
    assert rows[0]["l0"] <= 2 < rows[1]["l0"] <= 3 and rows[0]["mse"] > rows[1]["mse"]


@pytest.mark.parametrize(
    ("sae", "grid", "message"),
    [
        (sae_lib.TopKConfig(), {"sparsities": (2.5,)}, r"sae\.k is 2\.5: expected 1 to"),
        (sae_lib.TopKConfig(), {"sparsities": (25,)}, r"sae\.k is 25: expected 1 to n_features = 24"),
        (sae_lib.JumpReluConfig(target_l0=3), {"sparsities": (4.0, 0.0)}, r"sweep\.sparsities has 0\.0: expected"),
        (sae_lib.TopKConfig(), {"sparsities": (2, 2)}, "has 2 more than once"),
    ],
)  # fmt: skip
def test_impossible_values_are_named(sae, grid, message, source, tmp_path):
    wrong = dataclasses.replace(config("topk", source), sae=sae, sweep=sweep.SweepConfig((F,), **grid))
    with pytest.raises(BadInput, match=message):
        sweep.sweep(tmp_path, wrong)


@pytest.mark.parametrize("name", ["april_2024", "transcoder", "crosscoder"])
def test_resampling_is_refused_where_it_is_not_defined(name, source, tmp_path):
    wrong = dataclasses.replace(config(name, source), resample=ResampleConfig(steps=(8,), window=4))
    with pytest.raises(BadInput, match=rf"{name} is trained without, expected \(\)"):
        sweep.sweep(tmp_path, wrong)


def test_a_key_of_another_architecture_is_told_with_the_file_to_begin_with():
    values = {"architecture": "topk", "l1_coefficient": 0.1}
    with pytest.raises(BadInput, match=r"topk has no l1_coefficient: begin with --config=\S+topk\.py"):
        from_dict(sae_lib.SaeConfig, values, prefix="config.sae")
