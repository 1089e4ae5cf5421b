"""An imported model wherever a run is used: its parameters go from the files to the devices, and the host holds at most
what is looked at."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.online import OnlineConfig, OnlineStream
from monosem_jax.analysis.examples import ExampleText
from monosem_jax.analysis.feature_sets import neurons
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.analysis.metrics import activation_moments
from monosem_jax.models.pretrained import Pretrained
from monosem_jax.models.run import ImportedModelRun, open_transformer
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.unread import Unread
from monosem_jax.stages.harvest import HarvestRunConfig, open_harvest_job
from monosem_jax.stages.import_model import ImportModelConfig, import_model
from monosem_jax.text.pack import TextConfig
from tests.conftest import mesh_of, write_words
from tests.models.small import LLAMA, write_model

SITE, T = "mlp_hidden.1", 12
WORDS = ["<bos>", "the", "cat", "dog", "sat", "on", "mat", "and", "ran", "to", "me"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The directory of an imported model of two layers."""
    root = tmp_path_factory.mktemp("imported")
    write_model(root / "model", LLAMA)
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<bos>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["<bos>"])
    made.save(str(root / "model" / "tokenizer.json"))
    write_words(root / "words.jsonl")
    config = ImportModelConfig(
        model=str(root / "model"), text=TextConfig(corpus=str(root / "words.jsonl")), context_length=T,
        evaluate_contexts=4,
    )  # fmt: skip
    import_model(root / "run", config)
    return root / "run"


@pytest.fixture
def opened(path, monkeypatch):
    """(the run, what is read from now on)."""
    read: list[str] = []
    params = Pretrained.params

    def noted(self, mesh=None, *args, under="", **options):
        where = "devices" if mesh is not None or "put" in options else "the host"
        read.append(f"{under or 'all'} to {where}")
        return params(self, mesh, *args, under=under, **options)

    monkeypatch.setattr(Pretrained, "params", noted)
    return open_transformer(str(path)), read


def test_a_run_gives_its_weights_unread(opened):
    run, read = opened
    tapped = run.tapped(SITE)
    assert isinstance(run, ImportedModelRun) and isinstance(tapped.params, Unread) and not read
    assert tapped.params is run.tapped("resid_pre.0").params
    tokens = np.asarray(run.text.tokens("heldout"))[:8]
    logits = run.logits(tokens)
    assert read == ["all to devices"]
    np.testing.assert_allclose(logits, run.model.apply({"params": run.params}, tokens), atol=1e-5)


def test_on_a_mesh_the_host_never_holds_the_model(opened):
    run, read = opened
    tokens = np.asarray(run.text.tokens("heldout"))[:16]
    mean, variance = activation_moments(run.tapped(SITE).on(mesh_of(2, 4)), tokens, 8, mesh_of(2, 4))
    assert read == ["all to devices"]
    alone = activation_moments(TappedModel(run.model, run.params, SITE, run.text.bos).on(None), tokens, 8)
    np.testing.assert_allclose(mean, alone[0], atol=1e-6)
    np.testing.assert_allclose(variance, alone[1], atol=1e-6)


def test_rows_made_online_come_from_a_model_that_is_divided(opened):
    run, read = opened

    def rows(mesh):
        config = OnlineConfig(SITE, 5, buffer_rows=160, batch_contexts=16, dtype="float32")
        stream = OnlineStream(
            run.model, run.weights, run.text.tokens("train"), bos=run.text.bos, config=config, batch_size=16, seed=0,
            mesh=mesh,
        )  # fmt: skip
        kernel = stream._params["blocks_0"]["down"]["kernel"]
        assert kernel.addressable_shards[0].data.shape == (48 // mesh.shape["model"], 32)
        return np.asarray(stream(0, 2))

    divided, alone = rows(mesh_of(2, 4)), rows(mesh_of(1, 1))
    assert read == ["all to devices"] * 2
    np.testing.assert_allclose(divided, alone, atol=1e-5)


def test_a_harvest_reads_onto_its_devices(opened, path):
    _, read = opened
    harvest = HarvestConfig(site=SITE, rows_per_context=5, n_rows=100, batch_contexts=1)
    job = open_harvest_job(HarvestRunConfig(transformer=str(path), harvest=harvest))
    assert read == ["all to devices"]
    first = next(iter(job.made.batches(0, 5)))
    assert first[0] == 0 and np.isfinite(np.asarray(first[1][0], np.float32)).all()


def test_logit_weights_read_the_blocks_that_they_need(opened):
    run, read = opened
    features = neurons(run.tapped(SITE), "neurons")
    logit_weights(features.tapped, SITE, features.effect_directions[:4])
    assert set(read) == {"blocks_1 to the host", "ln_final to the host", "unembed to the host"}
    assert jax.tree.leaves(features.tapped.content)[0].dtype == np.uint8


def test_tokens_that_the_tokenizer_lacks_have_an_empty_text(opened):
    run, _ = opened
    strings = ExampleText.of(run.text, "heldout", run.model.config.vocab_size).strings
    assert list(strings[:3]) == ["<bos>", " the", " cat"] and len(strings) == 96 and set(strings[11:]) == {""}
    assert len(ExampleText.of(run.text, "heldout").strings) == 11
