"""Concatenated rows of several sites or sources, and the dictionaries trained on them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.sources import open_source
from monosem_jax.activations.sources.base import SourceRequest
from monosem_jax.analysis.kinds.causes import EffectsConfig
from monosem_jax.analysis.kinds.table import KindsConfig
from monosem_jax.models.base import site_width, site_widths, token_losses
from monosem_jax.runtime.config import from_dict
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.crosscoder import CrosscoderConfig
from monosem_jax.sae.architectures.transcoder import TranscoderConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages import analyze, evaluate, harvest, train_sae, train_transformer
from tests.activations.sources.tiny import ONLINE, F, K, M, assert_same_run, config

D = 16
TWO = "mlp_in.0+mlp_out.0"
NEVER = ResampleConfig(steps=())
SAES = {
    "transcoder": TranscoderConfig(n_features=F, k=4, k_aux=4, dead_rows=200),
    "skip": TranscoderConfig(n_features=F, k=4, skip=True),
    "crosscoder": CrosscoderConfig(n_features=F, l1_coefficient=0.5),
}


@pytest.fixture(scope="module")
def stores(root, tmp_path_factory):
    """both: one store of two sites; a, b: a store of each; other: of another model of the same text; late: of another
    seed; foreign: of a model of another text."""
    path = tmp_path_factory.mktemp("sites")
    made = load_run(root / "transformer").config
    text = {**made["text"], "seed": 0}
    twin = from_dict(train_transformer.TransformerRunConfig, {**made, "seed": 1, "text": text})
    train_transformer.train_transformer(path / "twin", twin)
    for name, site, transformer, seed in (
        ("both", TWO, "transformer", 0), ("a", "mlp_in.0", "transformer", 0), ("b", "mlp_out.0", "transformer", 0),
        ("other", "mlp_out.0", path / "twin", 0), ("foreign", "mlp_out.0", "other", 0),
        ("late", "mlp_out.0", "transformer", 1),
    ):  # fmt: skip
        small = HarvestConfig(site, K, bucket_rows=1024, shard_rows=1024, dtype="float32")
        harvest.harvest(path / name, harvest.HarvestRunConfig(seed, str(root / transformer), small))
    return path


@pytest.fixture(scope="module")
def runs(stores, tmp_path_factory):
    """Finished runs on the store of two sites."""
    path = tmp_path_factory.mktemp("runs")
    for name, sae in SAES.items():
        train_sae.train_sae(path / name, config(stores / "both", sae=sae, resample=NEVER))
    return path


def test_a_store_of_two_sites_has_the_activations_of_each_beside_each_other(stores):
    both, a, b = (load_run(stores / name).store for name in ("both", "a", "b"))
    assert both.width == 2 * D and both.manifest["widths"] == [D, D] and both.manifest["site"] == TWO
    rows = both.read(0, both.n_rows)
    np.testing.assert_array_equal(rows, np.concatenate([s.read(0, s.n_rows) for s in (a, b)], axis=1))
    assert "widths" not in a.manifest


def test_several_sites_of_a_model_are_those_of_each(root):
    run = load_run(root / "transformer")
    tokens = jnp.asarray(run.text.tokens("heldout")[:3])
    sites = ("mlp_hidden.0", "resid_pre.0", "mlp_out.0", "mlp_hidden.0")  # in any order, and twice

    def acts(site):
        return run.model.apply({"params": run.params}, tokens, site, method=run.model.to_acts)[1]

    np.testing.assert_allclose(acts("+".join(sites)), np.concatenate([acts(s) for s in sites], axis=-1), atol=1e-6)
    assert site_widths(run.model, "+".join(sites)) == (M, D, D, M)
    assert site_width(run.model, "+".join(sites)) == 2 * M + 2 * D
    with pytest.raises(BadInput, match=r"site 'mlp_out\.1' does not exist"):
        acts("mlp_in.0+mlp_out.1")


def test_two_stores_beside_each_other_are_the_store_of_both(stores, runs, tmp_path):
    source = f"{stores / 'a'},{stores / 'b'}"
    train_sae.train_sae(tmp_path / "run", config(source, sae=SAES["transcoder"], resample=NEVER))
    assert_same_run(tmp_path / "run", runs / "transcoder")
    record = load_run(tmp_path / "run").record
    assert set(record["parents"]) == {"source", "source_2", "transformer"}
    assert load_run(tmp_path / "run").site == TWO


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("late", "were harvested with different values of seed"),
        ("foreign", "with different values of tokenizer_sha256"),
        ("nowhere", "does not exist"),
        ("short.npy", "short.npy 1200: sources side by side need equally many"),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(stores, second, message):
    np.save(stores / "short.npy", np.ones((1200, 3), np.float32))
    with pytest.raises(BadInput, match=message):
        open_source(SourceRequest(f"{stores / 'a'},{stores / second}"))


def test_stores_of_two_models_are_evaluated_on_rows_alone(root, stores, tmp_path):
    source = f"{stores / 'b'},{stores / 'other'}"
    given = config(source, sae=SAES["crosscoder"], resample=NEVER)
    summary = train_sae.train_sae(tmp_path / "run", given)
    assert "ce_intact" not in summary and summary["variance_explained"] is not None
    assert load_run(tmp_path / "run").site == "mlp_out.0+mlp_out.0"
    with pytest.raises(BadInput, match="are not all from one model"):
        open_source(dataclasses.replace(given, transformer=str(root / "transformer")).source_request())


@pytest.mark.parametrize("name", ["array.npy", "converted"])
@pytest.mark.parametrize("sae", ["transcoder", "crosscoder"])
def test_rows_of_one_site_are_refused_unless_the_widths_are_given(root, tmp_path, name, sae):
    with pytest.raises(BadInput, match=r"the rows have one|the rows have 1: harvest two sites .*or give sae\.widths"):
        train_sae.train_sae(tmp_path / "run", config(root / name, sae=SAES[sae], resample=NEVER))
    for widths, message in (((5, 9), "make 14: the rows have a width of 24"), ((M,), "the rows have")):
        wrong = dataclasses.replace(SAES[sae], widths=widths)
        with pytest.raises(BadInput, match=message):
            train_sae.train_sae(tmp_path / "run", config(root / name, sae=wrong, resample=NEVER))
    given = dataclasses.replace(SAES[sae], widths=(10, 14))
    assert train_sae.train_sae(tmp_path / "run", config(root / name, sae=given, resample=NEVER))["l0"] > 0
    assert load_run(tmp_path / "run").params["W_enc"].shape[0] == (10 if sae == "transcoder" else M)


@pytest.mark.parametrize("name", SAES)
def test_reconstructions_stand_for_the_output_or_for_each_site_in_turn(root, stores, runs, name):
    """The figures of the summary, from the published parameters, by NumPy and by the halves of the model."""
    run, model = load_run(runs / name), load_run(root / "transformer")
    tokens = np.asarray(model.text.tokens("heldout"))
    params = {"params": model.params}
    rows = np.asarray(model.model.apply(params, tokens, TWO, method=model.model.to_acts)[1], np.float64)
    real = tokens != model.text.bos
    p = {key: value.astype(np.float64) for key, value in run.params.items()}
    x, y = (rows, rows) if name == "crosscoder" else (rows[..., :D], rows[..., D:])
    f = np.maximum(x @ p["W_enc"] + p["b_enc"], 0)
    if name != "crosscoder":
        f = np.where(f >= np.sort(f, axis=-1)[..., -4, None], f, 0)
    y_hat = f @ p["W_dec"] + p["b_dec"] + (x @ p["W_skip"] if "W_skip" in p else 0)
    summary = run.summary
    assert summary["l0"] == pytest.approx((f[real] > 0).sum(axis=-1).mean(), rel=1e-3)
    assert summary["mse"] == pytest.approx(np.mean((y - y_hat)[real] ** 2), rel=1e-3)
    sites = (
        {"mlp_in.0": slice(0, D), "mlp_out.0": slice(D, None)} if name == "crosscoder" else {"mlp_out.0": slice(None)}
    )
    losses = []
    for site, columns in sites.items():
        carry, acts = model.model.apply(params, tokens, site, method=model.model.to_acts)
        swapped = jnp.where(real[..., None], y_hat[..., columns].astype(np.float32), acts)
        logits = model.model.apply(params, carry, swapped, site, method=model.model.from_acts)
        losses.append(float(jnp.mean(token_losses(logits, jnp.asarray(tokens)))))
    assert summary["ce_reconstructed"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_what_is_loaded_encodes_and_decodes(runs):
    x = np.random.default_rng(0).normal(size=(5, D)).astype(np.float32)
    skip = load_run(runs / "skip")
    f = skip.encode(x)
    assert f.shape == (5, F) and skip.decode(f, x).shape == (5, D)
    np.testing.assert_allclose(
        skip.decode(f, x), f @ skip.params["W_dec"] + skip.params["b_dec"] + x @ skip.params["W_skip"], atol=1e-4
    )
    with pytest.raises(BadInput, match=r"decode\(f, x\)"):
        skip.decode(f)
    crosscoder = load_run(runs / "crosscoder")
    np.testing.assert_allclose(np.linalg.norm(crosscoder.params["W_dec"], axis=1), 1, atol=1e-5)
    assert crosscoder.decode(crosscoder.encode(np.tile(x, 2))).shape == (5, 2 * D)


def test_a_transcoder_online_sees_both_sites(root, tmp_path):
    online = dataclasses.replace(ONLINE, site=TWO)
    given = config(
        "online", transformer=str(root / "transformer"), online=online, sae=SAES["transcoder"], resample=NEVER
    )
    summary = train_sae.train_sae(tmp_path / "run", given)
    assert summary["l0"] <= 4 and load_run(tmp_path / "run").params["W_dec"].shape == (F, D)


@pytest.mark.parametrize("name", SAES)
def test_evaluation_and_analysis_take_them(runs, tmp_path, name):
    found = evaluate.evaluate(tmp_path / "e", evaluate.EvaluateRunConfig(run=str(runs / name)))
    assert found["ce_reconstructed"] == pytest.approx(load_run(runs / name).summary["ce_reconstructed"], rel=1e-5)
    effects = EffectsConfig(ablated=2, direct=0, pinned=0, steered=())
    small = analyze.AnalyzeRunConfig(
        run=str(runs / name),
        n_features=2,
        training_contexts=8,
        random_directions=4,
        without=("judge", "probes"),
        kinds=KindsConfig(effects=effects),
    )
    assert analyze.analyze(tmp_path / "a", small)["scanned_tokens"] > 0


def test_rows_are_of_parts_on_any_mesh(stores, runs, tmp_path):
    """Two processes' worth of devices: 2 x 4."""
    train = dataclasses.replace(config("x").train, mesh="data=2,model=4")
    summary = train_sae.train_sae(
        tmp_path / "run", config(stores / "both", sae=SAES["skip"], train=train, resample=NEVER)
    )
    alone = load_run(runs / "skip").summary
    for key in ("mse", "ce_reconstructed", "l0"):
        assert summary[key] == pytest.approx(alone[key], rel=1e-3), key
    assert len(jax.devices()) == 8
