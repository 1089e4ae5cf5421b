"""What a stage leaves out of its input is printed before the work begins, and kept in its directory."""

from __future__ import annotations

import dataclasses
import json
from typing import ClassVar

import numpy as np
import pytest

from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.store.store import Store
from monosem_jax.analysis.kinds.table import KINDS
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import read_json
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages import analyze, evaluate, harvest, train_sae, train_transformer
from monosem_jax.text.directory import Text
from monosem_jax.text.pack import TextConfig
from monosem_jax.training.config import TrainConfig

LOOP = TrainConfig(steps=2, batch_size=8, steps_per_dispatch=1, checkpoint_every=1, log_every=1, evaluate_every=2)
K = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus of a few long documents and many of a single word, a transformer, its store, and a dictionary."""
    folder = tmp_path_factory.mktemp("left_out")
    rng = np.random.default_rng(0)
    words = ["the", "cat", "sat", "on", "mat", "and", "dog", "ran", "over", "hill"]
    lengths = [300 if i % 50 == 0 else 1 for i in range(1000)]
    texts = [" ".join(rng.choice(words, n)) + f" {i}" for i, n in enumerate(lengths)]
    (folder / "c.jsonl").write_text("\n".join(json.dumps({"text": t, "label": "x"}) for t in texts))
    config = train_transformer.TransformerRunConfig(
        text=TextConfig(corpus=str(folder / "c.jsonl"), vocab_size=280),
        transformer=TransformerConfig(context_length=12, d_model=8, d_mlp=16, n_heads=2),
        train=LOOP,
    )
    train_transformer.train_transformer(folder / "tf", config)
    harvest.harvest(folder / "store", harvested(folder))
    train_sae.train_sae(folder / "sae", trained(str(folder / "store")))
    return folder


def harvested(folder, **changes) -> harvest.HarvestRunConfig:
    made = HarvestConfig(**{"rows_per_context": K, "bucket_rows": 1024, "shard_rows": 1024, **changes})
    return harvest.HarvestRunConfig(transformer=str(folder / "tf"), harvest=made)


def trained(source: str) -> train_sae.SaeRunConfig:
    return train_sae.SaeRunConfig(
        source=source, sae=ReluConfig(n_features=16), train=LOOP, resample=ResampleConfig(steps=())
    )


def short(folder) -> tuple[int, int]:
    """(contexts, those with fewer than K tokens besides BOS)."""
    text = Text(folder / "tf" / "text")
    enough = (np.asarray(text.tokens("train")) != text.bos).sum(axis=1) >= K
    return len(enough), int((~enough).sum())


def test_contexts_that_are_too_short_are_counted_in_the_manifest_and_by_the_plan(folder, tmp_path, capsys):
    total, too_short = short(folder)
    assert 0 < too_short < total
    found = Store(folder / "store").manifest
    used = {"contexts_used": total - too_short, "rows_left_out": 0}
    assert found["input"] == {"contexts": total, "contexts_too_short": too_short, **used} and found["zero_rows"] == 0
    harvest.dry_run(tmp_path, harvested(folder, n_rows=10 * K + 3))
    said = capsys.readouterr().out
    assert f"{too_short:,} of {total:,} contexts left out: less than {K} tokens" in said
    assert f"3 of {10 * K + 3} rows left out" in said and f"contexts 10 of {total:,}" in said


def test_a_store_of_an_array_counts_its_zeros_and_training_tells_them(tmp_path, capsys):
    rows = np.random.default_rng(0).normal(size=(2100, 6)).astype(np.float32)
    rows[2000:] = 0
    np.save(tmp_path / "x.npy", rows)
    made = HarvestConfig(bucket_rows=1024, shard_rows=1024)
    summary = harvest.harvest(tmp_path / "s", harvest.HarvestRunConfig(source=str(tmp_path / "x.npy"), harvest=made))
    assert summary["zero_rows"] == Store(tmp_path / "s").manifest["zero_rows"] == 100
    capsys.readouterr()
    train_sae.train_sae(tmp_path / "run", trained(str(tmp_path / "s")))
    assert "100 of 2,100 rows (4.76 %) are all zero" in capsys.readouterr().out
    assert read_json(tmp_path / "run" / "input.json")["input"]["zero_rows"] == 100


def test_an_unfinished_harvest_of_earlier_code_goes_on(folder, tmp_path):
    """Its config.json lacks the new key, its store.json the counts."""
    harvest.harvest(tmp_path, harvested(folder))
    added = {"config.json": ("allow_missing_chunks",), "store.json": ("input", "zero_rows", "checksum")}
    for name, keys in added.items():
        content = read_json(tmp_path / name)
        inner = content["config"]["harvest"] if name == "config.json" else content
        for key in keys:
            del inner[key]
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "summary.json").unlink()
    assert harvest.harvest(tmp_path, harvested(folder))["n_rows"] == Store(folder / "store").n_rows


class Bar:
    """Stands for a progress line."""

    made: ClassVar[list[Bar]] = []

    def __init__(self, total, description, *rest, **options):
        self.total, self.description, self.done = total, description, 0
        Bar.made.append(self)

    def update(self, n=1):
        self.done += n

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


@pytest.mark.parametrize("contexts", [0, 5, 10**6])
def test_the_total_of_the_evaluation_is_what_is_read(folder, tmp_path, monkeypatch, contexts):
    monkeypatch.setattr(evaluate, "progress", Bar)
    monkeypatch.setattr(Bar, "made", [])
    found = evaluate.EvaluateRunConfig(run=str(folder / "sae"), evaluate=EvaluateConfig(contexts=contexts))
    evaluate.evaluate(tmp_path, found)
    assert [b.done for b in Bar.made] == [b.total for b in Bar.made] and Bar.made[0].total > 0


def test_the_analysis_reads_as_many_heldout_contexts_as_it_is_told(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(analyze, "progress", Bar)
    monkeypatch.setattr(Bar, "made", [])
    few = {"heldout_contexts": 5, "training_contexts": 7, "n_features": 4, "without": tuple(KINDS)}
    config = analyze.AnalyzeRunConfig(run=str(folder / "sae"), **few)
    analyze.analyze(tmp_path, config)
    done = {b.description: (b.done, b.total) for b in Bar.made}
    assert done["scan features, train"] == (7, 7) and done["scan neurons, heldout"] == (10, 10)


def test_another_corpus_is_refused_by_a_finished_run_and_a_moved_one_is_not(folder, tmp_path):
    config = train_transformer.TransformerRunConfig(
        text=TextConfig(corpus=str(folder / "c.jsonl"), vocab_size=280),
        transformer=TransformerConfig(context_length=12, d_model=8, d_mlp=16, n_heads=2),
        train=LOOP,
    )

    def again(corpus) -> dict:
        text = TextConfig(corpus=str(corpus), vocab_size=280)
        return train_transformer.train_transformer(folder / "tf", dataclasses.replace(config, text=text))

    (tmp_path / "moved.jsonl").write_bytes((folder / "c.jsonl").read_bytes())
    assert again(tmp_path / "moved.jsonl") == read_json(folder / "tf" / "summary.json")
    (tmp_path / "other.jsonl").write_text((folder / "c.jsonl").read_text().replace("cat", "dog"))
    with pytest.raises(BadInput, match="is not the one that"):
        again(tmp_path / "other.jsonl")
