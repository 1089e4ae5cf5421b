"""Kinds of sources by name; a new kind needs only a function and a line in the table."""

from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.activations.sources import SOURCES, SourceKind, open_source, recognises, recorded_name
from monosem_jax.activations.sources.base import ActivationSource, SourceRequest
from monosem_jax.activations.synthetic import SyntheticConfig
from monosem_jax.runtime.errors import BadInput


def kind_of(source: str) -> str:
    return next(name for name, kind in SOURCES.items() if recognises(name, kind, source))


def test_keywords_and_paths_are_told_apart(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "with,comma.npy").touch()
    (tmp_path / "online").mkdir()
    expected = {
        "online": "online",
        "synthetic": "synthetic",
        str(root / "store"): "store",
        f"{root / 'store'},{root / 'array.npy'}": "several",
        str(root / "array.npy"): "array",
        "with,comma.npy": "array",
        "./online": "array",
    }
    assert {source: kind_of(source) for source in expected} == expected
    assert {recorded_name(source) for source in expected} == {"online", "synthetic", ""}
    assert recorded_name("store") == recorded_name("array") == ""  # paths that happen to be called so


def test_a_new_kind_is_one_line_of_the_table(monkeypatch):
    def open_ones(request: SourceRequest) -> ActivationSource:
        return ActivationSource("ones", 3, np.dtype(np.float32), {}, lambda mesh: request.seed)

    monkeypatch.setitem(SOURCES, "ones", SourceKind(open_ones))
    monkeypatch.setattr("monosem_jax.activations.sources.SOURCES", {"ones": SOURCES["ones"], **SOURCES})
    source = open_source(SourceRequest("ones", seed=7))
    assert source.stream(None) == 7 and recorded_name("ones") == "ones"
    assert source.check_finite() is None and source.score(None) == {}


def test_only_synthetic_rows_score_a_dictionary_by_its_true_features():
    source = open_source(SourceRequest("synthetic", batch_size=8, synthetic=SyntheticConfig(4, 6, n_rows=100)))
    assert (source.width, source.n_rows, source.heldout.n_rows) == (6, 100, 10)
    assert source.transformer is None and source.site is None and source.parents == {}
    found = source.score(np.eye(6, dtype=np.float32))
    assert found["true_features"] == 4 and 0 < found["mean_max_cosine"] <= 1


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"source .*nowhere does not exist"):
        open_source(SourceRequest(str(tmp_path / "nowhere")))
