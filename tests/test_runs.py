"""Run directories of every stage, made once in small, opened through `load_run`."""

import dataclasses
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.errors import BadInput
from monosem_jax.harvest import HarvestConfig
from monosem_jax.resample import ResampleConfig
from monosem_jax.sae.median import geometric_median
from monosem_jax.sae.relu import ReluConfig
from monosem_jax.stages import harvest, train_sae, train_transformer
from monosem_jax.text.pack import TextConfig
from monosem_jax.train import TrainConfig
from monosem_jax.transformer.model import TransformerConfig
from tests.conftest import mesh_of, write_words

D, M, F, LENGTH = 16, 24, 32, 16
TRAIN = TrainConfig(steps=8, batch_size=16, steps_per_dispatch=4, log_every=4, evaluate_every=4, checkpoint_every=4)
HARVEST = HarvestConfig(rows_per_context=8, bucket_rows=1024, shard_rows=1024, batch_contexts=32)


def sae_config(source: pathlib.Path, **changes) -> train_sae.SaeRunConfig:
    return train_sae.SaeRunConfig(
        source=str(source),
        sae=ReluConfig(n_features=F, input_scale=changes.pop("input_scale", "unit_rms")),
        train=dataclasses.replace(TRAIN, learning_rate=1e-3),
        **{"resample": ResampleConfig(steps=(4,), window=3, n_inputs=64), **changes},
    )


def array_config(source: pathlib.Path) -> train_sae.SaeRunConfig:
    return sae_config(source, input_scale="none", resample=ResampleConfig(steps=()))


def transformer_config(corpus: pathlib.Path, seed: int = 0) -> train_transformer.TransformerRunConfig:
    return train_transformer.TransformerRunConfig(
        seed=seed,
        text=TextConfig(corpus=str(corpus), vocab_size=300),
        transformer=TransformerConfig(d_model=D, d_mlp=M, n_heads=2, context_length=LENGTH),
        train=TRAIN,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> pathlib.Path:
    """Run directories: transformer and store from a small corpus, sae from the store, array from a .npy file."""
    root = tmp_path_factory.mktemp("runs")
    write_words(root / "corpus.jsonl")
    train_transformer.run(root / "transformer", transformer_config(root / "corpus.jsonl"))
    harvest.run(root / "store", harvest.HarvestRunConfig(0, str(root / "transformer"), HARVEST))
    train_sae.run(root / "sae", sae_config(root / "store"))
    rows = load_run(root / "store").store.read(0, 1000)
    np.save(root / "rows.npy", np.asarray(rows, np.float32))
    train_sae.run(root / "array", array_config(root / "rows.npy"))
    return root


def shapes(params) -> dict[str, tuple]:
    flat = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(k.key for k in path): x.shape for path, x in flat}


def assert_fp32_numpy(params) -> None:
    assert all(type(x) is np.ndarray and x.dtype == np.float32 for x in jax.tree.leaves(params))


def test_the_parameters_of_a_transformer_are_fp32_numpy_arrays_of_known_names(root):
    run = load_run(root / "transformer")
    assert_fp32_numpy(run.params)
    found, v = shapes(run.params), run.text.manifest["vocab_size"]
    assert found["embed/embedding"] == (v, D) and found["unembed/kernel"] == (D, v)
    assert found["blocks_0/qkv/kernel"] == (D, 3 * D) and found["blocks_0/attn_proj/kernel"] == (D, D)
    assert found["blocks_0/up/kernel"] == (D, M) and found["blocks_0/down/kernel"] == (M, D)


def test_a_transformer_gives_the_logits_of_its_summary(root):
    run = load_run(root / "transformer")
    tokens = np.asarray(run.text.tokens("heldout"), np.int32)
    p = np.asarray(jax.nn.log_softmax(run.logits(tokens)), np.float64)
    loss = -np.take_along_axis(p[:, :-1], tokens[:, 1:, None], axis=-1).mean()
    assert loss == pytest.approx(run.summary["heldout_loss"], rel=1e-5)


def test_the_config_is_the_resolved_configuration(root):
    assert load_run(root / "transformer").config["transformer"]["d_mlp"] == M
    assert load_run(root / "sae").config["sae"]["n_features"] == F
    assert load_run(root / "store").config["harvest"]["rows_per_context"] == 8


def test_a_store_comes_with_its_transformer(root):
    run = load_run(root / "store")
    assert run.store.width == M and run.store.n_rows == run.summary["n_rows"]
    assert run.store.manifest["model"] == run.transformer.summary["params_sha256"]
    assert run.transformer.path.resolve() == root / "transformer"


@pytest.mark.parametrize("name", ["transformer", "store", "sae"])
def test_every_run_finds_the_tokenizer(root, name):
    tokenizer = load_run(root / name).tokenizer
    assert tokenizer.decode(tokenizer.encode("the cat").ids) == "the cat"


@pytest.mark.parametrize("name", ["sae", "array"])
def test_the_parameters_of_a_dictionary_are_fp32_numpy_arrays_of_known_names(root, name):
    params = load_run(root / name).params
    assert_fp32_numpy(params)
    assert shapes(params) == {"W_dec": (F, M), "W_enc": (M, F), "b_dec": (M,), "b_enc": (F,)}
    np.testing.assert_allclose(np.linalg.norm(params["W_dec"], axis=1), 1, rtol=1e-5)


def test_encode_and_decode_are_the_formulas_of_the_paper_on_raw_activations(root):
    run = load_run(root / "sae")
    p = {k: np.asarray(v, np.float64) for k, v in run.params.items()}
    x = load_run(root / "store").store.read(0, 100).astype(np.float64).reshape(4, 25, M)
    f = np.maximum((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"], 0)
    assert run.encode(x).shape == (4, 25, F) and run.decode(f).shape == (4, 25, M)
    np.testing.assert_allclose(run.encode(x), f, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run.decode(f), f @ p["W_dec"] + p["b_dec"], rtol=1e-4, atol=1e-5)


def test_encode_takes_a_single_vector(root):
    run = load_run(root / "sae")
    assert run.decode(run.encode(np.zeros(M))).shape == (M,)


def test_the_metrics_of_a_dictionary_follow_from_what_is_loaded(root):
    run = load_run(root / "sae")
    model, text = run.transformer, run.transformer.text
    tokens = np.asarray(text.tokens("heldout"), np.int32)
    _, x = model.model.apply({"params": model.params}, tokens, run.site, method=model.model.to_acts)
    x = np.asarray(x)[tokens != text.bos]
    f = run.encode(x)
    assert run.summary["l0"] == pytest.approx((f > 0).sum(1).mean(), rel=1e-3)
    assert run.summary["mse"] == pytest.approx(np.square(run.decode(f) - x).mean(), rel=1e-3)


ROW_METRICS = {"l0", "mse", "variance_explained", "n_features", "dead", "ultralow"}
LOSS_METRICS = {"ce_intact", "ce_zero_ablation", "ce_mean_ablation", "ce_reconstructed"}
RECOVERED = {"loss_recovered_zero", "loss_recovered_mean"}
RECORDED = {"rows_trained", "rows_per_second", "wall_seconds"}


def test_the_summary_of_a_dictionary_has_every_metric(root):
    summary = load_run(root / "sae").summary
    assert summary.keys() >= ROW_METRICS | LOSS_METRICS | RECOVERED | RECORDED
    assert summary["n_features"] == F and summary["rows_trained"] == 8 * 16


def test_the_summary_of_a_dictionary_from_an_array_has_every_metric_of_rows(root):
    summary = load_run(root / "array").summary
    assert summary.keys() >= ROW_METRICS | RECORDED
    assert not summary.keys() & (LOSS_METRICS | RECOVERED)


def test_a_dictionary_from_an_array_has_no_transformer(root):
    run = load_run(root / "array")
    assert run.site is None
    with pytest.raises(BadInput, match="was made without a transformer"):
        _ = run.transformer


def test_step_zero_is_the_initial_state(root):
    run = load_run(root / "sae", step=0)
    store = load_run(root / "store").store
    rows = store.stream(16, 0, mesh_of(1, 1)).sample(store.n_rows).astype(np.float32)
    np.testing.assert_allclose(run.params["b_dec"], geometric_median(jnp.asarray(rows)), rtol=1e-3, atol=1e-5)
    assert not run.params["b_enc"].any()
    assert np.abs(run.params["b_dec"] - load_run(root / "sae").params["b_dec"]).max() > 1e-4


def test_the_newest_step_is_opened_unless_another_is_asked_for(root):
    newest, last, middle = (load_run(root / "sae", step=s).params["W_enc"] for s in (None, 8, 4))
    assert np.array_equal(newest, last) and not np.array_equal(newest, middle)


def test_a_run_lists_its_steps(root):
    assert load_run(root / "sae").steps == [0, 4, 8]
    assert load_run(root / "store").steps == []


@pytest.mark.parametrize("name", ["sae", "transformer", "store"])
def test_a_step_that_is_not_there_is_refused(root, name):
    with pytest.raises(BadInput, match="holds no checkpoint of step 5"):
        load_run(root / name, step=5)


def test_runs_that_are_moved_together_find_each_other(root, tmp_path):
    for name in ("sae", "store", "transformer"):
        shutil.copytree(root / name, tmp_path / name)
    assert load_run(tmp_path / "sae").transformer.path.resolve() == tmp_path / "transformer"


def test_a_store_of_another_transformer_is_refused(root, tmp_path):
    other = shutil.copytree(root / "transformer", tmp_path / "other")
    (other / "summary.json").write_text(json.dumps({**load_run(other).summary, "params_sha256": "another"}))
    config = sae_config(root / "store", transformer=str(other))
    with pytest.raises(BadInput, match=r"store .* was not harvested from .*other: the hashes of the parameters differ"):
        train_sae.run(tmp_path / "sae", config)


NOT_RUNS = {"empty": None, "language model": {"model_type": "gpt2"}, "list": []}


@pytest.mark.parametrize("kind", NOT_RUNS)
def test_a_directory_that_is_no_run_is_refused(tmp_path, kind):
    if NOT_RUNS[kind] is not None:
        (tmp_path / "config.json").write_text(json.dumps(NOT_RUNS[kind]))
    with pytest.raises(BadInput, match=r"config\.json"):
        load_run(tmp_path)


def test_an_unfinished_transformer_is_refused_by_the_next_stage(root, tmp_path):
    shutil.copytree(root / "transformer", tmp_path / "transformer")
    (tmp_path / "transformer" / "summary.json").unlink()
    with pytest.raises(BadInput, match="is not a finished train_transformer run"):
        harvest.run(tmp_path / "store", harvest.HarvestRunConfig(0, str(tmp_path / "transformer"), HARVEST))


@pytest.mark.parametrize("stage", ["transformer", "store", "sae"])
def test_a_negative_seed_is_refused_before_anything_is_made(root, tmp_path, stage):
    programs = {
        "transformer": lambda p: train_transformer.run(p, transformer_config(root / "corpus.jsonl", seed=-1)),
        "store": lambda p: harvest.run(p, harvest.HarvestRunConfig(-1, str(root / "transformer"), HARVEST)),
        "sae": lambda p: train_sae.run(p, sae_config(root / "rows.npy", seed=-1)),
    }
    with pytest.raises(BadInput, match="seed is -1"):
        programs[stage](tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_activations_that_never_vary_end_in_a_summary(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((200, 4), np.float32))
    summary = train_sae.run(tmp_path / "run", array_config(tmp_path / "rows.npy"))
    assert summary["variance_explained"] is None and load_run(tmp_path / "run").summary == summary


@pytest.mark.parametrize("name", ["transformer", "store", "sae", "array"])
def test_a_finished_run_is_left_as_it_is(root, name, capsys):
    before = {p: p.stat().st_mtime_ns for p in (root / name).rglob("*") if p.is_file() and p.name != ".lock"}
    programs = {
        "transformer": lambda p: train_transformer.run(p, transformer_config(root / "corpus.jsonl")),
        "store": lambda p: harvest.run(p, harvest.HarvestRunConfig(0, str(root / "transformer"), HARVEST)),
        "sae": lambda p: train_sae.run(p, sae_config(root / "store")),
        "array": lambda p: train_sae.run(p, array_config(root / "rows.npy")),
    }
    assert programs[name](root / name) == load_run(root / name).summary
    assert "is finished: nothing to do" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (root / name).rglob("*") if p in before} == before
