"""The Python surface has an edge like the command line's: what does not fit is one line of our own words."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.activations.rows import RowRange
from monosem_jax.analysis.feature_sets import dictionary
from monosem_jax.analysis.logit_weights import logit_weights
from monosem_jax.analysis.metrics import EvaluateConfig, evaluate, evaluate_rows
from monosem_jax.analysis.scan.config import ScanConfig
from monosem_jax.analysis.scan.entry import scan
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.training.config import TrainConfig
from tests.test_load import LENGTH, F, M, made, root  # noqa: F401

SITE = "mlp_hidden.0"
V = 283  # tokens that the small corpus gives


@dataclasses.dataclass(frozen=True)
class Opened:
    """What the cases call."""

    path: Any
    sae: Any
    tf: Any
    store: Any
    published: PublishedSAE
    tapped: Any
    held: np.ndarray


@pytest.fixture(scope="module")
def it(root) -> Opened:  # noqa: F811
    sae, tf = mj.load_sae(root / "sae"), mj.load_transformer(root / "transformer")
    store, held = mj.load_store(root / "store").store, tf.text.tokens("heldout")
    return Opened(root, sae, tf, store, PublishedSAE(sae.sae, sae.params), tf.tapped(SITE), held)


X = np.ones((2, M))
TOKENS = np.zeros((1, 8), int)
REFUSED = {
    "encode: width": (
        lambda it: it.sae.encode(np.ones((2, 20))),
        f"encode was given an array of shape [2, 20]: expected [..., {M}]",
    ),
    "encode: a number": (lambda it: it.sae.encode(3.0), "of shape []: expected"),
    "encode: no rows of no width": (lambda it: it.sae.encode(np.ones((3, 0))), "of shape [3, 0]: expected"),
    "encode: text": (lambda it: it.sae.encode([["a"] * M]), "of dtype <U1: expected real numbers"),
    "encode: objects": (lambda it: it.sae.encode(None), "of dtype object: expected real numbers"),
    "encode: complex": (lambda it: it.sae.encode(X + 1j), "of dtype complex128: expected real numbers"),
    "encode: ragged": (lambda it: it.sae.encode([[1, 2], [3]]), "encode was given a list, which is no array: "),
    "encode: masked": (lambda it: it.sae.encode(np.ma.masked_equal(X, 1)), "a masked array: fill it first"),
    "encode: NaN": (
        lambda it: it.sae.encode([[np.nan] * M, [1.0] * M]),
        "1 of 2 rows with numbers that are not finite in fp32",
    ),
    "encode: too large for fp32": (lambda it: it.sae.encode(X * 1e300), "2 of 2 rows with numbers that are not finite"),
    "encode: NaN on a device": (lambda it: it.sae.encode(jnp.full((2, M), jnp.nan)), "2 of 2 rows with numbers"),
    "encode: width on a device": (lambda it: it.sae.encode(jnp.ones((2, 20))), "of shape [2, 20]: expected"),
    "decode: width": (
        lambda it: it.sae.decode(np.ones((2, F + 1))),
        f"decode was given an array of shape [2, {F + 1}]: expected [..., {F}]",
    ),
    "decode: other rows": (
        lambda it: it.sae.decode(np.ones((2, F)), np.ones((3, M))),
        f"of shape [3, {M}]: expected [2, {M}]",
    ),
    "feature: beyond": (lambda it: it.sae.feature(F), f"feature {F} of "),
    "feature: truth": (lambda it: it.sae.feature(True), f"expected a whole number, 0 to {F - 1}"),
    "feature: fraction": (lambda it: it.sae.feature(1.0), "feature 1.0 of "),
    "feature: text": (lambda it: it.sae.feature("3"), "feature '3' of "),
    "feature: several": (lambda it: it.sae.feature(np.array([1, 2])), "feature array([1, 2]) of "),
    "params_on: no mesh": (
        lambda it: it.sae.params_on(None),
        "params_on was given a NoneType: expected a jax.sharding.Mesh",
    ),
    "params_on: axes": (
        lambda it: it.sae.params_on(jax.make_mesh((1,), ("x",))),
        "axes ('x',): expected data and model",
    ),
    "parent": (
        lambda it: it.sae.parent("sources"),
        "made without a sources: it was made from source, transformer; did you mean 'source'?",
    ),
    "logits: beyond the vocabulary": (
        lambda it: it.tf.logits(np.full((1, 8), V)),
        f"logits was given token {V}: expected 0 to {V - 1}",
    ),
    "logits: negative": (lambda it: it.tf.logits(TOKENS - 1), f"logits was given token -1: expected 0 to {V - 1}"),
    "logits: on a device": (lambda it: it.tf.logits(jnp.full((1, 8), V)), f"logits was given token {V}"),
    "logits: one context": (lambda it: it.tf.logits(TOKENS[0]), "of shape [8]: expected [C, T]"),
    "logits: no tokens": (lambda it: it.tf.logits(TOKENS[:, :0]), "contexts of no tokens"),
    "logits: fractions": (lambda it: it.tf.logits(TOKENS * 1.0), "tokens of dtype float64: expected whole numbers"),
    "logits: text": (lambda it: it.tf.logits(["the cat"]), "tokens of dtype <U7: expected whole numbers"),
    "tapped: kind": (
        lambda it: it.tf.tapped("mlp_hiden.0"),
        "site 'mlp_hiden.0' does not exist: expected one of resid_pre.N",
    ),
    "tapped: layer": (lambda it: it.tf.tapped("mlp_hidden.²"), "site 'mlp_hidden.²' does not exist"),
    "tapped: no text": (lambda it: it.tf.tapped(None), "the site is None: expected a name such as mlp_hidden.0"),
    "tapped: a second site missing": (lambda it: it.tf.tapped("mlp_in.0+"), "site '' does not exist"),
    "rows: beyond the vocabulary": (lambda it: it.tapped.rows(np.full((1, 8), V)), f"the model was given token {V}"),
    "cut: site": (lambda it: it.tapped.cut(TOKENS, "x"), "site 'x' does not exist"),
    "losses_with: width": (
        lambda it: it.tapped.losses_with(None, jnp.ones((1, 8, 3)), TOKENS, SITE),
        f"of shape [1, 8, 3]: expected [1, 8, {M}]",
    ),
    "tokens: split": (lambda it: it.tf.text.tokens("val"), "the split is 'val': expected train, validation, heldout"),
    "tokens: a path": (lambda it: it.tf.text.tokens("../text/train"), "the split is '../text/train'"),
    "documents: split": (
        lambda it: it.tf.text.documents("Train"),
        "the split is 'Train': expected train, validation, heldout; did you mean 'train'?",
    ),
    "read: negative": (lambda it: it.store.read(-5, 5), "read from row -5: expected 0 or more"),
    "read: backwards": (lambda it: it.store.read(5, 2), "read up to row 2: expected 5 or more"),
    "read: fraction": (lambda it: it.store.read(0.0, 2), "read from row 0.0: expected a whole number, 0 or more"),
    "origin: negative": (lambda it: it.store.origin(-5, 5), "read from row -5"),
    "stream: no rows": (lambda it: it.store.stream(0, 0), "batch_size is 0: expected 1 or more"),
    "stream: fraction": (lambda it: it.store.stream(2.5, 0), "batch_size is 2.5: expected a whole number, 1 or more"),
    "stream: seed": (lambda it: it.store.stream(64, -1), "seed is -1: expected 0 or more"),
    "stream: mesh": (lambda it: it.store.stream(64, 0, "x"), "stream was given a str: expected a jax.sharding.Mesh"),
    "stream: before the first": (lambda it: it.store.stream(64, 0)(-1, 1), "the first batch is -1: expected 0 or more"),
    "stream: no batches": (lambda it: it.store.stream(64, 0)(0, 0), "the number of batches is 0: expected 1 or more"),
    "step: text": (
        lambda it: mj.load_run(it.path / "sae", step="a"),
        "step is 'a': expected a whole number, 0 or more",
    ),
    "step: truth": (lambda it: mj.load_run(it.path / "sae", step=True), "step is True"),
    "step: negative": (lambda it: mj.load_run(it.path / "sae", step=-1), "step is -1: expected 0 or more"),
    "published encode": (
        lambda it: it.published.encode(np.ones((2, 5))),
        f"encode was given an array of shape [2, 5]: expected [..., {M}]",
    ),
    "published forward": (lambda it: it.published.forward("x"), "forward was given an array of dtype <U1"),
    "published decode": (
        lambda it: it.published.decode(np.ones((2, 5))),
        f"decode was given an array of shape [2, 5]: expected [..., {F}]",
    ),
    "evaluate: nothing": (
        lambda it: evaluate(it.tapped, it.published, it.held[:0], EvaluateConfig()),
        "evaluate was given no contexts: expected 1 or more",
    ),
    "evaluate: BOS": (
        lambda it: evaluate(it.tapped, it.published, np.full((2, 8), it.tapped.bos), EvaluateConfig()),
        "evaluate was given no tokens but BOS",
    ),
    "evaluate: one context": (
        lambda it: evaluate(it.tapped, it.published, it.held[0], EvaluateConfig()),
        f"of shape [{LENGTH}]: expected [C, T]",
    ),
    "evaluate: site": (
        lambda it: evaluate(it.tf.tapped("resid_pre.0"), it.published, it.held, EvaluateConfig()),
        f"rows of width {M}, but resid_pre.0 has width 16",
    ),
    "evaluate: configuration": (
        lambda it: evaluate(it.tapped, it.published, it.held, EvaluateConfig(contexts="3")),
        "evaluate.contexts is '3': expected int",
    ),
    "evaluate_rows: nothing": (
        lambda it: evaluate_rows(it.published, RowRange(it.store, 0, 0)),
        "evaluate_rows was given no rows",
    ),
    "scan: labels": (
        lambda it: scan(dictionary("features", it.tapped, it.published), it.held, it.held[:1], labels=("a", "b")),
        f"scan was given an array of shape [1, {LENGTH}]",
    ),
    "scan: batch": (
        lambda it: scan(dictionary("features", it.tapped, it.published), it.held, config=ScanConfig(batch_contexts=0)),
        "batch_contexts is 0: expected 1 or more",
    ),
    "logit weights": (
        lambda it: logit_weights(it.tapped, SITE, np.ones((2, 5))),
        f"of shape [2, 5]: expected [F, {M}]",
    ),
    "stage: dictionary": (
        lambda it: mj.train_sae(it.path / "w", {"source": "x"}),
        "config is a dict: expected a SaeRunConfig",
    ),
    "stage: class": (
        lambda it: mj.train_sae(it.path / "w", mj.SaeRunConfig),
        "config is SaeRunConfig: expected a SaeRunConfig",
    ),
    "stage: another's": (
        lambda it: mj.train_sae(it.path / "w", mj.HarvestRunConfig()),
        "config is a HarvestRunConfig: expected a SaeRunConfig",
    ),
    "stage: section": (
        lambda it: mj.train_sae(it.path / "w", mj.SaeRunConfig(train={})),
        "config.train is a dict: expected a TrainConfig",
    ),
    "stage: value": (
        lambda it: mj.train_sae(it.path / "w", mj.SaeRunConfig(seed="0")),
        "config.seed is '0': expected int",
    ),
    "stage: deep": (
        lambda it: mj.train_sae(it.path / "w", mj.SaeRunConfig(train=TrainConfig(steps=1.5))),
        "config.train.steps is 1.5: expected int",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(it, name):
    call, message = REFUSED[name]
    with pytest.raises(BadInput) as refused:
        call(it)
    assert message in str(refused.value) and "\n" not in str(refused.value)


TAKEN = {
    "whole numbers": (lambda it: it.sae.encode(np.ones((2, M), int)), (2, F)),
    "truths": (lambda it: it.sae.encode(np.ones((2, M), bool)), (2, F)),
    "bfloat16": (lambda it: it.sae.encode(jnp.ones((2, M), jnp.bfloat16)), (2, F)),
    "nested lists": (lambda it: it.sae.encode([[0.5] * M] * 3), (3, F)),
    "no rows": (lambda it: it.sae.encode(np.ones((0, M))), (0, F)),
    "a number of NumPy": (lambda it: it.sae.feature(np.int64(3))["W_dec"], (M,)),
    "a step of NumPy": (lambda it: mj.load_run(it.path / "sae", step=np.int32(8)).params["W_dec"], (F, M)),
    "tokens of any whole type": (lambda it: it.tf.logits(np.zeros((2, 3), np.uint8)), (2, 3, V)),
    "no contexts": (lambda it: it.tf.logits(np.zeros((0, 3), int)), (0, 3, V)),
    "inside a compiled function": (lambda it: jax.jit(it.tf.logits)(np.zeros((2, 3), int)), (2, 3, V)),
    "rows beyond the end": (lambda it: it.store.read(10**9, 10**9 + 5), (0, M)),
    "a list of contexts": (
        lambda it: evaluate(it.tapped, it.published, it.held[:2].tolist(), EvaluateConfig())[1],
        (F,),
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_can_be_meant_is_taken(it, name):
    call, shape = TAKEN[name]
    assert call(it).shape == shape


GIVEN = {
    "encode": lambda it: it.sae.encode(X),
    "encode one row": lambda it: it.sae.encode(X[0]),
    "decode": lambda it: it.sae.decode(np.ones((2, F))),
    "threshold": lambda it: it.sae.threshold,
    "params": lambda it: mj.load_run(it.path / "sae").params["W_dec"],
    "params of a transformer": lambda it: mj.load_run(it.path / "transformer").params["embed"]["embedding"],
    "feature": lambda it: it.sae.feature(3)["W_dec"],
    "state": lambda it: it.sae.state()["params"]["W_dec"],
    "read": lambda it: it.store.read(0, 4),
    "origin": lambda it: it.store.origin(0, 4),
    "tokens of a store": lambda it: it.store.tokens(),
    "tokens": lambda it: it.tf.text.tokens("train"),
    "documents": lambda it: it.tf.text.documents("heldout"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_an_array_that_is_given_out_can_be_written_to(it, name):
    GIVEN[name](it)[...] = 1


def test_writing_to_tokens_leaves_the_file_as_it_is(it):
    before = (it.tf.text.path / "train_tokens.npy").read_bytes()
    it.tf.text.tokens("train")[...] = 7
    assert (it.tf.text.path / "train_tokens.npy").read_bytes() == before
    assert not (it.tf.text.tokens("train") == 7).all()


def test_tokens_are_mapped_for_reading_where_memory_cannot_be_reserved(it, monkeypatch):
    opened = np.lib.format.open_memmap

    def short(path, mode):
        if mode == "c":
            raise OSError(12, "Cannot allocate memory")
        return opened(path, mode=mode)

    monkeypatch.setattr(np.lib.format, "open_memmap", short)
    assert np.array_equal(it.tf.text.tokens("heldout"), it.held)


def test_an_unknown_member_or_stage_is_answered_with_those_there_are(tmp_path):
    quick = made(tmp_path / "quick", "quickstart")
    made(quick / "transformer", "train_transformer")
    stages = mj.load_run(quick).stages
    with pytest.raises(KeyError) as refused:
        stages["transfomer"]
    said = f"the stage of {quick} 'transfomer' does not exist: expected transformer; did you mean 'transformer'?"
    assert str(refused.value) == said and isinstance(refused.value, BadInput)
    assert stages.get("sae") is None and list(stages) == ["transformer"]


def test_values_of_numpy_lists_and_paths_in_a_configuration_are_those_of_python(it, tmp_path):
    config = mj.SaeRunConfig(
        source=it.path / "rows.npy",
        sae=dataclasses.replace(mj.SaeRunConfig().sae, n_features=np.int64(16), l1_coefficient=np.float32(0.5)),
        train=TrainConfig(steps=np.int32(2), batch_size=16, steps_per_dispatch=2, checkpoint_every=2, learning_rate=1),
        resample=dataclasses.replace(mj.SaeRunConfig().resample, steps=[]),
    )
    mj.train_sae(tmp_path / "run", config)
    record = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert record["sae"]["n_features"] == 16 and record["sae"]["l1_coefficient"] == 0.5
    assert record["train"]["steps"] == 2 and record["resample"]["steps"] == []
