"""The suite "family": every architecture trains in it, and fronts are compared at equal L0."""

import json

import numpy as np
import pytest

from experiments.bench import family, peer_fronts
from experiments.bench.family_suite import FamilyBenchConfig, at_l0, read_sweeps, suite
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures as sae_lib

SOME = ("relu, dense", "gated", "crosscoder", "topk, gathered", "topk, all latents dead")


def test_every_architecture_is_among_what_is_timed():
    variants = family.variants(64, 16)
    assert set(sae_lib.ARCHITECTURES) <= set(variants) and set(SOME) <= set(variants)


@pytest.mark.drill
def test_rates_are_told_with_how_many_features_were_active(monkeypatch):
    variants = family.variants
    monkeypatch.setattr(family, "variants", lambda *a: {k: v for k, v in variants(*a).items() if k in SOME})
    found = family.rates_of(64, width=16, batch=32, turn_seconds=0.0, rounds=1)
    assert set(found["rows_per_second"]) == set(SOME) == set(found["active"])
    assert all(rate > 0 for rate in found["rows_per_second"].values())
    assert 1 < found["active"]["relu, dense"] <= 64 and found["active"]["topk, gathered"] <= 32
    assert set(found["ratios"]) == {f"{name} / relu, dense" for name in SOME[1:]}


def test_fronts_are_read_and_compared_at_equal_l0(tmp_path):
    """Of finished sweeps, whatever their directories are called."""
    rows = [
        {"name": f"k{k}", "l0": float(k), "variance_explained": v, "loss_recovered_zero": v + 0.05, "dead": 0}
        for k, v in ((16, 0.8), (4, 0.6))
    ]
    for name, summary in (("first", {"members": rows}), ("unfinished", None)):
        record = {"format": 2, "experiment": "sweep", "config": {"sae": {"architecture": "topk"}}, "parents": {}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(record))
        if summary:
            (tmp_path / name / "summary.json").write_text(json.dumps(summary))
    ours = read_sweeps(str(tmp_path))
    assert list(ours) == ["topk"] and [row["l0"] for row in ours["topk"]] == [4, 16]
    assert at_l0(ours["topk"], 8.0) == {
        "variance_explained": pytest.approx(0.7), "loss_recovered_zero": pytest.approx(0.75)
    }  # fmt: skip
    assert at_l0(ours["topk"], 3.9) == at_l0(ours["topk"], 16.1) == at_l0([], 5.0) == {} == read_sweeps("")


def test_parameters_of_scaled_rows_are_taken_to_raw_ones():
    rng = np.random.default_rng(0)
    p = {
        "W_enc": rng.normal(size=(3, 5)),
        "b_enc": rng.normal(size=5),
        "W_dec": rng.normal(size=(5, 3)),
        "b_dec": np.ones(3),
    }
    x, s = rng.normal(size=(4, 3)), 2.5

    def reconstructed(p, x):
        return np.maximum((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"], 0) @ p["W_dec"] + p["b_dec"]

    np.testing.assert_allclose(s * reconstructed(peer_fronts._for_raw(p, s), x), reconstructed(p, s * x))


def test_the_settings_of_each_library_are_of_architectures_that_there_are():
    for library, settings in peer_fronts.SETTINGS.items():
        assert library in peer_fronts.TRAINERS and set(settings) <= set(sae_lib.ARCHITECTURES)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"features": ()}, "features is empty"),
        ({"peers": True}, r"family\.source is empty: --peers needs rows"),
        ({"learning_rate": 0.0}, r"family\.learning_rate is 0\.0: a positive number is needed"),
        ({"learning_rate": float("nan")}, r"family\.learning_rate is nan: a positive number is needed"),
    ],
)
def test_impossible_configurations_are_named(values, message):
    with pytest.raises(BadInput, match=message):
        FamilyBenchConfig(**values).check()


def test_sizes_without_peers_are_all_that_is_yielded(monkeypatch):
    monkeypatch.setattr(family, "rates_of", lambda n, **_: {"n": n})
    assert list(suite(FamilyBenchConfig(features=(8, 16)))) == [("8 features", {"n": 8}), ("16 features", {"n": 16})]
