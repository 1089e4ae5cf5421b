"""The control transformer is a finished run like any other, and says what it was made from."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

import monosem_jax as mj
from experiments.entry import read
from experiments.train_transformer import EXPERIMENT
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.files import file_hash
from monosem_jax.stages.shuffle_transformer import ShuffleConfig, shuffle_transformer
from monosem_jax.stages.train_transformer import TransformerRunConfig, params_hash, train_transformer
from tests.test_load import HARVEST, root, sae_config, transformer_config  # noqa: F401


def test_a_control_opens_like_the_transformer_and_names_it(root, tmp_path):  # noqa: F811
    summary = shuffle_transformer(tmp_path / "control", ShuffleConfig(0, root / "transformer"))
    trained, control = mj.load_transformer(root / "transformer"), mj.load_transformer(tmp_path / "control")
    assert control.record["parents"]["shuffle_of"]["sha256"] == file_hash(root / "transformer" / "summary.json")
    assert control.config["shuffle_of"] == summary["shuffle_of"] == trained.summary["params_sha256"]
    assert summary["params_sha256"] == params_hash(control.params) != trained.summary["params_sha256"]
    for a, b in zip(jax.tree.leaves(trained.params), jax.tree.leaves(control.params), strict=True):
        np.testing.assert_array_equal(np.sort(a, axis=None), np.sort(b, axis=None))
    tokens = np.asarray(control.text.tokens("heldout"), np.int32)
    log_p = np.asarray(jax.nn.log_softmax(control.logits(tokens)), np.float64)
    loss = -np.take_along_axis(log_p[:, :-1], tokens[:, 1:, None], axis=-1).mean()
    assert summary["heldout_loss"] == pytest.approx(loss, rel=1e-5)
    assert summary["heldout_loss"] > trained.summary["heldout_loss"]
    assert set(trained.summary) - set(summary) == {"resumed_from_step", "checkpoint_stall_seconds", "tokens_per_second"}


def test_it_stands_without_the_transformer_and_is_harvested_and_trained_on(root, tmp_path):  # noqa: F811
    shutil.copytree(root / "transformer", tmp_path / "trained")
    shuffle_transformer(tmp_path / "control", ShuffleConfig(3, str(tmp_path / "trained")))
    shutil.rmtree(tmp_path / "trained")
    mj.harvest(tmp_path / "store", mj.HarvestRunConfig(0, str(tmp_path / "control"), HARVEST))
    config = sae_config(tmp_path / "store")
    found = mj.train_sae(tmp_path / "sae", config)
    assert found["ce_intact"] == pytest.approx(mj.load_transformer(tmp_path / "control").summary["heldout_loss"])
    manifest = mj.load_store(tmp_path / "store").store.manifest
    assert manifest["model"] == mj.load_sae(tmp_path / "sae").transformer.summary["params_sha256"]


def test_again_is_nothing_to_do_and_a_half_written_one_is_made_whole(root, tmp_path, capsys):  # noqa: F811
    config = ShuffleConfig(0, root / "transformer")
    first = shuffle_transformer(tmp_path / "control", config)
    assert shuffle_transformer(tmp_path / "control", config) == first and "nothing to do" in capsys.readouterr().out
    whole = {p.name: p.read_bytes() for p in (tmp_path / "control" / "text").iterdir()}
    (tmp_path / "control" / "summary.json").unlink()
    (tmp_path / "control" / "text" / "text.json").unlink()
    (tmp_path / "control" / "text" / ".tokenizer.json.tmp").write_text("half")
    again = shuffle_transformer(tmp_path / "control", config)
    assert {k: v for k, v in again.items() if k != "wall_seconds"} == {
        k: v for k, v in first.items() if k != "wall_seconds"
    }
    assert {p.name: p.read_bytes() for p in (tmp_path / "control" / "text").iterdir()} == whole


def test_files_are_copied_where_they_cannot_be_linked(root, tmp_path, monkeypatch):  # noqa: F811
    def refuse(*args):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    shuffle_transformer(tmp_path / "control", ShuffleConfig(0, root / "transformer"))
    for file in (root / "transformer" / "text").iterdir():
        copied = tmp_path / "control" / "text" / file.name
        assert copied.read_bytes() == file.read_bytes() and copied.stat().st_ino != file.stat().st_ino


def test_what_is_no_finished_transformer_is_refused(root, tmp_path):  # noqa: F811
    begun = tmp_path / "begun"
    shutil.copytree(root / "transformer", begun)
    (begun / "summary.json").unlink()
    shuffle_transformer(tmp_path / "control", ShuffleConfig(0, root / "transformer"))
    for source, message in {
        "": "--shuffle_of is empty: expected the directory of a finished train_transformer run",
        root / "sae": "is not a finished train_transformer run",
        begun: "is not a finished train_transformer run",
        root: "is not a run directory",
        tmp_path / "control": "is a shuffled transformer itself",
    }.items():
        with pytest.raises(BadInput, match=message):
            shuffle_transformer(tmp_path / "new", ShuffleConfig(0, source))
    with pytest.raises(BadInput, match="seed is -1"):
        shuffle_transformer(tmp_path / "new", ShuffleConfig(-1, root / "transformer"))
    assert not (tmp_path / "new").exists()


def test_a_directory_of_another_run_is_left_as_it_is(root, tmp_path):  # noqa: F811
    shuffle_transformer(tmp_path / "control", ShuffleConfig(0, root / "transformer"))
    before = json.loads((root / "transformer" / "config.json").read_text())
    with pytest.raises(BadInput, match="belongs to another configuration"):
        shuffle_transformer(root / "transformer", ShuffleConfig(0, root / "transformer"))
    assert json.loads((root / "transformer" / "config.json").read_text()) == before
    with pytest.raises(BadInput, match="seed: 0 -> 1"):
        shuffle_transformer(tmp_path / "control", ShuffleConfig(1, root / "transformer"))
    with pytest.raises(BadInput, match="belongs to another configuration"):
        train_transformer(tmp_path / "control", transformer_config(root / "corpus.jsonl"))


def test_the_command_line_takes_the_seed_and_no_key_of_training():
    line = ["--workdir=w", "--shuffle_of=runs/a", "--config.seed=2"]
    assert read(EXPERIMENT, line) == (shuffle_transformer, ["w", ShuffleConfig(2, "runs/a")])
    with pytest.raises(BadInput, match=r"train\.steps"):
        read(EXPERIMENT, [*line, "--config.train.steps=3"])
    function, (_, config) = read(EXPERIMENT, ["--workdir=w"])
    assert function is train_transformer and isinstance(config, TransformerRunConfig)
    assert dataclasses.asdict(config) != dataclasses.asdict(TransformerRunConfig()), "the shipped configuration"
