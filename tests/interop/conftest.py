"""One small trained dictionary, its transformer and its store, and a sweep, made once for this folder."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages import harvest, train_sae, train_transformer
from monosem_jax.text.pack import TextConfig
from tests.activations.sources.tiny import SITE, TRAIN, K, M, config
from tests.conftest import write_words
from tests.interop.small import MEMBERS

SHORT = dataclasses.replace(TRAIN, evaluate_every=0)


@pytest.fixture(scope="package")
def root(tmp_path_factory) -> pathlib.Path:
    """transformer, store, sae (inputs scaled to unit root mean square), unfinished (the same, cut short) and sweep."""
    root = tmp_path_factory.mktemp("interop")
    write_words(root / "corpus.jsonl")
    made = train_transformer.TransformerRunConfig(
        0, TextConfig(str(root / "corpus.jsonl"), vocab_size=300),
        TransformerConfig(d_model=16, d_mlp=M, n_heads=2, context_length=16),
        dataclasses.replace(SHORT, steps=1, batch_size=8),
    )  # fmt: skip
    train_transformer.train_transformer(root / "transformer", made)
    small = HarvestConfig(SITE, K, bucket_rows=1024, shard_rows=1024, dtype="float32")
    harvest.harvest(root / "store", harvest.HarvestRunConfig(0, str(root / "transformer"), small))
    train_sae.train_sae(root / "sae", config(root / "store", train=SHORT, resample=ResampleConfig(steps=())))
    shutil.copytree(root / "sae", root / "unfinished")
    (root / "unfinished" / "summary.json").unlink()
    _sweep(root)
    return root


def _sweep(root: pathlib.Path) -> None:
    """The directory of a sweep, of which one member is finished, one is not, and one has nothing yet."""
    for name, source in zip(MEMBERS, ("sae", "unfinished"), strict=True):
        shutil.copytree(root / source, root / "sweep" / "members" / name)
    record = json.loads((root / "sae" / "config.json").read_text())
    (root / "sweep" / "members" / "begun").mkdir()
    for path in ("config.json", "members/begun/config.json"):
        kind = "sweep" if path == "config.json" else "train_sae"
        (root / "sweep" / path).write_text(json.dumps({**record, "experiment": kind}))


@pytest.fixture(scope="package")
def x() -> np.ndarray:
    """Activations of many sizes, zero and negative ones among them."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.standard_normal((64, M)) * rng.lognormal(size=(64, 1)), np.zeros((1, M))]).astype("f4")
