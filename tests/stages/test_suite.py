"""A suite: one pass over the text, a dictionary for each site, a table and a browser; resumed, and with failures."""

import csv
import dataclasses
import json
import pathlib

import pytest

from monosem_jax import load_run, load_suite
from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.analysis.kinds.table import KINDS
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.runtime.errors import BadInput, Stopped
from monosem_jax.sae.architectures.batchtopk import BatchTopKConfig
from monosem_jax.sae.architectures.transcoder import TranscoderConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages import browse, train_sae, train_transformer
from monosem_jax.stages import suite as stage
from monosem_jax.stages.analyze import AnalyzeRunConfig
from monosem_jax.stages.suite import SuiteConfig, suite
from monosem_jax.text.pack import TextConfig
from tests.activations.sources.tiny import TRAIN, assert_same_run
from tests.conftest import write_words

SITES = ("resid_post.0", "resid_post.1", "mlp_hidden.1")
HARVEST = HarvestConfig("resid_post.*,mlp_hidden.1", 8, bucket_rows=1024, shard_rows=1024, dtype="float32")
SAE = train_sae.SaeRunConfig(
    sae=BatchTopKConfig(n_features=32, k=4, dead_rows=200, input_scale="unit_rms"),
    train=dataclasses.replace(TRAIN, steps=8, evaluate_every=0),
    resample=ResampleConfig(steps=()),
    evaluate=EvaluateConfig(contexts=8),
)
ANALYZE = AnalyzeRunConfig(
    n_features=2,
    training_contexts=8,
    heldout_contexts=8,
    random_directions=0,
    without=tuple(KINDS.keys() - {"health", "categories"}),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> pathlib.Path:
    """A transformer of two layers, hardly trained."""
    root = tmp_path_factory.mktemp("model")
    write_words(root / "corpus.jsonl")
    shape = TransformerConfig(n_layers=2, d_model=16, d_mlp=24, n_heads=2, context_length=16)
    steps = dataclasses.replace(TRAIN, steps=1, batch_size=8, evaluate_every=0)
    text = TextConfig(str(root / "corpus.jsonl"), vocab_size=300)
    train_transformer.train_transformer(root / "run", train_transformer.TransformerRunConfig(0, text, shape, steps))
    return root / "run"


def config(model: pathlib.Path, **changes) -> SuiteConfig:
    return SuiteConfig(**{"transformer": str(model), "harvest": HARVEST, "sae": SAE, "analyze": ANALYZE, **changes})


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("suite") / "run"
    suite(path, config(model))
    return path


def test_every_member_is_the_dictionary_that_train_sae_makes_of_its_store(finished, tmp_path):
    run = load_suite(finished)
    assert tuple(run.members) == tuple(run.stores) == SITES
    site = SITES[2]
    train_sae.train_sae(tmp_path / "alone", dataclasses.replace(SAE, source=str(finished / "store" / site)))
    assert_same_run(tmp_path / "alone", finished / "members" / site)
    assert run.members[site].site == site and run.members[site].sae.width == 24


def test_the_table_has_the_figures_of_every_dictionary(finished):
    rows = {row["name"]: row for row in load_suite(finished).table}
    assert tuple(rows) == SITES
    for name, row in rows.items():
        own = load_run(finished / "members" / name).summary
        for key in (
            "l0",
            "loss_recovered_zero",
            "loss_recovered_mean",
            "variance_explained",
            "dead",
            "density_decades",
        ):
            assert row[key] == own[key]
    lines = list(csv.DictReader((finished / "suite.csv").read_text().splitlines()))
    assert [line["name"] for line in lines] == list(SITES) and [line["width"] for line in lines] == ["16", "16", "24"]
    assert all(float(line["l0"]) == rows[line["name"]]["l0"] for line in lines)
    table = (finished / "suite.md").read_text()
    assert table.startswith("## Dictionaries of 3 sites\n") and all(f"| {site} |" in table for site in SITES)
    assert "told" not in table and len(table.splitlines()) == 2 + 2 + 3


def test_a_finished_suite_does_nothing(model, finished, capsys):
    files = [p for p in finished.rglob("*") if p.is_file() and p.suffix in (".json", ".npy")]
    stamps = {p: p.stat().st_mtime_ns for p in files}
    assert suite(finished, config(model)) == load_suite(finished).summary
    assert {p: p.stat().st_mtime_ns for p in files} == stamps
    assert "[members" not in capsys.readouterr().out


def test_a_suite_that_was_stopped_goes_on_with_the_members_that_are_missing(model, finished, tmp_path, monkeypatch):
    train, made = train_sae.train_sae, []

    def stopping(path, own):
        if path.name == SITES[1]:
            raise Stopped("SIGTERM")
        return train(path, own)

    monkeypatch.setattr(stage.train_sae, "train_sae", stopping)
    with pytest.raises(Stopped):
        suite(tmp_path / "run", config(model))
    monkeypatch.setattr(stage.train_sae, "train_sae", lambda path, own: made.append(path.name) or train(path, own))
    before = (tmp_path / "run" / "members" / SITES[0] / "summary.json").stat().st_mtime_ns
    suite(tmp_path / "run", config(model))
    assert made == list(SITES)  # the first one says that it is finished
    assert (tmp_path / "run" / "members" / SITES[0] / "summary.json").stat().st_mtime_ns == before
    for site in SITES:
        assert_same_run(tmp_path / "run" / "members" / site, finished / "members" / site)


@pytest.mark.parametrize("error", [BadInput("the rows are too large"), RuntimeError("RESOURCE_EXHAUSTED: memory")])
def test_one_member_that_fails_does_not_lose_the_others(model, tmp_path, monkeypatch, capsys, error):
    train = train_sae.train_sae

    def failing(path, own):
        if path.name == SITES[1]:
            raise error
        return train(path, own)

    with monkeypatch.context() as patch:
        patch.setattr(stage.train_sae, "train_sae", failing)
        with pytest.raises(BadInput, match=r"1 of 3 dictionaries failed \(resid_post\.1: .*\): the others are in"):
            suite(tmp_path / "run", config(model))
    shown = capsys.readouterr()
    assert f"failed: resid_post.1: {'' if isinstance(error, BadInput) else 'RuntimeError: '}{error}" in shown.err
    lines = list(csv.DictReader((tmp_path / "run" / "suite.csv").read_text().splitlines()))
    assert [bool(line["l0"]) for line in lines] == [True, False, True] and lines[1]["told"] == "failed"
    assert not (tmp_path / "run" / "summary.json").exists()
    suite(tmp_path / "run", config(model))
    assert len(load_suite(tmp_path / "run").members) == 3 and "failed" not in (tmp_path / "run/suite.md").read_text()


def test_a_full_disk_stops_all(model, tmp_path, monkeypatch):
    def full(path, own):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stage.train_sae, "train_sae", full)
    with pytest.raises(OSError, match="No space left"):
        suite(tmp_path / "run", config(model))


def test_analyses_and_a_browser_of_all_are_added_to_a_finished_suite(model, finished, monkeypatch):
    suite(finished, config(model, analyses=True))
    for site in SITES:
        run = load_run(finished / "analysis" / site)
        assert run.summary is not None and run.dictionary.path == finished / "members" / site
    page = finished / "report" / "index.html"
    assert page.exists() and json.loads((finished / "report" / "summary.json").read_text())["records"] > 0
    opened = []
    monkeypatch.setattr(browse, "_open", opened.append)
    assert load_suite(finished).browse() == page and opened == [page]


def test_transcoders_read_two_sites_each(model, tmp_path):
    harvest = dataclasses.replace(HARVEST, site="mlp_in.*,mlp_out.*")
    sae = dataclasses.replace(SAE, sae=TranscoderConfig(n_features=32, k=4))
    given = config(model, harvest=harvest, sae=sae, dictionaries=("mlp_in.*+mlp_out.*",))
    suite(tmp_path / "run", given)
    run = load_suite(tmp_path / "run")
    assert list(run.members) == ["mlp_in.0+mlp_out.0", "mlp_in.1+mlp_out.1"]
    assert run.members["mlp_in.1+mlp_out.1"].site == "mlp_in.1+mlp_out.1" and len(run.stores) == 4
    with pytest.raises(BadInput, match=r"has no browser: run experiments.suite again with --analyses"):
        run.browse()


def test_a_suite_of_one_site_has_one_store(model, tmp_path):
    one = dataclasses.replace(HARVEST, site="mlp_hidden.1")
    suite(tmp_path / "run", config(model, harvest=one))
    run = load_suite(tmp_path / "run")
    assert list(run.members) == list(run.stores) == ["mlp_hidden.1"] and (tmp_path / "run/store/store.json").exists()


WRONG = {
    r"config.dictionaries: mlp_in.0 reads mlp_in.0, which harvest.site lacks": {"dictionaries": ("mlp_in.0",)},
    r"config.dictionaries: resid_post.1 is there twice": {"dictionaries": ("resid_post.*", "resid_post.1")},
    r"batchtopk reads one source": {"dictionaries": ("resid_post.0+resid_post.1",)},
    r"site 'mlp_in.5' does not exist": {"harvest": dataclasses.replace(HARVEST, site="mlp_in.5,mlp_in.0")},
    r"config.transformer is empty": {"transformer": ""},
    r"config.seed is -1|seed": {"seed": -1},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_impossible_is_refused_before_any_work(model, tmp_path, message):
    with pytest.raises(BadInput, match=message):
        suite(tmp_path / "run", config(model, **WRONG[message]))
    assert not list((tmp_path / "run").rglob("store.json")) and not (tmp_path / "run" / "config.json").exists()
