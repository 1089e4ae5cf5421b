"""Run directories to train dictionaries from, made once."""

import dataclasses
import pathlib

import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.stream.stream import StreamConfig
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.sae import trainer as dictionaries
from monosem_jax.stages import harvest, train_sae, train_transformer
from monosem_jax.text.pack import TextConfig
from tests.activations.sources.tiny import SITE, TRAIN, K, M, config, online_config
from tests.conftest import write_words


@pytest.fixture(scope="package")
def root(tmp_path_factory) -> pathlib.Path:
    """transformer and other (another seed), store, its rows as array.npy, and converted, a store made from that."""
    root = tmp_path_factory.mktemp("sources")
    write_words(root / "corpus.jsonl")
    for name, seed in (("transformer", 0), ("other", 1)):
        made = train_transformer.TransformerRunConfig(
            seed, TextConfig(str(root / "corpus.jsonl"), vocab_size=300),
            TransformerConfig(d_model=16, d_mlp=M, n_heads=2, context_length=16),
            dataclasses.replace(TRAIN, steps=1, batch_size=8, evaluate_every=0),
        )  # fmt: skip
        train_transformer.train_transformer(root / name, made)
    small = HarvestConfig(SITE, K, bucket_rows=1024, shard_rows=1024, dtype="float32")
    harvest.harvest(root / "store", harvest.HarvestRunConfig(0, str(root / "transformer"), small))
    np.save(root / "array.npy", load_run(root / "store").store.read(0, 1500))
    harvest.harvest(root / "converted", harvest.HarvestRunConfig(0, "", small, str(root / "array.npy")))
    return root


@pytest.fixture(scope="package")
def finished(root) -> dict[str, pathlib.Path]:
    """Undisturbed runs."""
    train_sae.train_sae(root / "disk", config(root / "store", stream=StreamConfig("disk")))
    train_sae.train_sae(root / "resident", config(root / "store", stream=StreamConfig("resident")))
    train_sae.train_sae(root / "online", online_config(root))
    return {name: root / name for name in ("disk", "resident", "online")}


@pytest.fixture
def stopped(monkeypatch):
    """A function that runs a training until `act` ends it at step 10."""

    def run(path, config, act, kind: type[Exception]) -> None:
        silent = dictionaries._silent

        def report(train):
            numbers = silent(train)
            return lambda state: (int(state.step) == 10 and act()) or numbers(state)

        with monkeypatch.context() as patch, pytest.raises(kind):
            patch.setattr(dictionaries, "_silent", report)
            train_sae.train_sae(path, config)

    return run
