"""Sources that cannot be used, and transformers that do not belong to them."""

import dataclasses
import json
import pathlib
import shutil
import types

import jax
import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.activations.online import OnlineConfig
from monosem_jax.activations.scale import input_scale
from monosem_jax.activations.sources import open_source, stored
from monosem_jax.activations.sources.base import SourceRequest, hold_out_rows
from monosem_jax.activations.store.store import open_rows
from monosem_jax.activations.stream.stream import StreamConfig
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.load import TransformerRun
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages import evaluate, train_sae
from tests.activations.sources.tiny import ONLINE, SITE, TRAIN, M, config, online_config
from tests.conftest import mesh_of
from tests.small_loop import Crash, crash

ONLINE_MISTAKES = {
    "no transformer": ({"transformer": ""}, r"config\.transformer is empty"),
    "unknown site": ({"online": OnlineConfig("mlp_hidden.7")}, r"site 'mlp_hidden\.7' does not exist"),
    "small buffer": ({"online": dataclasses.replace(ONLINE, buffer_rows=63)}, r"online\.buffer_rows 63 is smaller"),
    "impossible value": ({"online": OnlineConfig(rows_per_context=0)}, r"online\.rows_per_context is 0"),
    "impossible stream": ({"stream": StreamConfig("tape")}, r"stream\.kind is 'tape'"),
    "features that shards do not divide": (
        {"train": dataclasses.replace(TRAIN, mesh="data=2,model=4"), "sae": ReluConfig(n_features=30)},
        r"sae\.n_features 30 is not divisible by the 4 model shards",
    ),
    "empty source": ({"source": ""}, r"config\.source is empty: expected a store, an array, online or synthetic"),
}


@pytest.mark.parametrize("name", ONLINE_MISTAKES)
def test_a_mistake_leaves_the_directory_free(root, tmp_path, name):
    changes, message = ONLINE_MISTAKES[name]
    with pytest.raises(BadInput, match=message):
        train_sae.train_sae(tmp_path / "run", dataclasses.replace(online_config(root), **changes))
    assert not (tmp_path / "run" / "config.json").exists()


def test_impossible_values_of_online_are_refused_with_any_source():
    with pytest.raises(BadInput, match=r"online\.buffer_rows is 0"):
        config("array.npy", online=OnlineConfig(buffer_rows=0)).check()


def test_online_rows_that_are_not_finite_are_refused(root, tmp_path, monkeypatch):
    params = jax.tree.map(lambda p: p * 1e4, load_run(root / "transformer").params)
    monkeypatch.setattr(TransformerRun, "params", params)
    with pytest.raises(BadInput, match=r"in online\.dtype float16: \d+ of the first \d+ rows are not finite"):
        train_sae.train_sae(tmp_path, online_config(root, online=dataclasses.replace(ONLINE, dtype="float16")))
    assert not (tmp_path / "config.json").exists()


@pytest.fixture
def damaged(root, tmp_path) -> pathlib.Path:
    rows = np.load(root / "array.npy")
    rows[700, 3], rows[900] = np.nan, np.inf
    np.save(tmp_path / "damaged.npy", rows)
    return tmp_path / "damaged.npy"


def test_an_array_with_rows_that_are_not_finite_is_refused_before_training(damaged, tmp_path):
    with pytest.raises(BadInput, match=r"damaged\.npy: 2 of 1500 rows are not finite, first at row 700 column 3: .*--"):
        train_sae.train_sae(tmp_path / "run", config(damaged))
    assert not (tmp_path / "run" / "config.json").exists() and not (tmp_path / "run" / "checkpoints").exists()


def test_an_array_is_read_for_such_rows_once(root, tmp_path, monkeypatch, stopped):
    scans, scan = [], stored.check_rows_finite
    monkeypatch.setattr(stored, "check_rows_finite", lambda *a, **k: scans.append(1) or scan(*a, **k))
    stopped(tmp_path, config(root / "array.npy"), crash, Crash)
    assert train_sae.train_sae(tmp_path, config(root / "array.npy"))["resumed_from_step"] == 8
    assert len(scans) == 1


def test_a_store_is_not_read_for_such_rows(root, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "check_rows_finite", lambda *a, **k: pytest.fail("scanned"))
    short = dataclasses.replace(TRAIN, steps=1)
    train_sae.train_sae(tmp_path, config(root / "converted", train=short, resample=ResampleConfig(steps=())))


@pytest.mark.parametrize("name", ["array.npy", "converted"])
def test_the_last_tenth_of_an_array_is_kept_from_training(root, name):
    made = config(root / name)
    source = open_source(made.source_request())
    rows = open_rows(root / name).read(0, 1500)
    np.testing.assert_array_equal(source.heldout.read(0, 10**6), rows[1350:])
    trained = source.stream(mesh_of(1, 1)).sample(10**6)
    assert source.transformer is None and source.site is None
    np.testing.assert_array_equal(*(np.sort(x.view(f"V{4 * M}"), axis=0) for x in (trained, rows[:1350])))


def test_at_most_65_536_rows_are_kept_from_training():
    rows = types.SimpleNamespace(n_rows=10**7, width=2, dtype=np.dtype(np.float32))
    assert hold_out_rows(rows, 64).n_rows == 65_536


def test_an_array_of_a_few_rows_keeps_one_of_them(tmp_path):
    np.save(tmp_path / "few.npy", np.eye(9, 4, dtype=np.float32))
    few = SourceRequest(str(tmp_path / "few.npy"), batch_size=8)
    assert open_source(few).heldout.n_rows == 1
    with pytest.raises(BadInput, match=r"train\.batch_size 9 is larger than the 8 rows to train on"):
        open_source(dataclasses.replace(few, batch_size=9))


def test_activations_that_are_all_zero_have_no_scale():
    for kind in ("unit_rms", "sqrt_width", "unit_norm"):
        with pytest.raises(BadInput, match="all zero"):
            input_scale(kind, np.zeros((4, 2)), (2,))
    assert input_scale("none", np.zeros((4, 2)), (2,)) == 1


def test_the_input_scale_is_that_of_the_store_where_it_is_known():
    assert input_scale("unit_rms", np.ones((4, 2)), (2,), mean_square=4.0) == 0.5
    assert input_scale("unit_rms", np.full((4, 2), 10.0), (2,)) == pytest.approx(0.1)
    assert input_scale("sqrt_width", np.ones((4, 2)), (2,), mean_square=4.0, mean_norm=3.0) == pytest.approx(2**0.5 / 3)
    assert input_scale("unit_norm", np.ones((4, 2)), (2,), mean_square=4.0) == pytest.approx(8**-0.5)


@pytest.mark.parametrize("kind", ["none", "unit_rms", "sqrt_width", "unit_norm"])
def test_every_part_of_a_row_is_scaled_for_itself(kind):
    sample = np.random.default_rng(0).normal(size=(50, 5)) * [3, 3, 20, 20, 20]
    scales = input_scale(kind, sample, (2, 3))
    first, second = sample[:, :2] * scales[0], sample[:, 2:] * scales[1]
    for x, raw in ((first, sample[:, :2]), (second, sample[:, 2:])):
        squares = np.sum(x**2, axis=1)
        found = {"unit_rms": squares.mean() / x.shape[1], "unit_norm": squares.mean()}
        found |= {"sqrt_width": np.sqrt(squares).mean() / x.shape[1] ** 0.5, "none": np.abs(x / raw).mean()}
        assert found[kind] == pytest.approx(1)


@pytest.mark.parametrize("name", ["array.npy", "converted"])
def test_rows_of_nobody_knows_what_are_refused_with_a_transformer(root, name):
    message = rf"config\.transformer is .*transformer, but .*{name} does not say which site of which transformer"
    with pytest.raises(BadInput, match=message):
        open_source(config(root / name, transformer=str(root / "transformer")).source_request())


def test_a_store_of_another_transformer_is_refused(root):
    message = r"store .*store was not harvested from .*other: the hashes of the parameters differ \(\w{12} and \w{12}\)"
    with pytest.raises(BadInput, match=message):
        open_source(config(root / "store", transformer=str(root / "other")).source_request())


def test_a_store_of_the_same_parameters_but_another_tokenizer_is_refused(root, tmp_path):
    shutil.copytree(root / "transformer", tmp_path / "transformer")
    manifest = json.loads((tmp_path / "transformer/text/text.json").read_text())
    (tmp_path / "transformer/text/text.json").write_text(json.dumps({**manifest, "tokenizer_sha256": "of another"}))
    with pytest.raises(BadInput, match=r"the hashes of the tokenizers differ \(\w{12} and of another\)"):
        open_source(config(root / "store", transformer=str(tmp_path / "transformer")).source_request())


def test_a_store_alone_keeps_rows_and_one_that_knows_its_run_finds_its_transformer(root, tmp_path):
    for name in ("store.json", "activations"):
        (tmp_path / name).symlink_to(root / "store" / name)
    alone, whole = open_source(config(tmp_path).source_request()), open_source(config(root / "store").source_request())
    assert alone.transformer is None and alone.site == SITE
    assert alone.heldout.n_rows == min(alone.n_rows // 10, 65_536)
    assert whole.transformer.path.resolve() == root / "transformer" and whole.heldout is None
    given = open_source(config(tmp_path, transformer=str(root / "transformer")).source_request())
    assert given.transformer.path == root / "transformer" and given.heldout is None


def test_a_store_whose_transformer_was_replaced_is_refused(root, tmp_path):
    swapped = shutil.copytree(root / "store", tmp_path / "store")
    shutil.copytree(root / "other", tmp_path / "transformer")
    point_at(swapped, "transformer", tmp_path / "transformer")
    with pytest.raises(BadInput, match=rf"store was made from {tmp_path}/transformer, which .* has changed"):
        open_source(config(swapped).source_request())


def point_at(run: pathlib.Path, name: str, path: pathlib.Path) -> None:
    """Has the record of a run say that its parent was there, and nowhere else."""
    record = json.loads((run / "config.json").read_text())
    record["parents"][name] |= {"path": str(path), "relative": str(path)}
    (run / "config.json").write_text(json.dumps(record))


@pytest.mark.parametrize("name", ["online", "disk"])
def test_a_dictionary_is_not_evaluated_with_a_transformer_put_in_the_place_of_its_own(finished, root, tmp_path, name):
    dictionary = shutil.copytree(finished[name], tmp_path / "sae")
    point_at(dictionary, "transformer", shutil.copytree(root / "transformer", tmp_path / "transformer"))
    small = EvaluateConfig(contexts=4)
    assert evaluate.evaluate(tmp_path / "good", evaluate.EvaluateRunConfig(str(dictionary), -1, small))[
        "evaluated_tokens"
    ]
    shutil.rmtree(tmp_path / "transformer")
    shutil.copytree(root / "other", tmp_path / "transformer")
    message = rf"sae was made from {tmp_path}/transformer, which does not exist any more or has changed"
    with pytest.raises(BadInput, match=message):
        evaluate.evaluate(tmp_path / "bad", evaluate.EvaluateRunConfig(str(dictionary), -1, small))
    assert not (tmp_path / "bad" / "config.json").exists()


def test_a_dictionary_of_an_array_is_not_evaluated_with_any_transformer(root, tmp_path):
    short = dataclasses.replace(TRAIN, steps=1)
    train_sae.train_sae(tmp_path / "sae", config(root / "array.npy", train=short, resample=ResampleConfig(steps=())))
    with pytest.raises(BadInput, match="was trained on an array without its transformer"):
        evaluate.evaluate(tmp_path / "bad", evaluate.EvaluateRunConfig(str(tmp_path / "sae")))
