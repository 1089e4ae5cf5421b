"""Stability of features over seeds: in the records of an analysis, and the same in a comparison."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.analysis.kinds.table import KINDS
from monosem_jax.runtime.errors import BadInput
from tests import planted

ORDER = np.random.default_rng(3).permutation(planted.F)
CONFIG = mj.AnalyzeRunConfig(random_directions=0, training_contexts=50, batch_contexts=50, without=tuple(KINDS))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The planted dictionary, and two others with its features in another order and noise in their encoders."""
    root, params = tmp_path_factory.mktemp("planted"), planted.dictionary_params
    planted.write_runs(root, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        for seed in (1, 2):

            def noisy(seed=seed):
                p, rng = params(), np.random.default_rng(seed)
                p |= {"W_enc": p["W_enc"][:, ORDER], "b_enc": p["b_enc"][ORDER], "W_dec": p["W_dec"][ORDER]}
                p["W_enc"] = p["W_enc"] + 0.05 * rng.normal(size=p["W_enc"].shape).astype(np.float32)
                return p

            patch.setattr(planted, "dictionary_params", noisy)
            planted.write_runs(root / f"other{seed}", seed=seed)
    return root


@pytest.fixture(scope="module")
def seeds(root):
    return f"{root / 'other1' / 'sae'},{root / 'other2' / 'sae'}"


@pytest.fixture(scope="module")
def found(root, seeds):
    mj.analyze(root / "analysis", dataclasses.replace(CONFIG, run=str(root / "sae"), seeds=seeds))
    return mj.load_analysis(root / "analysis")


def test_records_have_the_stability_that_a_comparison_finds(root, seeds, found):
    mj.compare(
        root / "relations", mj.CompareRunConfig(runs=f"{root / 'sae'},{seeds}", batch_contexts=50, least_tokens=9)
    )
    with np.load(root / "relations" / "stability.npz") as arrays:
        expected = arrays["stability"]
    records = [found.feature(i).stability for i in range(planted.F)]
    assert records[planted.DEAD_FEATURE] is None and np.isnan(expected[planted.DEAD_FEATURE])
    np.testing.assert_allclose([records[i] for i in planted.LIVE], expected[planted.LIVE], atol=1e-4)
    shown = found.records.index()["stability"]
    assert shown == [None if s is None else pytest.approx(s, abs=6e-3) for s in records]
    summary = mj.load_run(root / "relations").summary
    for key in ("stability", "stable_features"):
        assert found.summary[key] == pytest.approx(summary[key], abs=1e-4)
    assert found.summary["stability"] > 0.8
    of = {n.set for n in found.feature(planted.SET_FEATURE).neighbours}
    assert of == {"features", "neurons", "seed 1", "seed 2"}
    best = next(n for n in found.feature(planted.SET_FEATURE).neighbours if n.set == "seed 1")
    assert best.feature == np.argsort(ORDER)[planted.SET_FEATURE]


def test_without_seeds_nothing_is_said(root):
    mj.analyze(root / "alone", dataclasses.replace(CONFIG, run=str(root / "sae")))
    alone = mj.load_analysis(root / "alone")
    assert alone.summary["stability"] is None and alone.feature(planted.SET_FEATURE).stability is None


def test_dictionaries_that_differ_by_more_than_their_seed_are_refused(root, tmp_path):
    run = str(root / "sae")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "params_hash", lambda values: "another")
        planted.write_runs(tmp_path / "b", seed=1)
    planted.write_runs(tmp_path / "same", seed=0)
    for seeds, message in (
        (run, "which is compared already: expected different dictionaries"),
        (f"{root / 'other1' / 'sae'},{root / 'other1' / 'sae'}", "which is compared already"),
        (str(tmp_path / "same" / "sae"), "has the seed of config.run, 0: expected another"),
        (str(tmp_path / "b" / "sae"), "has another transformer, another: expected that of config.run"),
        (str(root / "transformer"), "expected one of train_sae or import|train_sae"),
    ):
        with pytest.raises(BadInput, match=message):
            mj.analyze(tmp_path / "out", dataclasses.replace(CONFIG, run=run, seeds=seeds))
    assert not (tmp_path / "out" / "config.json").exists()
