"""The planted model from end to end: proxies fitted on its training text, scans of both texts, the table."""

from __future__ import annotations

import numpy as np
import pytest

from monosem_jax.analysis.proxies.chosen import choose_proxies
from monosem_jax.analysis.proxies.evidence import proxy_table
from monosem_jax.analysis.scan.config import ScanConfig
from monosem_jax.analysis.scan.entry import scan
from monosem_jax.text.pack import Text
from tests import planted

DNA = "strand=regex:\\b[ACGT]{4}\\b"


def table(root, sets, **options):
    """The table of the sets on the planted text."""
    text = Text(root / "transformer" / "text")
    proxies = choose_proxies(text, **options)
    scans, gaps = {}, []
    for split in ("train", "heldout"):
        values = proxies.on(text.tokens(split))
        config = ScanConfig(neighbours=1)
        scans[split] = [scan(s, np.asarray(text.tokens(split)), config=config, proxies=values) for s in sets]
        gaps = values.gaps
    return proxy_table(proxies.chosen, gaps, scans["train"], scans["heldout"], sets[0].effect_directions)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    planted.write_runs(folder, 300)
    return folder


@pytest.fixture(scope="module")
def rows(root):
    it = planted.planted()
    control = planted.control()
    sets = [it.features, it.neurons, control.features]
    return {row.proxy: row for row in table(root, sets, names=("hebrew", "arabic"), entries=(DNA,)).rows}


def test_the_feature_of_a_script_is_found(rows):
    feature, neuron, control = rows["hebrew"].best
    assert feature.feature == planted.SET_FEATURE
    assert feature.score.specificity_all == feature.score.sensitivity == feature.score.specificity_top == 1.0
    assert (feature.score.pearson or 0) > 0.9 > (neuron.score.pearson or 0)
    assert (control.score.pearson or 0) < 0.9 and (control.score.specificity_all or 0) < 0.9
    largest = int(np.argmax(planted.directions()[planted.SET_FEATURE]))
    assert rows["hebrew"].largest_neuron is not None and rows["hebrew"].largest_neuron.feature == largest


def test_specificity_rises_with_the_activation_of_a_feature_that_is_blurred(rows):
    found = rows["strand"].best[0]
    assert found.feature == planted.BLURRED_FEATURE and found.score.sensitivity == 1.0
    told = [s for s in found.score.specificity if s is not None]
    assert told[0] == 0.0 and told[-1] == found.score.specificity_top == 1.0
    assert 0 < (found.score.specificity_all or 0) < (found.score.expected_value or 0) < 1


def test_what_is_not_in_the_text_is_no_row(rows):
    assert "arabic" not in rows


def test_a_function_that_fails_in_the_scan_is_a_gap_and_the_rest_is_measured(root):
    calls = []

    def sometimes(run: str):
        calls.append(run)
        if len(calls) > 400:
            raise RuntimeError("no more")
        return [True] * len(run)

    it = planted.planted()
    found = table(root, [it.features, it.neurons], names=("hebrew",), functions={"sometimes": sometimes})
    assert [r.proxy for r in found.rows] == ["hebrew"]
    assert found.gaps[0].reason.startswith("it raised RuntimeError: no more on ")
    assert [g.name for g in found.gaps] == ["sometimes"]
