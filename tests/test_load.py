"""Run directories of every stage, made once in small, opened through `load_run`."""

import dataclasses
import json
import pathlib
import shutil
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax import (
    load_analysis,
    load_comparison,
    load_evaluation,
    load_quickstart,
    load_report,
    load_run,
    load_sae,
    load_store,
    load_suite,
    load_sweep,
    load_toy_models,
    load_transformer,
)
from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.run import HarvestRun
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.analysis.run import AnalyzeRun, CompareRun, EvaluateRun
from monosem_jax.load import KINDS, ImportedModelRun, LoadedRun, QuickstartRun, ReportRun, SuiteRun, TransformerRun
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.runtime.errors import BadInput, NewerFormat
from monosem_jax.runtime.workdir import FORMAT
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.ops.geometric_median import geometric_median
from monosem_jax.sae.params import RULES
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.sae.run import SaeRun, SweepRun
from monosem_jax.stages import evaluate, harvest, train_sae, train_transformer
from monosem_jax.text.pack import TextConfig
from monosem_jax.toy.run import ToyRun
from monosem_jax.training.config import TrainConfig
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
    train_transformer.train_transformer(root / "transformer", transformer_config(root / "corpus.jsonl"))
    harvest.harvest(root / "store", harvest.HarvestRunConfig(0, str(root / "transformer"), HARVEST))
    train_sae.train_sae(root / "sae", sae_config(root / "store"))
    rows = load_run(root / "store").store.read(0, 1000)
    np.save(root / "rows.npy", np.asarray(rows, np.float32))
    train_sae.train_sae(root / "array", array_config(root / "rows.npy"))
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


def test_rows_are_computed_in_blocks_and_none_depends_on_the_others(root, monkeypatch):
    monkeypatch.setattr("monosem_jax.sae.run.BLOCK_ROWS", 8)
    run, x = load_sae(root / "sae"), load_run(root / "store").store.read(0, 21).astype(np.float32)
    for n in (21, 16, 8, 3, 1):
        f = run.encode(x[:n])
        assert f.shape == (n, F) and f.dtype == np.float32
        for i in range(n):
            np.testing.assert_allclose(f[i], run.encode(x[i]), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(run.decode(f)[i], run.decode(f[i]), rtol=1e-5, atol=1e-6)
    assert run.encode(x[:0]).shape == (0, F) and run.decode(np.zeros((2, 0, F))).shape == (2, 0, M)
    assert np.array_equal(run.encode(jnp.asarray(x)), run.encode(x))


def test_parameters_are_uploaded_once_and_few_programs_compiled(root, monkeypatch):
    uploads, put = [], jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda *a, **k: uploads.append(a) or put(*a, **k))
    run, transformer = load_sae(root / "sae"), load_transformer(root / "transformer")
    counts = []
    for n in (5, 6, 7, 8):
        run.decode(run.encode(np.ones((n, M))))
        transformer.logits(np.zeros((2, LENGTH), np.int32))
        counts.append(len(uploads))
    assert counts == counts[:1] * 4
    assert run._program("encode")._cache_size() == run._program("decode")._cache_size() == 1


@pytest.mark.parametrize("shape", [(M + 1,), (3, M - 1), ()])
def test_rows_of_another_width_are_refused_in_one_line(root, shape):
    with pytest.raises(BadInput) as e:
        load_sae(root / "sae").encode(np.zeros(shape))
    assert str(e.value) == f"encode was given an array of shape {list(shape)}: expected [..., {M}]"


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
        train_sae.train_sae(tmp_path / "sae", config)


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
        harvest.harvest(tmp_path / "store", harvest.HarvestRunConfig(0, str(tmp_path / "transformer"), HARVEST))


@pytest.mark.parametrize("stage", ["transformer", "store", "sae"])
def test_a_negative_seed_is_refused_before_anything_is_made(root, tmp_path, stage):
    programs = {
        "transformer": lambda p: train_transformer.train_transformer(
            p, transformer_config(root / "corpus.jsonl", seed=-1)
        ),
        "store": lambda p: harvest.harvest(p, harvest.HarvestRunConfig(-1, str(root / "transformer"), HARVEST)),
        "sae": lambda p: train_sae.train_sae(p, sae_config(root / "rows.npy", seed=-1)),
    }
    with pytest.raises(BadInput, match="seed is -1"):
        programs[stage](tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_activations_that_never_vary_end_in_a_summary(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((200, 4), np.float32))
    summary = train_sae.train_sae(tmp_path / "run", array_config(tmp_path / "rows.npy"))
    assert summary["variance_explained"] is None and load_run(tmp_path / "run").summary == summary


@pytest.mark.parametrize("name", ["transformer", "store", "sae", "array"])
def test_a_finished_run_is_left_as_it_is(root, name, capsys):
    before = {p: p.stat().st_mtime_ns for p in (root / name).rglob("*") if p.is_file() and p.name != ".lock"}
    programs = {
        "transformer": lambda p: train_transformer.train_transformer(p, transformer_config(root / "corpus.jsonl")),
        "store": lambda p: harvest.harvest(p, harvest.HarvestRunConfig(0, str(root / "transformer"), HARVEST)),
        "sae": lambda p: train_sae.train_sae(p, sae_config(root / "store")),
        "array": lambda p: train_sae.train_sae(p, array_config(root / "rows.npy")),
    }
    assert programs[name](root / name) == load_run(root / name).summary
    assert "is finished: nothing to do" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (root / name).rglob("*") if p in before} == before


# On meshes, in parts


@pytest.mark.parametrize("mesh", [(1, 1), (8, 1), (1, 8), (2, 4)], ids=lambda m: f"{m[0]}x{m[1]}")
@pytest.mark.parametrize("name", ["sae", "array"])
def test_the_parameters_of_a_dictionary_are_placed_on_a_mesh_by_the_rules(root, name, mesh):
    run, mesh = load_run(root / name), mesh_of(*mesh)
    found = run.params_on(mesh)
    assert found.keys() == run.params.keys() == {"W_enc", "b_enc", "W_dec", "b_dec"}
    for p, x in found.items():
        assert x.sharding.is_equivalent_to(jax.NamedSharding(mesh, RULES[p]), x.ndim), p
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, run.params[p], rtol=3e-7, atol=0, err_msg=p)
    np.testing.assert_array_equal(found["W_dec"], run.params["W_dec"])


def test_the_parameters_of_a_transformer_are_the_same_on_every_device(root, mesh8):
    run = load_run(root / "transformer")
    found = run.params_on(mesh8)
    assert all(x.sharding.is_fully_replicated and x.sharding.mesh == mesh8 for x in jax.tree.leaves(found))
    jax.tree.map(np.testing.assert_array_equal, found, run.params)


def test_the_step_that_was_asked_for_is_placed(root):
    first, last = (load_run(root / "sae", step=s) for s in (0, None))
    assert np.array_equal(first.params_on(mesh_of(8, 1))["W_enc"], first.params["W_enc"])
    assert not np.array_equal(first.params["W_enc"], last.params["W_enc"])


@pytest.mark.parametrize("step", [None, 0])
@pytest.mark.parametrize("i", [0, 17, F - 1])
def test_a_feature_alone_is_its_part_of_the_parameters(root, i, step):
    run = load_run(root / "sae", step)
    found, p = run.feature(i), run.params
    expected = {"W_enc": p["W_enc"][:, i], "b_enc": p["b_enc"][i], "W_dec": p["W_dec"][i]}
    assert found.keys() == expected.keys() and found["b_enc"].shape == ()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("i", [-1, F, 10**9])
def test_a_feature_that_is_not_there_is_refused_in_one_line(root, i):
    with pytest.raises(BadInput) as e:
        load_run(root / "sae").feature(i)
    assert str(e.value) == f"feature {i} of {root}/sae: expected 0 to {F - 1}"


def test_a_feature_is_read_without_the_other_parameters(root, monkeypatch):
    run = load_run(root / "sae")
    monkeypatch.setattr(SaeRun, "params", property(lambda self: pytest.fail("all parameters are read")))
    assert run.feature(3)["W_dec"].shape == (M,)


def test_the_state_is_all_that_was_trained(root):
    run = load_run(root / "sae")
    found, scale = run.state(), json.loads((root / "sae" / "input.json").read_text())["input_scale"]
    assert found.keys() == {"params", "rest"} and int(found["rest"]["step"]) == 8 and scale != 1
    assert found["rest"].keys() >= {"opt_state", "stats", "key", "hyper", "guard"}
    np.testing.assert_array_equal(found["params"]["W_enc"], run.params["W_enc"])
    np.testing.assert_allclose(found["params"]["b_dec"], run.params["b_dec"] * scale, rtol=1e-6)
    assert int(load_run(root / "sae", step=4).state()["rest"]["step"]) == 4


def test_metrics_are_the_lines_of_the_log(root):
    lines = [json.loads(line) for line in (root / "sae" / "metrics.jsonl").read_text().splitlines()]
    assert load_run(root / "sae").metrics == [{k: v for k, v in line.items() if k != "time"} for line in lines]
    assert {line["step"] for line in lines} == {4, 8} and any("loss" in line for line in lines)
    assert load_run(root / "store").metrics == []


# Every experiment


def made(path: pathlib.Path, experiment: str, parents: dict | None = None, **files) -> pathlib.Path:
    """A run directory that holds just these JSON files."""
    path.mkdir(parents=True)
    record = {"format": FORMAT, "experiment": experiment, "config": {}, "parents": parents or {}}
    for name, value in {"config": record, **files}.items():
        (path / f"{name}.json").write_text(json.dumps(value))
    return path


def test_every_experiment_opens_to_its_kind(tmp_path):
    kinds = {
        "train_transformer": TransformerRun, "harvest": HarvestRun, "train_sae": SaeRun, "import": SaeRun,
        "sweep": SweepRun, "evaluate": EvaluateRun, "analyze": AnalyzeRun, "compare": CompareRun,
        "report": ReportRun, "quickstart": QuickstartRun, "toy_models": ToyRun, "suite": SuiteRun,
        "import_model": ImportedModelRun,
    }  # fmt: skip
    assert kinds == KINDS
    for experiment, kind in {**kinds, "of tomorrow": LoadedRun}.items():
        run = load_run(made(tmp_path / experiment, experiment))
        assert type(run) is kind and run.experiment == experiment and run.summary is None
        assert (run.steps, run.metrics, run.config) == ([], [], {})
        assert repr(run) == f"<{experiment} run '{tmp_path}/{experiment}', steps []>"


TYPED = {
    load_transformer: "train_transformer or import_model",
    load_store: "harvest", load_sae: "train_sae or import", load_sweep: "sweep",
    load_evaluation: "evaluate", load_analysis: "analyze", load_report: "report", load_quickstart: "quickstart",
    load_comparison: "compare", load_toy_models: "toy_models", load_suite: "suite",
}  # fmt: skip


@pytest.mark.parametrize("load", TYPED)
def test_a_typed_loader_opens_its_experiment_and_refuses_the_others_in_one_line(tmp_path, load):
    for experiment, kind in KINDS.items():
        path = made(tmp_path / experiment, experiment)
        if experiment in TYPED[load].split(" or "):
            assert type(load(path)) is kind
        else:
            with pytest.raises(BadInput) as e:
                load(path)
            assert str(e.value) == f"{path} is the run directory of {experiment}: expected one of {TYPED[load]}"


def test_a_typed_loader_is_annotated_with_the_class_that_it_returns():
    for load, experiment in TYPED.items():
        assert typing.get_type_hints(load)["return"] is KINDS[experiment.split(" or ")[0]]


def test_an_evaluation_has_its_figures_and_its_dictionary(root, tmp_path):
    config = evaluate.EvaluateRunConfig(str(root / "sae"), evaluate=EvaluateConfig(contexts=8))
    summary = evaluate.evaluate(tmp_path / "evaluation", config)
    run = load_run(tmp_path / "evaluation")
    assert run.summary == summary and run.summary["l0"] > 0
    assert run.density.shape == (F,) and run.density.sum() > 0 and run.density.max() <= 1
    assert run.dictionary.path.resolve() == root / "sae" and type(run.dictionary) is SaeRun
    assert run.transformer.path.resolve() == root / "transformer"
    assert run.tokenizer.get_vocab_size() == run.transformer.text.manifest["vocab_size"]


def test_an_analysis_has_features_categories_and_the_density(root, tmp_path):
    features, categories = [{"feature": 3, "density": 0.1}], [{"label": "a"}]
    record = {"run": {"path": str(root / "sae"), "relative": "../sae"}}
    run = load_run(made(tmp_path / "analysis", "analyze", record, features=features, categories=categories))
    np.save(tmp_path / "analysis" / "density.npy", np.full(F, 0.25))
    assert (run.features, run.categories) == (features, categories)
    assert np.array_equal(run.density, np.full(F, 0.25)) and run.dictionary.path == root / "sae"


def test_a_report_has_its_page(tmp_path):
    assert load_run(made(tmp_path / "report", "report")).page == tmp_path / "report" / "index.html"


def test_an_import_is_a_dictionary(root, tmp_path):
    path = shutil.copytree(root / "array", tmp_path / "import")
    record = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**record, "experiment": "import"}))
    found, expected = load_run(path), load_run(root / "array")
    assert found.experiment == "import" and np.array_equal(found.encode(np.ones(M)), expected.encode(np.ones(M)))
    assert found.published and not expected.published  # early imports do not say it


def test_a_quickstart_has_the_stages_that_were_begun(tmp_path):
    made(tmp_path / "quick", "quickstart")
    assert load_run(tmp_path / "quick").stages == {}
    made(tmp_path / "quick" / "transformer", "train_transformer")
    made(tmp_path / "quick" / "sae", "train_sae")
    (tmp_path / "quick" / "report").mkdir()
    found = load_run(tmp_path / "quick").stages
    assert {name: type(run) for name, run in found.items()} == {"sae": SaeRun, "transformer": TransformerRun}


def test_a_sweep_has_the_members_that_have_checkpoints_and_its_table_at_the_end(root, tmp_path):
    path = made(tmp_path / "sweep", "sweep")
    for name in ("a", "b"):
        shutil.copytree(root / "array", path / "members" / name)
    made(path / "members" / "c", "train_sae")
    run = load_run(path, step=4)
    assert sorted(run.members) == ["a", "b"] and run.table is None
    expected = load_run(root / "array", step=4).params["W_enc"]
    assert all(np.array_equal(member.params["W_enc"], expected) for member in run.members.values())
    (path / "summary.json").write_text(json.dumps({"members": [{"name": "a"}]}))
    assert run.table == [{"name": "a"}]


# What is not read, or cannot be


@pytest.fixture
def broken(root, tmp_path) -> pathlib.Path:
    """A dictionary of whose checkpoints nothing is left but their names."""
    path = shutil.copytree(root / "sae", tmp_path / "sae")
    for p in (path / "checkpoints").rglob("*"):
        if p.is_file():
            p.write_bytes(b"nothing")
    return path


def test_checkpoints_are_read_only_when_they_are_asked_for(broken):
    run = load_run(broken)
    assert run.steps == [0, 4, 8] and run.config["sae"]["n_features"] == F and run.summary["n_features"] == F
    assert len(run.metrics) > 1 and run.site == "mlp_hidden.0" and "steps [0, 4, 8]" in repr(run)
    assert load_run(broken, step=4).steps == [0, 4, 8]


ASKED = {
    "params": lambda run: run.params,
    "params on a mesh": lambda run: run.params_on(mesh_of(2, 4)),
    "feature": lambda run: run.feature(3),
    "state": lambda run: run.state(),
    "encode": lambda run: run.encode(np.zeros(M)),
}


@pytest.mark.parametrize("what", ASKED)
def test_checkpoints_that_cannot_be_read_are_named_in_one_line(broken, what):
    with pytest.raises(BadInput, match=r"checkpoint .*/checkpoints/[08]\b.* cannot be read") as e:
        ASKED[what](load_run(broken))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("what", ASKED)
def test_a_run_without_a_checkpoint_says_so(root, tmp_path, what):
    path = shutil.copytree(root / "sae", tmp_path / "sae", ignore=lambda folder, names: {"checkpoints"} & {*names})
    with pytest.raises(BadInput, match=rf"{path}.* (holds no checkpoint|does not hold a step: it holds none)"):
        ASKED[what](load_run(path))


def test_a_directory_of_a_newer_version_is_refused_in_one_line(root, tmp_path):
    path = shutil.copytree(root / "store", tmp_path / "store")
    record = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**record, "format": FORMAT + 1}))
    with pytest.raises(NewerFormat) as e:
        load_run(path)
    told = f"has format {FORMAT + 1}, this version reads up to {FORMAT}: upgrade monosem_jax"
    assert str(e.value) == f"{path} {told}"


@pytest.mark.parametrize("what", ASKED)
def test_a_checkpoint_of_a_newer_version_is_refused_in_one_line(root, tmp_path, what):
    path = shutil.copytree(root / "sae", tmp_path / "sae")
    for file in (path / "checkpoints").glob("*/_CHECKPOINT_METADATA"):
        noted = json.loads(file.read_text())
        noted["custom_metadata"]["format"] = FORMAT + 1
        file.write_text(json.dumps(noted))
    with pytest.raises(NewerFormat, match=rf"checkpoints/8 has format {FORMAT + 1}, .* upgrade monosem_jax$"):
        ASKED[what](load_run(path))


def test_a_path_where_nothing_is_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere is not a run directory: it holds no config\.json"):
        load_run(tmp_path / "nowhere")


def test_a_transformer_that_is_gone_is_named(root, tmp_path):
    shutil.copytree(root / "sae", tmp_path / "sae")
    record = json.loads((tmp_path / "sae" / "config.json").read_text())
    record["parents"]["transformer"] |= {"path": "/nowhere", "relative": "../nowhere"}
    (tmp_path / "sae" / "config.json").write_text(json.dumps(record))
    with pytest.raises(BadInput, match="was made from /nowhere, which does not exist any more or has changed"):
        _ = load_run(tmp_path / "sae").transformer
