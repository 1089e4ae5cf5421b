"""delphi's cache, read by its format's description, holds the activations of the dictionary on the analysis' text."""

import itertools
import json

import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.interop import delphi
from monosem_jax.interop.analyzed import Analyzed
from monosem_jax.runtime.errors import BadInput
from monosem_jax.stages import export as stage
from monosem_jax.stages.export import ExportConfig
from tests import planted
from tests.interop.small import SITE

DTYPES = {"U16": "<u2", "U32": "<u4", "F16": "<f2", "F32": "<f4", "I32": "<i4"}


def tensors(path) -> dict[str, np.ndarray]:
    """A .safetensors file, by the format's description."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    assert length % 8 == 0
    spans = sorted(entry["data_offsets"] for entry in header.values())
    assert spans[0][0] == 0 and spans[-1][1] == len(body)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    return {
        name: np.frombuffer(body[slice(*e["data_offsets"])], DTYPES[e["dtype"]]).reshape(e["shape"])
        for name, e in header.items()
    }


def read(folder) -> tuple[dict[tuple[int, int], dict[str, np.ndarray]], np.ndarray]:
    """((start, end) -> tensors, all activations [C,T,F]) as delphi's loader puts them together."""
    files = {tuple(map(int, p.stem.split("_"))): tensors(p) for p in (folder / "latents" / SITE).glob("*.safetensors")}
    tokens = next(iter(files.values()))["tokens"]
    dense = np.zeros((*tokens.shape, max(files)[1] + 1))
    for (start, _), found in files.items():
        at = found["locations"].astype(np.int64)
        np.testing.assert_array_equal(found["tokens"], tokens)
        dense[at[:, 0], at[:, 1], at[:, 2] + start] = found["activations"]
    return files, dense


def export(analysis, out):
    stage.export(analysis, ExportConfig("delphi", str(out)))
    return out


@pytest.fixture(scope="module")
def cache(small_analysis, tmp_path_factory):
    return export(small_analysis, tmp_path_factory.mktemp("delphi") / "out")


def test_the_cache_holds_all_activations_and_their_tokens(small_analysis, cache):
    run = mj.load_analysis(small_analysis)
    tokens = run.transformer.text.tokens("heldout")
    files, dense = read(cache)
    np.testing.assert_array_equal(next(iter(files.values()))["tokens"], tokens)
    expected = mj.feature_set(run.dictionary).activations(tokens)
    expected[np.abs(expected) <= delphi.SMALLEST] = 0
    np.testing.assert_allclose(dense, expected, rtol=1e-3)  # fp16
    truth = planted.activations(tokens) * (np.asarray(tokens) != planted.BOS)[..., None]
    np.testing.assert_allclose(dense, truth, atol=3e-3)
    for record in run.records.all():
        assert np.count_nonzero(dense[..., record.feature]) == record.fired
        for e in record.examples:
            assert dense[e.context, e.position, record.feature] == pytest.approx(e.activations[e.peak], rel=2e-3)


def test_splits_are_contiguous_not_empty_and_in_the_order_of_the_text(cache):
    files, _ = read(cache)
    edges = sorted(files)
    assert edges[0][0] == 0 and edges[-1][1] == planted.F - 1
    assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(edges))
    for (start, end), found in files.items():
        at = found["locations"].astype(np.int64)
        assert len(at) == len(found["activations"]) > 0 and at[:, 2].max() <= end - start
        for feature in np.unique(at[:, 2]):
            place = at[at[:, 2] == feature] @ [planted.T, 1, 0]
            assert (np.diff(place) > 0).all()  # delphi joins neighbouring entries to examples
        assert found["locations"].dtype == np.uint16 and found["activations"].dtype == np.float16


def test_the_configuration_and_the_tokenizer_are_there(cache):
    about = json.loads((cache / "latents" / SITE / "config.json").read_text())
    assert (about["cache_ctx_len"], about["n_splits"], about["model_name"]) == (planted.T, 5, "transformer")
    assert {p.name for p in cache.iterdir()} == {"latents", "tokenizer.json"}
    assert [p.name for p in (cache / "latents").iterdir()] == [SITE]  # delphi takes every entry for a module


def test_small_blocks_and_batches_give_the_same(small_analysis, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(delphi, "BLOCK", 7)
    monkeypatch.setattr(delphi, "BATCH_BYTES", 4 * planted.T * planted.F * 7)  # 7 contexts, which do not divide 60
    monkeypatch.setattr(delphi, "SPLIT_ENTRIES", 200)
    files, dense = read(export(small_analysis, tmp_path / "out"))
    np.testing.assert_array_equal(dense, read(cache)[1])
    assert len(files) > 5


def test_features_that_never_fire_are_joined_with_their_neighbours():
    splits = [delphi.Split(i, i + 1, None, count) for i, count in enumerate((0, 3, 0, 0, 2, 0))]
    found = delphi._merged(splits)
    assert [(part[0].start, part[-1].stop) for part in found] == [(0, 4), (4, 6)]


def test_numbers_too_large_for_the_short_types_are_kept(tmp_path):
    """More than 65,536 contexts, and an activation that fp16 does not hold."""
    entries = np.zeros(2, delphi.ENTRY)
    entries["at"], entries["value"] = [[70_000, 1, 5], [70_001, 0, 6]], [1e5, -2]
    entries.tofile(tmp_path / "between")
    split = delphi.Split(5, 7, tmp_path / "between", 2, 1e5)
    delphi._assemble(tmp_path / "5_6.safetensors", [split], np.zeros((70_002, 2), np.int32))
    found = tensors(tmp_path / "5_6.safetensors")
    np.testing.assert_array_equal(found["locations"], [[70_000, 1, 0], [70_001, 0, 1]])
    np.testing.assert_array_equal(found["activations"], np.float32([1e5, -2]))


def test_contexts_that_delphis_examples_do_not_divide_are_named(small_analysis, tmp_path, capsys):
    export(small_analysis, tmp_path / "out")
    assert "contexts have 24 tokens: give delphi --example_ctx_len 24" in capsys.readouterr().out


def test_without_a_transformer_there_is_no_cache(small_analysis, tmp_path, monkeypatch):
    def gone(self):
        raise BadInput("the text is gone")

    monkeypatch.setattr(Analyzed, "scanned", gone)
    with pytest.raises(BadInput, match="the text is gone"):
        export(small_analysis, tmp_path / "out")
    assert not list(tmp_path.iterdir())
