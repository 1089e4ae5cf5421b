"""A dictionary's run directory as the page "Try it" runs it, or why it cannot."""

import shutil

import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.report.browser.tokenizer import NotServed
from monosem_jax.stages.browser_model import served_model
from monosem_jax.text.tokenizer import train_tokenizer
from tests import planted


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    found = tmp_path_factory.mktemp("planted")
    planted.write_runs(found, contexts=4)
    return found


def test_a_tokenizer_of_words_is_refused(root):
    with pytest.raises(NotServed, match="the tokenizer is WordLevel with the pre-tokenizer WhitespaceSplit"):
        served_model(mj.load_sae(root / "sae"))


def test_a_run_is_served_with_its_published_parameters(root, tmp_path):
    shutil.copytree(root, tmp_path / "runs")
    train_tokenizer(["a b"], 300).save(str(tmp_path / "runs" / "transformer" / "text" / "tokenizer.json"))
    run = mj.load_sae(tmp_path / "runs" / "sae")
    served = served_model(run)
    assert served.transformer["d_mlp"] == planted.M and served.bos == planted.BOS
    assert served.dictionary == {
        "form": "relu", "k": None, "n_features": planted.F, "sites": [planted.SITE], "effect_site": planted.SITE,
        "effect_start": 0, "width_in": planted.M, "width_out": planted.M, "centred": True,
    }  # fmt: skip
    assert all(np.array_equal(served.dictionary_params[name], run.params[name]) for name in run.params)


def test_a_dictionary_without_its_transformer_is_refused(root, tmp_path):
    shutil.copytree(root / "sae", tmp_path / "sae")
    run = mj.load_sae(tmp_path / "sae")
    run.__dict__["record"] = {**run.record, "parents": {}}
    with pytest.raises(NotServed, match="the transformer cannot be opened"):
        served_model(run)
