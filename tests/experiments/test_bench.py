"""The benchmarks run, in small, and hold what they print."""

import json

import numpy as np

from monosem_jax.bench.store import _neighbours, make_source
from tests.experiments.tiny import run


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


def test_an_unknown_suite_is_refused(tmp_path):
    done = run("bench", f"--workdir={tmp_path / 'b'}", "--suite=speed")
    assert done.returncode == 2 and "suite is 'speed': expected store" in done.stderr


def test_neighbours_are_told_from_strangers():
    contexts, norms = np.repeat(np.arange(100), 10), np.repeat(np.arange(100.0), 10)
    together = _neighbours(contexts, norms, np.arange(1000))
    apart = _neighbours(contexts, norms, np.random.default_rng(0).permutation(1000))
    assert together[0] == 900 / 999 and together[1] > 0.99
    assert apart[0] < 0.03 and abs(apart[1]) < 0.1


def test_rows_of_one_context_are_alike_in_the_benchmarks_source():
    made = make_source(2400, "float32")
    norms = np.concatenate([np.sqrt(s) for _, _, s in made.batches(0, made.n_rows)])
    assert _neighbours(np.arange(made.n_rows) // 120, norms, np.arange(made.n_rows))[1] > 0.05
