"""The suite "browser", with few features."""

import json

import pytest

from experiments.bench import browser_pages, suites
from experiments.bench.browser_records import write_records
from experiments.bench.browser_suite import BrowserBenchConfig
from monosem_jax.analysis.records_io import Records
from monosem_jax.runtime.errors import BadInput


@pytest.mark.drill
def test_the_suite_of_the_browser_prints_a_table_and_writes_its_figures(tmp_path, capfd):
    small = BrowserBenchConfig(features=(128, 256), distinct=128, frames=10)
    suites.run(tmp_path / "b", suites.BenchConfig(suite="browser", browser=small))
    found = json.loads((tmp_path / "b" / "bench.json").read_text())["suites"]
    pages = browser_pages.missing() == ""
    both = [f"{what}, {n} features" for n in (128, 256) for what in (("building", "pages") if pages else ("building",))]
    assert list(found) == [*both, "memory of building", *([] if pages else ["pages"])]
    built = found["building, 256 features"]
    assert built["bytes"]["all"] > built["bytes"]["search"] > 0 and built["ratios"]["records per second"][0] > 1
    if pages:
        ratios = {name: value for name, (value, _) in found["pages, 256 features"]["ratios"].items()}
        assert min(ratios.values()) > 0 and 10_000 < ratios["features: bytes before"] < 1_000_000
    assert "records per second" in capfd.readouterr().out
    assert not (tmp_path / "b" / "data").exists()


def test_made_up_records_are_records_and_have_their_own_numbers(tmp_path):
    write_records(tmp_path, 192, 64, 2)
    records = Records(tmp_path)
    read = list(records.all())
    assert [r.feature for r in read] == records.index()["feature"] == list(range(192))
    assert read[130].examples == read[2].examples != read[3].examples
    assert [n.feature for n in read[130].neighbours] == [n.feature for n in read[2].neighbours]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"features": ()}, r"config\.browser\.features is \(\)"),
        ({"features": (100,)}, "multiples of 64 are needed"),
        ({"distinct": 65}, r"config\.browser\.distinct is 65"),
        ({"contexts": 0}, r"config\.browser\.contexts is 0"),
        ({"frames": 1}, r"config\.browser\.frames is 1"),
    ],
)
def test_impossible_values_are_refused(values, why):
    with pytest.raises(BadInput, match=why):
        BrowserBenchConfig(**values).check()
