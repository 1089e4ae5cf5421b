"""The files of a model: their sizes, their rounding, what dictionaries share, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from monosem_jax.report.browser import model as model_lib
from monosem_jax.report.browser.model import write_model
from monosem_jax.report.browser.tokenizer import NotServed
from monosem_jax.stages.browser_model import served_values
from tests.report.browser.engine import chunk, load_question, stored
from tests.report.browser.models import dictionary, tokenizer


@pytest.fixture(scope="module")
def served():
    return served_values(*dictionary("gated"), tokenizer().to_str())


def truth(served):
    """The arrays of a model as they are."""
    return {name: array for pack in served.packs() for name, array in pack}


def written(folder, served, key="d/model"):
    size = write_model(folder, key, served)
    return size, load_question(folder, key)


def test_numbers_are_rounded_to_half_precision_and_vectors_not_at_all(tmp_path, served):
    size, question = written(tmp_path, served)
    found, expected = stored(question), truth(served)
    assert found.keys() == expected.keys() and {"b_gate", "r_mag", "blocks_1.up.bias", "ln_final.scale"} <= found.keys()
    for name, array in expected.items():
        if array.ndim == 1:
            assert np.array_equal(found[name], array)
        else:
            assert 0 < np.abs(found[name] / array - 1).max() <= 2**-11
    assert size == sum(f.stat().st_size for f in (tmp_path / "data").rglob("*.js"))
    assert question["manifest"]["bytes"] + (tmp_path / "data/d/model.js").stat().st_size == size


@pytest.mark.parametrize("factor", [1e-30, 1e-6, 1e6, 1e30])
def test_no_magnitude_is_too_large_or_too_small_for_half_precision(tmp_path, served, factor):
    """W_enc has the units of 1 / activation, which can be anything."""
    params = {**served.dictionary_params, "W_enc": served.dictionary_params["W_enc"] * np.float32(factor)}
    changed = dataclasses.replace(served, dictionary_params=params)
    found = stored(written(tmp_path, changed)[1])["W_enc"]
    expected = truth(changed)["W_enc"]
    assert np.abs(found / expected - 1).max() <= 2**-11


def test_what_is_too_large_becomes_int8_the_decoder_first(tmp_path, served, monkeypatch):
    _, question = written(tmp_path / "whole", served)
    whole = sum(
        (tmp_path / "whole" / "data" / f"{key}.js").stat().st_size
        for keys in question["manifest"]["packs"]
        for key in keys
    )
    expected = truth(served)
    rounded = []
    for i, limit in enumerate((whole - 100, whole - 3000, 1)):
        monkeypatch.setattr(model_lib, "LIMIT", limit)
        monkeypatch.setattr(model_lib.ServedModel, "check", lambda self: None)  # its limit is the same
        _, question = written(tmp_path / str(i), served)
        entries, found = question["manifest"]["tensors"], stored(question)
        rounded.append({name for name, entry in entries.items() if entry["dtype"] == "int8"})
        for name in rounded[-1]:
            step = np.abs(expected[name]).max(axis=1, keepdims=True) / 127
            assert (np.abs(found[name] - expected[name]) <= 0.5001 * step).all()
    assert rounded[0] == {"W_dec"} and rounded[0] < rounded[1] < rounded[2]
    assert rounded[2] == {name for name, array in expected.items() if array.ndim == 2}


def test_files_have_at_most_four_megabytes(tmp_path, served, monkeypatch):
    assert model_lib.PART * 4 / 3 <= 4_000_000
    monkeypatch.setattr(model_lib, "PART", 1000)
    _, question = written(tmp_path, served)
    assert len(question["packs"][0]) > 5 and all(len(part) <= 1000 for part in question["packs"][0])
    for name, array in stored(question).items():
        np.testing.assert_allclose(array, truth(served)[name], rtol=2**-10)


def test_dictionaries_of_one_transformer_share_its_files(tmp_path, served):
    written(tmp_path, served, "a/model")
    before = {f for f in (tmp_path / "data").rglob("*.js") if "transformer" in str(f)}
    written(tmp_path, served, "b/model")
    assert {f for f in (tmp_path / "data").rglob("*.js") if "transformer" in str(f)} == before
    a, b = (json.loads(chunk(tmp_path, f"{id}/model")) for id in "ab")
    assert a["packs"][0] == b["packs"][0] and a["packs"][1] != b["packs"][1] and a["tokenizer"] == b["tokenizer"]


def test_what_the_page_cannot_run_is_refused_with_the_reason(served, monkeypatch):
    def refusal(**changes):
        with pytest.raises(NotServed) as e:
            dataclasses.replace(served, **changes).check()
        return str(e.value)

    served.check()
    assert refusal(dictionary={**served.dictionary, "form": "softmax"}) == (
        "the page does not know the activation function softmax"
    )
    broken = {**served.dictionary_params, "b_enc": served.dictionary_params["b_enc"] * np.nan}
    assert "not finite" in refusal(dictionary_params=broken)
    assert "the page knows byte-level BPE" in refusal(tokenizer=tokenizer().to_str().replace('"BPE"', '"Unigram"'))
    large = {**served.dictionary_params, "W_dec": np.zeros((10_000, 1000), np.float32)}
    assert "the transformer and the dictionary would be at least 13 MB of files" in refusal(dictionary_params=large)
    monkeypatch.setattr(model_lib, "MOST_PARAMETERS", 100)
    assert "parameters: the page runs at most 100" in refusal()
