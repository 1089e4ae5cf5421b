"""Small runs of the benchmarks print their figures and write them to bench.json."""

import json

import numpy as np
import pytest

from experiments.bench import suites, train_suite
from experiments.bench.store import _neighbours, make_source
from tests.experiments.tiny import run


@pytest.mark.drill
def test_the_suite_of_the_store_prints_a_table_and_writes_its_figures(tmp_path):
    small = {"rows": 16_384, "harvest_rows": 2048, "batch_size": 256, "steps_per_dispatch": 4, "rounds": 1}
    flags = [f"--config.{key}={value}" for key, value in small.items()]
    done = run("bench", f"--workdir={tmp_path / 'b'}", "--suite=store", *flags)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "b" / "bench.json").read_text())
    assert found["config"]["rows"] == 16_384 and found["jax"]
    suites = found["suites"]
    reading = {f"reading, files {where} the page cache" for where in ("in", "not in")}
    assert set(suites) == {"harvesting", "mixing", "peak memory", *reading}
    for name, figures in suites.items():
        assert name in done.stdout
        for what, (value, _) in figures["ratios"].items():
            assert what in done.stdout and value > 0
    assert not (tmp_path / "b" / "data").exists()


@pytest.mark.drill
def test_the_suite_of_training_prints_a_table_and_writes_its_figures(tmp_path):
    small = {
        "features": "(64,)", "source_features": 64, "stacked_features": 32, "members": "(1,2)", "batch_size": 64,
        "store_rows": 12_000, "turn_seconds": 0.01,
    }  # fmt: skip
    flags = [f"--config.train.{key}={value}" for key, value in small.items()]
    done = run("bench", f"--workdir={tmp_path / 'b'}", "--suite=train", "--peers", "--config.rounds=1", *flags)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "b" / "bench.json").read_text())
    assert found["platform"] == "cpu" and set(found["peers"]) == {"SAELens", "dictionary_learning"}
    suites = found["suites"]
    assert list(suites) == [
        "steps, F=64", "sources, F=64", "stacked, F=32", "start-up, F=64", "whole runs, F=32", "peak memory"
    ]  # fmt: skip
    for name, figures in suites.items():
        assert name in done.stdout and not {"failed", "skipped"} & set(figures), figures
        for what, (value, _) in figures["ratios"].items():
            assert what in done.stdout and value > 0
    assert set(suites["sources, F=64"]["rows_per_second"]) == {"disk", "resident", "online"}
    assert suites["steps, F=64"]["batch"] == suites["peak memory"]["megabytes"]["64"]["batch"] == 64
    assert 0 < suites["start-up, F=64"]["seconds"]["warm"] < 60
    assert set(suites["whole runs, F=32"]["seconds"]) == {"one run", "2 runs", "a sweep of 2"}
    assert suites["peak memory"]["megabytes"]["64"]["process"] > 100
    assert not (tmp_path / "b" / "data").exists()


def test_parts_that_fail_are_named_after_the_others_have_run(tmp_path, monkeypatch):
    def part(suite, n_features, seconds):
        return {"megabytes": {"n": {"features": n_features}}, "ratios": {}}

    def broken(suite, n_features, seconds):
        raise ValueError("a batch\nlarger than the store")

    for name in ("_steps", "_stacked", "_startup", "_memory"):
        monkeypatch.setattr(train_suite.TrainSuite, name, part)
    monkeypatch.setattr(train_suite.TrainSuite, "_sources", broken)
    monkeypatch.setattr(train_suite.cost_table, "matmul_peak", lambda dtype, seconds: 1e9)
    small = train_suite.TrainBenchConfig(
        features=(64,), source_features=64, stacked_features=32, members=(1,), batch_size=256, minutes=0.01
    )
    with pytest.raises(RuntimeError, match=r"^failed: sources, F=64$"):
        suites.run(tmp_path / "b", suites.BenchConfig(suite="train", train=small))
    found = json.loads((tmp_path / "b" / "bench.json").read_text())["suites"]
    assert found["sources, F=64"]["failed"] == "ValueError: a batch larger than the store"
    assert "are left for it" in found["whole runs, F=32"]["skipped"] and list(found)[-1] == "peak memory"


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("--suite=speed", "suite is 'speed': expected store, train, family, scan, browser"),
        ("--config.train.features=()", "config.train.features is ()"),
        ("--config.train.compute_dtype=float8", "expected auto, float32, bfloat16"),
    ],
)
def test_impossible_values_are_refused(tmp_path, flag, why):
    done = run("bench", f"--workdir={tmp_path / 'b'}", flag)
    assert done.returncode == 2 and why in done.stderr


def test_neighbours_are_told_from_strangers():
    contexts, norms = np.repeat(np.arange(100), 10), np.repeat(np.arange(100.0), 10)
    together = _neighbours(contexts, norms, np.arange(1000))
    apart = _neighbours(contexts, norms, np.random.default_rng(0).permutation(1000))
    assert together[0] == 900 / 999 and together[1] > 0.99
    assert apart[0] < 0.03 and abs(apart[1]) < 0.1


def test_rows_of_one_context_are_alike_in_the_benchmarks_source():
    made = make_source(2400, "float32")
    norms = np.concatenate([np.sqrt(s[:, 0]) for _, _, s in made.batches(0, made.n_rows)])
    assert _neighbours(np.arange(made.n_rows) // 120, norms, np.arange(made.n_rows))[1] > 0.05
