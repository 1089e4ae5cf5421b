"""Published folders where a run directory is expected, and the transformer that they are for."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.analysis.effects.hold import hold
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.interop.model_names import HUB, hub_name, location_of
from monosem_jax.interop.readers import read_folder
from monosem_jax.load import feature_set
from monosem_jax.models.base import token_losses
from monosem_jax.models.run import ImportedModelRun
from monosem_jax.report.browser.tokenizer import NotServed
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages import analyze, compare, evaluate
from monosem_jax.stages.browser_model import served_model
from monosem_jax.stages.export import ExportConfig, export
from monosem_jax.stages.published import checked_site
from tests.activations.sources.tiny import F, M
from tests.interop.small import SITE, write_folder

HERE = pathlib.Path(__file__).parent / "published"
FEW = EvaluateConfig(contexts=8, batch_contexts=8)
HOOK = "blocks.0.mlp.hook_post"


def folder_of(path: pathlib.Path, width: int = M, hook: str | None = HOOK, **cfg) -> pathlib.Path:
    """A folder of SAELens for the tiny transformer, with features that fire."""
    rng = np.random.default_rng(1)
    params = {"W_enc": rng.standard_normal((width, F)), "b_enc": rng.standard_normal(F) / 4,
              "W_dec": rng.standard_normal((F, width)) / 4, "b_dec": rng.standard_normal(width) / 4}  # fmt: skip
    metadata = {"sae_lens_version": "6.54.12", "hook_name": hook, "model_name": cfg.pop("model_name", "tiny")}
    return write_folder(path, {n: p.astype(np.float32) for n, p in params.items()}, metadata=metadata, **cfg)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return folder_of(tmp_path_factory.mktemp("published") / "theirs", normalize_activations="layer_norm")


def evaluated(workdir: pathlib.Path, run: pathlib.Path, transformer: str = "", **more):
    config = evaluate.EvaluateRunConfig(run=str(run), transformer=transformer, evaluate=FEW, **more)
    return evaluate.evaluate(workdir, config)


def test_a_folder_is_evaluated_where_a_run_is_expected(root, folder, tmp_path):
    model = str(root / "transformer")
    found = evaluated(tmp_path / "direct", folder, model)
    imported = SaeRun(tmp_path / "direct" / "dictionary")
    assert imported.experiment == "import" and imported.site == SITE and imported.sae.rows == "layer_norm"
    assert imported.transformer.path.samefile(model) and imported.summary == {"n_features": F}
    export(tmp_path / "run", ExportConfig(source=str(folder), transformer=model, evaluate=FEW))
    by_import = mj.load_sae(tmp_path / "run").summary
    assert found["l0"] == by_import["l0"] > 0 and found["mse"] == by_import["mse"]
    assert evaluated(tmp_path / "direct", folder, model) == found  # once more: it is finished
    x = np.random.default_rng(0).standard_normal((3, M)).astype(np.float32)
    np.testing.assert_array_equal(imported.encode(x), mj.load_sae(folder).encode(x))
    np.testing.assert_array_equal(
        imported.decode(imported.encode(x), x), mj.load_sae(folder).decode(imported.encode(x), x)
    )
    np.testing.assert_array_equal(imported.feature(3)["W_enc"], mj.load_sae(folder).feature(3)["W_enc"])


def test_a_folder_is_analyzed(root, folder, tmp_path, capsys):
    few = {"n_features": 4, "training_contexts": 16, "random_directions": 0, "without": ("judge", "probes")}
    config = analyze.AnalyzeRunConfig(run=str(folder), transformer=str(root / "transformer"), **few)
    assert analyze.analyze(tmp_path / "analysis", config)["scanned_tokens"] > 0
    table = (tmp_path / "analysis" / "evidence.md").read_text()
    assert (
        "affine: each row is normalised (layer_norm), so no feature is linear in activations" in capsys.readouterr().out
    )
    assert "|" in table and (tmp_path / "analysis" / "records").is_dir()
    with pytest.raises(NotServed, match=r"the page does not normalise single rows \(layer_norm\), as this dictionary"):
        served_model(SaeRun(tmp_path / "analysis" / "dictionary"))


def test_holding_a_feature_moves_each_row_by_the_scale_of_the_row(root, folder, tmp_path):
    """The reference splices the difference of two reconstructions into the model."""
    export(tmp_path / "run", ExportConfig(source=str(folder), transformer=str(root / "transformer"), evaluate=FEW))
    run = mj.load_sae(tmp_path / "run")
    features, tokens = feature_set(run), np.asarray(run.transformer.text.tokens("heldout"))[:2]
    found = hold(features, tokens, [0, 1], [3, 5], [0.0, 2.0])
    tapped = features.tapped
    carry, rows = tapped.cut(jnp.asarray(tokens))
    f = np.asarray(features.encoder.encode(rows))
    for i, (context, feature, value) in enumerate([(0, 3, 0.0), (1, 5, 2.0)]):
        held = f.copy()
        held[context, :, feature] = np.where(tokens[context] == tapped.bos, f[context, :, feature], value)
        change = features.encoder.decode(held, rows) - features.encoder.decode(f, rows)
        assert np.abs(np.asarray(change)).max() > 0.1
        losses = [
            token_losses(
                tapped.model.apply({"params": tapped.params}, carry, acts, SITE, method=tapped.model.from_acts), tokens
            )
            for acts in (rows, rows + change)
        ]
        expected = np.asarray(losses[1] - losses[0])[context]
        np.testing.assert_allclose(found.loss_change[i], expected, atol=1e-5)
        assert np.abs(expected).max() > 1e-4


def test_a_folder_can_be_written_in_another_format(tmp_path):
    source = HERE / "dictionary_learning_GatedAutoEncoder"
    export(source, ExportConfig("saelens", str(tmp_path / "out")))
    ours, theirs = mj.load_sae(source), mj.load_sae(tmp_path / "out")
    assert theirs.site == ours.site == "resid_post.3" and theirs.dictionary.architecture == "gated"
    for name, value in ours.params.items():
        np.testing.assert_array_equal(theirs.params[name], value)
    normalised = HERE / "openai" / "resid_post_mlp_v5_32k" / "autoencoders"
    export(normalised, ExportConfig("saelens", str(tmp_path / "again")))
    assert json.loads((tmp_path / "again" / "cfg.json").read_text())["normalize_activations"] == "layer_norm"
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    np.testing.assert_array_equal(mj.load_sae(tmp_path / "again").encode(x), mj.load_sae(normalised).encode(x))
    with pytest.raises(BadInput, match=r"dictionary_learning has no normalisation of single rows.*\(layer_norm\)"):
        export(normalised, ExportConfig("dictionary_learning", str(tmp_path / "no")))


def test_the_model_that_a_folder_names_is_taken(root, folder, tmp_path, capsys, monkeypatch):
    """As if it were on the hub."""
    monkeypatch.setattr("monosem_jax.stages.published.location_of", lambda name: str(root / name))
    monkeypatch.setattr("monosem_jax.stages.published.open_pretrained", lambda location: None)
    named = folder_of(tmp_path / "named", model_name="transformer")
    assert evaluated(tmp_path / "eval", named)["l0"] > 0
    assert f"{named} explains activations of transformer: {root / 'transformer'}" in capsys.readouterr().out
    assert SaeRun(tmp_path / "eval" / "dictionary").transformer.path.samefile(root / "transformer")


def refused(work, message: str) -> None:
    with pytest.raises(BadInput) as e:
        work()
    assert message in str(e.value) and "\n" not in str(e.value), str(e.value)


def test_what_is_lacking_is_said_in_one_line(root, folder, tmp_path, monkeypatch):
    unknown = folder_of(tmp_path / "unknown", model_name=None)
    refused(
        lambda: evaluated(tmp_path / "a", unknown),
        "explains activations of a model that it does not name at mlp_hidden.0: give config.transformer, a directory",
    )
    where = "monosem_jax.stages.published.open_pretrained"
    monkeypatch.setattr(where, lambda location: (_ for _ in ()).throw(BadInput(f"no {location}")))
    refused(
        lambda: evaluated(tmp_path / "a", folder_of(tmp_path / "gpt2", model_name="gpt2-small")),
        "explains activations of gpt2-small at mlp_hidden.0 (on the hub it is hub:openai-community/gpt2): give "
        "config.transformer, a directory or file of that model, or a run of it; no hub:openai-community/gpt2",
    )
    model = str(root / "transformer")
    for more in ({"transformer": model}, {"site": SITE}):
        refused(
            lambda more=more: evaluated(tmp_path / "b", root / "sae", **more), "which is not a published dictionary"
        )
    narrow = folder_of(tmp_path / "narrow", width=M - 1)
    refused(lambda: evaluated(tmp_path / "d", narrow, model), f"for activations of width {M - 1}, but {SITE} of")
    refused(lambda: evaluated(tmp_path / "e", folder, model, site="mlp_hidden.3"), "N from 0 to 0")
    refused(lambda: evaluated(tmp_path / "f", folder, model, site="blocks.0.attn.hook_pattern"), "is no site of ours")
    nowhere = folder_of(tmp_path / "nowhere", hook=None)
    refused(lambda: evaluated(tmp_path / "g", nowhere, model), "does not say which site it explains: give --site")
    assert evaluated(tmp_path / "g", nowhere, model, site=HOOK)["l0"] > 0
    several = f"{SITE}+mlp_out.0"
    refused(lambda: evaluated(tmp_path / "h", folder, model, site=several), "is a dictionary of one site")
    config = compare.CompareRunConfig(runs=f"{folder},{root / 'sae'}")
    refused(
        lambda: compare.compare(tmp_path / "i", config), "is a published dictionary without its model: make a run of it"
    )
    with pytest.raises(BadInput, match="holds no checkpoint of step 3"):
        mj.load_run(folder, 3)
    with pytest.raises(BadInput, match="has no checkpoints"):
        mj.load_sae(folder).state()


def test_names_of_models_are_those_of_the_hub():
    assert hub_name("gpt2-small") == "openai-community/gpt2" and hub_name("gemma-2-2b") == "google/gemma-2-2b"
    assert (
        hub_name("pythia-70m-deduped") == hub_name("EleutherAI/pythia-70m-deduped") == "EleutherAI/pythia-70m-deduped"
    )
    assert hub_name("qwen3-1.7b") == "Qwen/Qwen3-1.7B" and hub_name("me/model") == "me/model"
    assert [hub_name(name) for name in (None, "transformer", "runs/a/b", "/a/b", "./b")] == [None] * 5
    assert location_of("SmolLM2-135M-Instruct") == "smollm2" and location_of("gpt2") == "hub:openai-community/gpt2"
    assert location_of("transformer") is None
    assert all(name == name.lower() and place.count("/") == 1 for name, place in HUB.items())


def imported_model(model: str) -> ImportedModelRun:
    """A directory of import_model of which nothing but the name of the model is known."""
    run = object.__new__(ImportedModelRun)
    run.path, run.config, run.model = pathlib.Path("runs/model"), {"model": model}, None
    return run


@pytest.mark.parametrize("model", ["hub:google/gemma-2-2b@main", "/models/gemma-2-2b"])
def test_a_dictionary_of_another_model_is_refused(model):
    found = read_folder(HERE / "saelens_v2")
    refused(
        lambda: checked_site("theirs", found, imported_model(model)),
        "theirs is for gpt2-small (hub:openai-community/gpt2), but runs/model is hub:google/gemma-2-2b",
    )
    gemma = read_folder(HERE / "gemma-scope-2b-pt-res" / "layer_12" / "width_16k" / "average_l0_71")
    with pytest.raises(AttributeError):  # it goes on to look at the model's sites
        checked_site("theirs", gemma, imported_model(model))
