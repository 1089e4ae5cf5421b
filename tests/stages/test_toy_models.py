"""The stage of toy models, in a very small size: what it writes opens again, and bad settings are one line."""

import dataclasses
import json

import numpy as np
import pytest

import monosem_jax as mj
from experiments.configs.toy_models import get_config
from monosem_jax.runtime.errors import BadInput
from monosem_jax.stages.toy_models import ToyModelsConfig, toy_models
from monosem_jax.toy.superposition import ToyConfig


def smallest() -> ToyModelsConfig:
    """Every study with models that train for a moment."""
    config = get_config("tiny")
    toys = {
        f.name: dataclasses.replace(getattr(config, f.name), steps=60, batch_size=64, snapshots=12)
        for f in dataclasses.fields(config)
        if isinstance(getattr(config, f.name), ToyConfig)
    }
    toys |= {
        "geometry": dataclasses.replace(toys["geometry"], n_features=12, n_hidden=4),
        "hidden": dataclasses.replace(toys["hidden"], n_features=12, n_hidden=8),
        "families": dataclasses.replace(toys["families"], n_features=4, n_hidden=4),
    }
    few = dataclasses.replace(
        config.dictionaries,
        architectures=("topk",),
        split_by=(),
        absorb_by=(),
        steps=20,
        batch_size=32,
        rows=2048,
        measured_rows=512,
    )
    return dataclasses.replace(config, instances=3, pictures=2, phase_points=2, seeds=2, dictionaries=few, **toys)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("toys") / "run"
    return path, toy_models(path, smallest())


def test_tables_arrays_and_figures_are_there_and_open(made):
    path, summary = made
    run = mj.load_toy_models(path)
    assert run.summary == summary and type(mj.load_run(path)) is type(run)
    assert set(run.tables) == {
        "polygons", "geometry", "graded", "phase", "pairs", "groups", "learning", "architectures", "other_toy", "sizes",
        "absorption", "resampling", "gaps",
    }  # fmt: skip
    assert run.arrays("geometry")["W"].shape == (3, 4, 12) and run.arrays("phase")["phases"].shape == (2, 2)
    assert len(run.tables["geometry"]) == 3 and run.tables["gaps"] == [] == run.tables["sizes"]
    for row, W in zip(run.tables["geometry"], run.arrays("geometry")["W"], strict=True):
        assert row["d_star"] == pytest.approx(4 / np.square(W.astype(np.float64)).sum())
    for name in ("polygons", "geometry", "phase", "learning", "recovery"):
        assert (path / f"{name}.png").read_bytes()[:4] == b"\x89PNG" and (path / f"{name}.svg").exists()
    with pytest.raises(BadInput, match=r"the study is 'geometri'.*did you mean 'geometry'"):
        run.arrays("geometri")
    json.loads((path / "toy.json").read_text(), parse_constant=pytest.fail)  # no NaN


def test_the_summary_is_that_of_the_tables(made):
    _, summary = made
    assert set(summary["recovered"]) == {"topk"} and 0 <= summary["recovered"]["topk"] <= 1
    assert set(summary["recovered_by_resampling"]) == {"none", "paper", "paper, Adam restarted"}
    assert sum(summary["levels"].values()) == 3 * 12 and 0 <= summary["phase_agree"] <= 1
    assert summary["gaps"] == 0


def test_a_finished_run_is_left_as_it_is_and_another_configuration_is_refused(made, capsys):
    path, summary = made
    capsys.readouterr()
    assert toy_models(path, smallest()) == summary
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(BadInput, match="belongs to another configuration"):
        toy_models(path, dataclasses.replace(smallest(), seed=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "config.seed is -1"),
        ({"instances": 1}, "config.instances is 1: expected 2 or more"),
        ({"geometry": ToyConfig(steps=0)}, "geometry.steps is 0"),
        ({"families": ToyConfig(5, 5)}, "must be even"),
        (
            {"dictionaries": {"architectures": ("crosscoder",)}},
            r"^config\.dictionaries\.architectures has 'crosscoder'",
        ),
        ({"dictionaries": {"factors": ()}}, r"^config\.dictionaries\.factors is \(\)"),
        ({"dictionaries": {"rows": 10}}, r"^config\.dictionaries\.batch_size is 32: expected at most rows, 10"),
    ],
)
def test_impossible_settings_are_named_before_any_work(tmp_path, changes, message):
    config = smallest()
    if isinstance(own := changes.get("dictionaries"), dict):
        changes = {"dictionaries": dataclasses.replace(config.dictionaries, **own)}
    with pytest.raises(BadInput, match=message):
        toy_models(tmp_path / "run", dataclasses.replace(config, **changes))
    assert not (tmp_path / "run").exists()
