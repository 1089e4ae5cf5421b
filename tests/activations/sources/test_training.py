"""Dictionaries from every source: a store on disk or in device memory, an array, and rows made online."""

import dataclasses
import json

import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.activations.sources import open_source
from monosem_jax.activations.stream.stream import StreamConfig
from monosem_jax.runtime.errors import BadInput, Stopped
from monosem_jax.stages import train_sae
from tests.activations.sources.tiny import (
    BATCH,
    ONLINE,
    SITE,
    STEPS,
    TRAIN,
    F,
    M,
    assert_same_run,
    config,
    metrics,
    online_config,
)
from tests.conftest import mesh_of
from tests.small_loop import Crash, crash, terminate


def test_disk_and_resident_give_the_same_bits(finished):
    assert_same_run(finished["disk"], finished["resident"])
    assert len(metrics(finished["disk"])) >= 4


def test_rows_made_online_train_a_dictionary_that_is_evaluated_on_heldout_text(finished):
    summary, text = load_run(finished["online"]).summary, load_run(finished["online"]).transformer.text
    assert summary["evaluated_tokens"] == (text.tokens("heldout") != text.bos).sum()
    assert summary["rows_trained"] == STEPS * BATCH
    assert summary.keys() >= {"loss_recovered_zero", "ce_reconstructed", "l0", "mse", "dead"}
    losses = [line["loss"] for line in metrics(finished["online"]) if "loss" in line]
    assert losses[-1] < losses[0]


def test_online_and_store_agree_on_what_they_are_trained_on(finished):
    a, b = (load_run(finished[name]).summary for name in ("online", "disk"))
    assert a["ce_intact"] == b["ce_intact"] and a["mse"] == pytest.approx(b["mse"], rel=0.1)


def test_the_record_of_an_online_run_says_online_and_names_no_path(finished, root):
    run = load_run(finished["online"])
    assert run.config["source"] == "online" and run.config["transformer"] == ""
    assert load_run(finished["disk"]).config["source"] == ""
    assert run.record["parents"].keys() == {"transformer"}
    assert load_run(finished["disk"]).record["parents"].keys() == {"source", "transformer"}


@pytest.mark.parametrize("name", ["online", "disk"])
def test_a_dictionary_knows_its_site_and_transformer(finished, root, name):
    run = load_run(finished[name])
    assert run.site == SITE and run.transformer.path.resolve() == root / "transformer"
    assert run.encode(np.zeros(M)).shape == (F,)


def test_the_input_scale_online_is_that_of_the_activations(finished, root):
    run = load_run(root / "transformer")
    tokens = np.asarray(run.text.tokens("train"), np.int32)
    _, x = run.model.apply({"params": run.params}, tokens, SITE, method=run.model.to_acts)
    rms = np.sqrt(np.square(np.asarray(x, np.float64)[tokens != run.text.bos]).mean())
    scale = json.loads((finished["online"] / "input.json").read_text())["input_scale"]
    assert scale == pytest.approx(1 / rms, rel=0.05)


@pytest.mark.parametrize(("act", "kind"), [(crash, Crash), (terminate, Stopped)])
def test_an_online_run_that_was_stopped_ends_with_the_same_bits(finished, root, tmp_path, stopped, act, kind):
    stopped(tmp_path, online_config(root), act, kind)
    summary = train_sae.train_sae(tmp_path, online_config(root))
    assert summary["resumed_from_step"] == (8 if kind is Crash else 10)
    assert_same_run(tmp_path, finished["online"])


def test_where_batches_wait_may_change_between_a_stop_and_its_resume_but_not_what_is_mixed(
    finished, root, tmp_path, stopped
):
    stopped(tmp_path, config(root / "store", stream=StreamConfig("disk")), crash, Crash)
    with pytest.raises(BadInput, match=r"config\.stream\.window_blocks: 64 -> 8"):
        train_sae.train_sae(tmp_path, config(root / "store", stream=StreamConfig("disk", window_blocks=8)))
    other = config(root / "store", stream=StreamConfig("resident", device_gb=0.1))
    assert train_sae.train_sae(tmp_path, other)["resumed_from_step"] == 8
    assert_same_run(tmp_path, finished["disk"])


def test_what_is_made_online_may_not_change_between_a_stop_and_its_resume(root, tmp_path, stopped):
    stopped(tmp_path, online_config(root), crash, Crash)
    changed = online_config(root, online=dataclasses.replace(ONLINE, buffer_rows=600))
    with pytest.raises(BadInput, match=r"config\.online\.buffer_rows: 300 -> 600"):
        train_sae.train_sae(tmp_path, changed)
    with pytest.raises(BadInput, match=r"parents\.transformer: "):
        train_sae.train_sae(tmp_path, online_config(root, transformer=str(root / "other")))
    with pytest.raises(BadInput, match=r"config\.source: 'online' -> ''"):
        train_sae.train_sae(tmp_path, config(root / "store"))


def test_online_rows_are_of_the_text_that_the_transformer_was_trained_on(root):
    run, made = load_run(root / "transformer"), online_config(root)
    real = {}
    for split in ("train", "heldout"):
        tokens = np.asarray(run.text.tokens(split), np.int32)
        _, x = run.model.apply({"params": run.params}, tokens, SITE, method=run.model.to_acts)
        real[split] = np.asarray(x)[tokens != run.text.bos]
    rows = open_source(made.source_request()).stream(mesh_of(1, 1)).sample(100)
    distance = {split: np.abs(rows[:, None] - x[None]).max(-1).min(-1) for split, x in real.items()}
    assert distance["train"].max() < 1e-5 and distance["heldout"].max() > 1e-3


def test_online_rows_are_made_in_the_configured_precision_and_by_the_seed(root):
    def rows(**changes):
        made = online_config(root, **changes)
        return np.asarray(open_source(made.source_request()).stream(mesh_of(1, 1))(0, 1), np.float32)

    exact = rows()
    rounded = rows(train=dataclasses.replace(TRAIN, compute_dtype="bfloat16"))
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(exact, rounded, atol=0.02 * exact.max())
    assert not np.allclose(exact, rows(seed=1), atol=0.02 * exact.max())
