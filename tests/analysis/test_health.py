"""Health by hand: densities at the edges of decades, twins among a thousand directions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from monosem_jax.analysis import health as module
from monosem_jax.analysis.health import has_twin, health
from monosem_jax.analysis.scan import cosines
from monosem_jax.analysis.spectrum import density_decades
from monosem_jax.runtime.errors import BadInput
from tests.analysis.scan.material import found


def with_firings(fired, tokens: int):
    """The scan of the small text with other counts."""
    return dataclasses.replace(found(), fired=np.asarray(fired, np.int64), tokens=tokens)


def apart(n: int) -> np.ndarray:
    return np.eye(n, dtype=np.float32)


def test_densities_are_summarised():
    fired = [0, 0, 1, 20, 200, 1000, 1001, 9000, 10_000, 10_001, 50_000]
    got = health(with_firings(fired, 100_000), apart(11))
    density = np.asarray(fired) / 100_000
    assert got["l0"] == pytest.approx(density.sum()) and got["dead"] == 2
    assert got["l0_share_above_1pct"] == pytest.approx(density[6:].sum() / density.sum())
    assert got["l0_share_above_10pct"] == pytest.approx(density[9:].sum() / density.sum())
    assert got["median_density"] == pytest.approx(0.01001) and got["scanned_tokens"] == 100_000
    assert got["density_decades"] == {
        "1e0": 2, "1e-1": 3, "1e-2": 2, "1e-3": 1, "1e-4": 0, "1e-5": 1, "1e-6": 0, "1e-7": 0, "dead": 2,
    }  # fmt: skip


def test_a_density_at_the_end_of_a_decade_belongs_to_it():
    tokens = 10**9
    got = density_decades(np.asarray([10**k for k in range(10)]), tokens)
    assert got == {**{f"1e-{k}": 1 for k in range(1, 7)}, "1e0": 1, "1e-7": 3, "dead": 0}


def test_ultralow_features_need_many_tokens():
    few = health(with_firings([1, 5], 9_999_999), apart(2))
    assert few["ultralow"] is None and "9999999 tokens are too few" in few["ultralow_note"]
    many = health(with_firings([0, 9, 10, 5000], 10_000_000), apart(4))
    assert many["ultralow"] == 1 and "ultralow_note" not in many


def test_nothing_that_fires_has_no_shares():
    got = health(with_firings([0, 0], 1000), apart(2))
    assert got["l0"] == 0 and got["dead"] == 2
    assert got["l0_share_above_1pct"] is got["l0_share_above_10pct"] is got["median_density"] is None


@pytest.mark.parametrize("block", [1 << 24, 7000], ids=["at once", "seven rows at a time"])
def test_twins_are_those_of_all_cosines_in_float64(monkeypatch, block):
    monkeypatch.setattr(cosines, "BLOCK", block)
    rng = np.random.default_rng(0)
    d = rng.normal(size=(1000, 8)) * rng.uniform(0.1, 10, size=(1000, 1))
    d[17] = 0
    norm = np.linalg.norm(d, axis=1, keepdims=True)
    u = d / np.where(norm > 0, norm, 1)
    expected = ((u @ u.T) - 2 * np.eye(1000)).max(axis=1) > 0.9
    got = has_twin(d.astype(np.float32))
    assert 100 < expected.sum() < 900
    np.testing.assert_array_equal(got, expected)


def test_an_opposite_direction_is_no_twin_and_neither_is_the_feature_itself():
    assert not has_twin(np.asarray([[1.0, 0], [-1, 0], [0, 1]], np.float32)).any()
    assert list(has_twin(np.asarray([[1.0, 0], [2, 0.1], [0, 1]], np.float32))) == [True, True, False]
    assert not has_twin(np.ones((1, 3), np.float32)).any()


def test_the_bound_of_twins_is_strict():
    exact = np.asarray([[1.0, 0.0], [module.TWIN_COSINE - 1e-4, np.sqrt(1 - (module.TWIN_COSINE - 1e-4) ** 2)]])
    assert not has_twin(exact.astype(np.float32)).any()


def test_other_directions_than_features_are_refused():
    with pytest.raises(BadInput, match=r"health was given an array of shape \[3, 3\]: expected \[2, M\]"):
        health(with_firings([1, 2], 10), apart(3))
