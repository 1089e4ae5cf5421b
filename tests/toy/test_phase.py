"""The closed form of the phase diagram is what random rows give, and what training finds away from borders."""

import numpy as np
import pytest

from monosem_jax.toy.phase import PHASES, closed_form, gain, monte_carlo, phase_diagram, phase_of
from monosem_jax.toy.superposition import ToyConfig


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("p", "r"), [(1.0, 1.0), (0.5, 2.0), (0.2, 0.3)])
def test_the_closed_form_is_that_of_random_rows(phase, p, r):
    assert monte_carlo(phase, p, r) == pytest.approx(closed_form(p, r)[PHASES.index(phase)], rel=0.01)


def test_no_other_gain_has_a_smaller_loss():
    for p in (1.0, 0.6, 0.1):
        best = closed_form(p, 1.0)[2]
        for g in gain(p) * np.linspace(0.8, 1.2, 9):
            assert 2 * (p * (1 - p) * (1 - g) ** 2 / 3 + p**2 * (1 / 3 - g / 4 + g**2 / 12)) >= best - 1e-12


def test_phases_of_weights():
    W = np.array([[[1.0, 0.1]], [[0.1, -1.0]], [[1.0, -1.0]], [[1.0, 1.0]], [[0.1, -0.1]]])
    np.testing.assert_array_equal(phase_of(W), [0, 1, 2, 0, -1])


def test_training_finds_what_the_closed_form_says_away_from_borders():
    config = ToyConfig(2, 1, steps=800, batch_size=256, learning_rate=1e-2, snapshots=2)
    found = phase_diagram(config, [1.0, 0.5, 0.2, 0.05], [0.1, 0.3, 1.1, 3.0, 10.0], n_seeds=3)
    assert found.away.sum() >= 15 and found.agrees[found.away].all()
    assert set(found.phases[0]) == {0, 1} or set(found.phases[0]) == {0, 1, 2}
    assert (found.phases[-1] == 2).all()
    best = found.expected.min(axis=0)
    assert (found.losses[:3] < 1.03 * best[:3]).all()
