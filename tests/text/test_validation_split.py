"""The validation split: which documents it has, that the held-out ones stay the same, and directories without one."""

import dataclasses
import json

import numpy as np
import pytest

from monosem_jax.activations.online import OnlineConfig
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json
from monosem_jax.stages import evaluate, sweep, train_sae, train_transformer
from monosem_jax.text.corpus import Document, read_corpus, split_heldout, split_validation
from monosem_jax.text.directory import Text
from monosem_jax.text.pack import TextConfig, prepare_text
from monosem_jax.training.config import TrainConfig

LENGTH = 16
LOOP = TrainConfig(steps=2, batch_size=8, steps_per_dispatch=1, checkpoint_every=1, log_every=1, evaluate_every=1)


def documents(**labels: int) -> list[Document]:
    return [Document(f"{label} {i}", label, str(i)) for label, n in labels.items() for i in range(n)]


def drawn(docs: list[Document], fraction: float, seed: int = 0, heldout: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    held = split_heldout(docs, heldout, seed)
    return held, split_validation(docs, held, fraction, seed)


def test_every_label_gives_the_same_share_of_all_its_documents_and_none_that_is_held_out():
    docs = documents(a=200, b=100, c=4, d=1)
    heldout, validation = drawn(docs, 0.05)
    count = {label: sum(validation[i] for i, d in enumerate(docs) if d.label == label) for label in "abcd"}
    assert (count["a"], count["b"], count["c"]) == (10, 5, 1)
    assert not (heldout & validation).any()


@pytest.mark.parametrize("seed", range(3))
def test_equal_texts_lie_in_one_split(seed):
    docs = [Document(f"text {i // 4}", "ab"[i % 2], str(i)) for i in range(400)]
    heldout, validation = drawn(docs, 0.1, seed)
    sides = [{d.text for d, m in zip(docs, mask, strict=True) if m} for mask in (heldout, validation)]
    sides.append({d.text for d, m in zip(docs, heldout | validation, strict=True) if not m})
    assert validation.sum() == 40 and len(set.union(*sides)) == sum(map(len, sides))


def test_another_seed_draws_other_documents_and_the_same_seed_the_same():
    docs = documents(a=200)
    heldout = split_heldout(docs, 0.1, 0)
    first, again, other = (split_validation(docs, heldout, 0.1, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_the_fraction_zero_draws_none():
    assert not drawn(documents(a=50), 0.0)[1].any()


def test_the_last_training_document_is_not_drawn():
    with pytest.raises(BadInput, match=r"2 documents and validation_fraction 0\.5 leave none to train on"):
        drawn(documents(a=2), 0.5, heldout=0.5)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("corpus") / "c.jsonl"
    rng = np.random.default_rng(0)
    words = ["the", "cat", "dog", "sat", "on", "mat", "and", "ran", "to", "me"]
    texts = [" ".join(rng.choice(words, 40)) for _ in range(60)]
    path.write_text("\n".join(json.dumps({"text": t, "label": "ab"[i % 2]}) for i, t in enumerate(texts)))
    return str(path)


def config(corpus: str, **changes) -> TextConfig:
    return TextConfig(**{"corpus": corpus, "vocab_size": 280, "heldout_fraction": 0.1, **changes})


def test_the_heldout_documents_are_those_of_a_text_without_validation(corpus, tmp_path):
    with_it = prepare_text(tmp_path / "with", config(corpus, validation_fraction=0.2), LENGTH, seed=0)
    without = prepare_text(tmp_path / "without", config(corpus, validation_fraction=0.0), LENGTH, seed=0)
    assert without.splits == ("train", "heldout") and not list(without.path.glob("validation*"))
    held = [list(dict.fromkeys(t.documents("heldout").ravel().tolist())) for t in (with_it, without)]
    assert held[0] == held[1] and with_it.manifest["splits"]["validation"]["documents"] == 12
    docs = read_corpus(corpus)
    expected = np.flatnonzero(split_validation(docs, split_heldout(docs, 0.1, 0), 0.2, 0))
    assert set(with_it.documents("validation").ravel().tolist()) <= set(expected.tolist())


def test_the_tokenizer_is_not_trained_on_validation_documents(tmp_path):
    lines = [json.dumps({"text": f"{word} " * 60, "label": word[:1]}) for word in ["qaqaqa", "zbzbzb", "ycycyc"] * 2]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    given = config(str(tmp_path / "c.jsonl"), heldout_fraction=0.3, validation_fraction=0.3)
    text = prepare_text(tmp_path / "text", given, LENGTH, seed=0)
    for split, n_tokens in (("train", 1), ("validation", 6), ("heldout", 6)):
        for d in set(text.documents(split).ravel().tolist()):
            assert len(text.tokenizer.encode(["qaqaqa", "zbzbzb", "ycycyc"][d % 3]).ids) == n_tokens


def test_validation_documents_of_less_than_a_context_are_trained_on_and_a_line_says_so(corpus, tmp_path, capsys):
    text = prepare_text(tmp_path / "text", config(corpus, validation_fraction=0.04), 200, seed=0)
    assert text.splits == ("train", "heldout") and text.manifest["splits"]["train"]["documents"] == 54
    assert "smaller than one context of 200: 2 documents trained on instead" in capsys.readouterr().out
    assert text.manifest["input"]["validation_documents_trained_on"] == 2


def made_earlier(path) -> None:
    """Makes a text directory look as earlier versions left it."""
    for file in path.glob("validation_*"):
        file.unlink()
    manifest = read_json(path / "text.json")
    del manifest["splits"]["validation"]
    (path / "text.json").write_text(json.dumps(manifest))


def test_a_directory_of_an_earlier_version_is_read_as_before_and_has_no_validation_split(corpus, tmp_path):
    before = prepare_text(tmp_path / "text", config(corpus), LENGTH, seed=0)
    train = np.array(before.tokens("train"))
    made_earlier(before.path)
    text = prepare_text(tmp_path / "text", config(corpus), LENGTH, seed=0)
    np.testing.assert_array_equal(text.tokens("train"), train)
    for read in (text.tokens, text.documents, text.check_split):
        with pytest.raises(BadInput, match=r"text has no validation split, only train and heldout: .* earlier version"):
            read("validation")
    with pytest.raises(BadInput, match="the split is 'test': expected"):
        text.tokens("test")


@pytest.mark.parametrize("splits", [{}, {"splits": {"train": {}, "heldout": {}}}])
def test_the_splits_of_earlier_manifests(tmp_path, splits):
    (tmp_path / "text.json").write_text(json.dumps({"bos": 0, "vocab_size": 2, **splits}))
    assert Text(tmp_path).splits == ("train", "heldout")


@pytest.fixture(scope="module")
def folder(corpus, tmp_path_factory):
    """A transformer, whose text has a validation split, and a dictionary of it."""
    folder = tmp_path_factory.mktemp("runs")
    train_transformer.train_transformer(folder / "tf", transformer_config(corpus))
    train_sae.train_sae(folder / "sae", sae_config(folder))
    return folder


def transformer_config(corpus: str) -> train_transformer.TransformerRunConfig:
    return train_transformer.TransformerRunConfig(
        text=config(corpus, validation_fraction=0.2),
        transformer=TransformerConfig(context_length=LENGTH, d_model=8, d_mlp=16, n_heads=2),
        train=LOOP,
    )


def sae_config(folder, split: str = "heldout") -> train_sae.SaeRunConfig:
    return train_sae.SaeRunConfig(
        source="online",
        transformer=str(folder / "tf"),
        sae=dataclasses.replace(train_sae.SaeRunConfig().sae, n_features=16),
        train=LOOP,
        resample=dataclasses.replace(train_sae.SaeRunConfig().resample, steps=()),
        online=OnlineConfig(rows_per_context=8, buffer_rows=256),
        evaluate=EvaluateConfig(split=split),
    )


def test_a_transformer_logs_the_losses_of_both_splits_and_reports_the_heldout_one(folder):
    lines = [json.loads(line) for line in (folder / "tf" / "metrics.jsonl").read_text().splitlines()]
    both = [(line["heldout_loss"], line["validation_loss"]) for line in lines if "heldout_loss" in line]
    assert both and all(h != v for h, v in both)
    summary = read_json(folder / "tf" / "summary.json")
    assert "heldout_loss" in summary and "validation_loss" not in summary


def test_a_dictionary_is_evaluated_on_the_split_that_is_named(folder, tmp_path):
    text, found = Text(folder / "tf" / "text"), {}
    for split in ("heldout", "validation"):
        given = evaluate.EvaluateRunConfig(str(folder / "sae"), evaluate=EvaluateConfig(split=split))
        found[split] = evaluate.evaluate(tmp_path / split, given)
        assert found[split]["evaluated_tokens"] == (np.asarray(text.tokens(split)) != text.bos).sum()
    assert found["heldout"]["mse"] == pytest.approx(read_json(folder / "sae" / "summary.json")["mse"], rel=1e-6)
    trained = train_sae.train_sae(tmp_path / "sae", sae_config(folder, "validation"))
    assert trained["mse"] == pytest.approx(found["validation"]["mse"], rel=1e-6)


def test_an_evaluation_of_an_earlier_version_is_opened_again(folder, tmp_path):
    given = evaluate.EvaluateRunConfig(str(folder / "sae"))
    first = evaluate.evaluate(tmp_path, given)
    record = read_json(tmp_path / "config.json")
    del record["config"]["evaluate"]["split"]
    (tmp_path / "config.json").write_text(json.dumps(record))
    assert evaluate.evaluate(tmp_path, given) == first


def test_a_transformer_of_an_earlier_version_is_opened_again_and_goes_on(corpus, folder, tmp_path):
    first = train_transformer.train_transformer(tmp_path / "tf", transformer_config(corpus))
    record = read_json(tmp_path / "tf" / "config.json")
    del record["config"]["text"]["validation_fraction"]
    (tmp_path / "tf" / "config.json").write_text(json.dumps(record))
    given = transformer_config(corpus)
    given = dataclasses.replace(given, text=dataclasses.replace(given.text, validation_fraction=0.05))
    assert train_transformer.train_transformer(tmp_path / "tf", given) == first
    (tmp_path / "tf" / "summary.json").unlink()
    made_earlier(tmp_path / "tf" / "text")
    again = train_transformer.train_transformer(tmp_path / "tf", given)
    assert again["heldout_loss"] == first["heldout_loss"]


def test_a_validation_split_that_is_not_there_is_refused_before_any_work(corpus, folder, tmp_path):
    train_transformer.train_transformer(
        tmp_path / "tf", dataclasses.replace(transformer_config(corpus), text=config(corpus, validation_fraction=0.0))
    )
    for stage, given in (
        (train_sae.train_sae, sae_config(tmp_path, "validation")),
        (sweep.sweep, sweep.SweepRunConfig(**shallow(sae_config(tmp_path, "validation")))),
    ):
        with pytest.raises(BadInput, match="has no validation split"):
            stage(tmp_path / "run", given)
        assert not (tmp_path / "run").exists()
    np.save(tmp_path / "rows.npy", np.ones((64, 4), np.float32))
    alone = dataclasses.replace(sae_config(tmp_path, "validation"), source=str(tmp_path / "rows.npy"), transformer="")
    with pytest.raises(BadInput, match="rows without their transformer have no text, expected heldout"):
        train_sae.train_sae(tmp_path / "run", alone)
    with pytest.raises(BadInput, match=r"evaluate\.split is 'train': expected"):
        EvaluateConfig(split="train").check()


def shallow(given) -> dict:
    return {f.name: getattr(given, f.name) for f in dataclasses.fields(given)}
