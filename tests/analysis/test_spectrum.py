from __future__ import annotations

import math

import numpy as np
import pytest

from monosem_jax.analysis.spectrum import spectrum


def test_the_figures_are_those_of_a_count_by_hand():
    found = spectrum(np.asarray([0.5, 0.1, 0.05, 0.01, 0.004, 1e-5, 0.0, 0.0]))
    l0 = 0.5 + 0.1 + 0.05 + 0.01 + 0.004 + 1e-5
    assert found["l0_share_above_1pct"] == pytest.approx((0.5 + 0.1 + 0.05) / l0)
    assert found["l0_share_above_10pct"] == pytest.approx(0.5 / l0)
    assert found["median_density"] == pytest.approx((0.05 + 0.01) / 2)
    assert found["density_decades"] == {"1e-0": 1, "1e-1": 2, "1e-2": 2, "1e-5": 1}


@pytest.mark.parametrize("density", [1.0, 0.1, 0.02, 3e-4, 1e-7, 1e-12])
def test_a_feature_lies_in_the_decade_below_its_density(density):
    (name,) = spectrum(np.asarray([density]))["density_decades"]
    n = int(name.removeprefix("1e-"))
    assert 10.0 ** -(n + 1) * (1 - 1e-12) < density <= 10.0**-n * (1 + 1e-12) or (n == 7 and density < 1e-7)


def test_a_dictionary_that_never_fires_has_no_shares():
    found = spectrum(np.zeros(3))
    assert found["l0_share_above_1pct"] is None and found["median_density"] is None
    assert found["density_decades"] == {}
    assert not math.isnan(sum(v for v in found.values() if isinstance(v, float)))
