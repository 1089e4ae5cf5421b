"""The suite "scan", with a dictionary and texts that take no time."""

from __future__ import annotations

import json

import numpy as np
import pytest

from experiments.bench import suites
from experiments.bench.scan_suite import ScanBenchConfig
from experiments.bench.scan_work import AT_ONCE, L0, Work
from monosem_jax.runtime.errors import BadInput

SMALL = ScanBenchConfig(
    features=(256, 512), contexts=(4, 3), batch_contexts=(2, 2), rounds=1, memory_contexts=(2, 4), memory_features=64
)


@pytest.mark.drill
def test_the_suite_of_the_scan_prints_a_table_and_writes_its_figures(tmp_path, capfd):
    suites.run(tmp_path / "b", suites.BenchConfig(suite="scan", scan=SMALL))
    found = json.loads((tmp_path / "b" / "bench.json").read_text())["suites"]
    assert list(found) == ["cost, 256 features", "cost, 512 features", "growth with features", "peak memory"]
    shown = capfd.readouterr().out
    for name, figures in found.items():
        assert name in shown
        for what, (value, _) in figures["ratios"].items():
            assert what in shown and value > 0
    cost = found["cost, 512 features"]
    assert cost["tokens"] == 3 * 128 and cost["reads of the text"] == {"scan": 2, "feature by feature": 4}
    assert min(found["peak memory"]["peak_mb"]["scan"]) > 100


def test_the_dictionary_is_as_sparse_as_a_trained_one():
    work = Work.of(1024, 8, 4)
    s = work.scan(passes=1)
    assert 0.5 * L0 < s.density.sum() < 2 * L0 and s.tokens == np.sum(work.tokens != 0)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"features": ()}, r"config\.scan\.features is \(\)"),
        ({"contexts": (4,)}, "must have the same length"),
        ({"rounds": 0}, r"config\.scan\.rounds is 0"),
        ({"features": (AT_ONCE, 512)}, "128 per dashboard batch are needed"),
    ],
)
def test_impossible_values_are_refused(values, why):
    with pytest.raises(BadInput, match=why):
        ScanBenchConfig(**values).check()
