"""A pretrained model as the transformer of later stages, with glassllm's, whose own NumPy code is the reference."""

import dataclasses
import json

import numpy as np
import pytest
from glassllm.model import GlassLM

import monosem_jax as mj
from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.models.run import open_transformer
from monosem_jax.models.weights.packaged import find_packaged
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import stream
from monosem_jax.stages.quickstart import PretrainedQuickstartConfig, quickstart_pretrained
from monosem_jax.text.pack import TextConfig

WORDS = "the of and to king said his hand lord night was good man in that with sweet love not what come away"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    draws = stream("tests.import_model", 0)
    file = tmp_path_factory.mktemp("text") / "text.jsonl"
    lines = [{"text": " ".join(draws.choice(WORDS.split(), 120)) + ".\n", "label": "ab"[i % 2]} for i in range(60)]
    file.write_text("\n".join(map(json.dumps, lines)))
    return str(file)


def settings(corpus, **changes):
    text = TextConfig(corpus=corpus, heldout_fraction=0.2, validation_fraction=0.1)
    return dataclasses.replace(
        mj.ImportModelConfig(model="glassllm", text=text, context_length=24, evaluate_contexts=8), **changes
    )


@pytest.fixture(scope="module")
def imported(tmp_path_factory, corpus):
    path = tmp_path_factory.mktemp("runs") / "glass"
    mj.import_model(path, settings(corpus))
    return path


def reference(tokens):
    return GlassLM.load(find_packaged("glassllm"))(np.asarray(tokens)).data.astype(np.float64)


def test_its_logits_and_its_loss_are_those_of_the_published_code(imported):
    run = mj.load_transformer(imported)
    tokens = np.asarray(run.text.tokens("heldout"))
    tokens = tokens[np.linspace(0, len(tokens) - 1, 8).astype(int)]
    logits = reference(tokens)
    np.testing.assert_allclose(run.logits(tokens), logits, atol=1e-4)
    chosen = np.take_along_axis(logits[:, :-1], tokens[:, 1:, None].astype(int), -1)[..., 0]
    loss = np.log(np.exp(logits[:, :-1]).sum(-1)) - chosen
    assert run.summary["heldout_loss"] == pytest.approx(loss.mean(), rel=1e-5)
    assert run.summary["heldout_tokens"] == loss.size
    with np.load(find_packaged("glassllm")) as arrays:
        assert run.summary["parameters"] == sum(a.size for name, a in arrays.items() if name != "__config__")


def test_its_text_is_read_with_its_own_tokenizer_and_no_weight_is_copied(imported):
    run = mj.load_transformer(imported)
    assert run.text.tokenizer.decode(run.text.tokens("train")[0, 1:].tolist()).split()[1] in WORDS.split()
    assert run.text.bos == 2 and run.text.labels[:2] == ["a", "b"]
    assert {p.suffix for p in imported.rglob("*") if p.is_file() and p.stat().st_size > 200_000} <= {".npy"}
    assert mj.load_model(imported).config == run.model.config


def test_a_finished_import_is_left_as_it_is_and_another_configuration_is_refused(imported, corpus):
    before = (imported / "summary.json").read_bytes()
    mj.import_model(imported, settings(corpus))
    assert (imported / "summary.json").read_bytes() == before
    with pytest.raises(BadInput, match="context_length: 24 -> 32"):
        mj.import_model(imported, settings(corpus, context_length=32))


def test_weights_that_have_changed_since_are_refused(imported, tmp_path, corpus):
    copy = tmp_path / "model.npz"
    copy.write_bytes(find_packaged("glassllm").read_bytes())
    (tmp_path / "model.tokenizer.json").write_bytes(
        find_packaged("glassllm").with_suffix(".tokenizer.json").read_bytes()
    )
    mj.import_model(tmp_path / "run", settings(corpus, model=str(copy)))
    copy.write_bytes(find_packaged("glassllm-pt").read_bytes())
    with pytest.raises(BadInput, match="has changed since"):
        _ = mj.load_transformer(tmp_path / "run").params


def test_a_stage_that_is_given_the_model_itself_imports_it_first(imported, tmp_path, corpus):
    harvest = HarvestConfig(site="blocks.1.hook_resid_post", rows_per_context=8, n_rows=8 * 40)
    own = mj.HarvestRunConfig(transformer="glassllm", harvest=harvest, model_text=corpus)
    mj.harvest(tmp_path / "direct", own)
    mj.harvest(tmp_path / "direct", own)  # finds it finished
    store = mj.load_store(tmp_path / "direct")
    assert store.transformer.path == tmp_path / "direct" / "model"
    assert json.loads((tmp_path / "direct" / "store.json").read_text())["site"] == "resid_post.1"
    with pytest.raises(BadInput, match=r"config\.model_text is .*a run directory has a text of its own"):
        mj.harvest(tmp_path / "x", dataclasses.replace(own, transformer=str(imported)))
    with pytest.raises(BadInput, match="glassllm is a model without a text: expected the run directory that experim"):
        open_transformer("glassllm")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "config.model is empty: expected a model's directory or file"),
        ({"model": "nowhere/at/all"}, "nowhere/at/all does not exist: expected"),
        ({"context_length": 4096}, "config.context_length is 4096: the model was trained on contexts of at most 128"),
        ({"context_length": 1}, "context_length is 1: expected 2 or more"),
        ({"text": TextConfig(tokenizer="x.json")}, "a pretrained model reads with its own tokenizer"),
    ],
)
def test_impossible_settings_are_refused_in_one_line_before_anything_is_made(tmp_path, corpus, changes, message):
    with pytest.raises(BadInput) as e:
        mj.import_model(tmp_path / "run", settings(corpus, **changes))
    assert message in str(e.value) and "\n" not in str(e.value)
    assert not (tmp_path / "run").exists()


def test_the_quickstart_runs_every_stage_on_a_pretrained_model(tmp_path, corpus):
    from experiments import config_files

    start = config_files.load("pretrained")
    assert isinstance(start, PretrainedQuickstartConfig)
    train = dataclasses.replace(
        start.sae.train, steps=20, batch_size=64, checkpoint_every=20, steps_per_dispatch=10,
        schedule=dataclasses.replace(start.sae.train.schedule, warmup_steps=5),
    )  # fmt: skip
    sae = dataclasses.replace(
        start.sae, sae=dataclasses.replace(start.sae.sae, n_features=96, k=8, dead_rows=400), train=train,
        evaluate=dataclasses.replace(start.sae.evaluate, contexts=8),
    )  # fmt: skip
    analyze = dataclasses.replace(
        start.analyze, training_contexts=32, heldout_contexts=16, n_features=8, random_directions=0,
        without=("judge", "effects", "probes", "sources", "tokens_in_context"),
    )  # fmt: skip
    harvest = dataclasses.replace(start.harvest, rows_per_context=20, n_rows=20 * 60)
    config = PretrainedQuickstartConfig(settings(corpus), harvest, sae, analyze)
    summary = quickstart_pretrained(tmp_path / "quick", config)
    assert list(summary["stages"]) == ["transformer", "store", "sae", "analysis", "report"]
    assert mj.load_store(tmp_path / "quick" / "store").summary["site"] == "resid_post.2"
    assert summary["stages"]["sae"]["ce_intact"] < summary["stages"]["sae"]["ce_zero_ablation"]
    assert (tmp_path / "quick" / "report" / "index.html").exists()
    assert quickstart_pretrained(tmp_path / "quick", config) == summary
